//! Databases and values of the Redis port with tokens that are limited to some tasks.

use tasktail::auth::Scope;

use crate::authorization::redis::Redis;
use crate::authorization::support::Store;

const NO_KEY: &str = "-NOPERM No permissions to access a key\r\n";

async fn limited(store: &Store) -> Redis {
    let token = store.token("ci", Scope::Write, &["build-*"], &["build-*"]).await;
    let mut redis = Redis::connect(&store.server).await;
    assert_eq!(redis.ask(&["AUTH", &token]).await, "+OK\r\n");
    redis
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_tasks_are_plain_keys_in_other_databases() {
    let store = Store::with(|options| options.resp = Some("127.0.0.1:0".to_owned()), |_| {}).await;
    store.event("build-1").await;
    let mut redis = limited(&store).await;
    assert_eq!(redis.ask(&["SELECT", "1"]).await, "+OK\r\n");
    assert_eq!(redis.ask(&["XADD", "task:logs:build-1", "*", "line", "x"]).await, NO_KEY);
    assert_eq!(store.get(&store.admin, "/api/v1/tasks/build-1").await.code(), "not_found", "no task is created");
    // The keys of a transaction are checked in the database that it will have selected by then.
    assert_eq!(redis.ask(&["MULTI"]).await, "+OK\r\n");
    assert_eq!(redis.ask(&["SELECT", "0"]).await, "+QUEUED\r\n");
    let reply = redis.ask(&["DEL", "run:events:build-1"]).await;
    assert!(reply.starts_with("-NOPERM User default has no permissions to run the 'del' command"), "{reply}");
    assert_eq!(redis.ask(&["XADD", "task:logs:deploy-1", "*", "line", "x"]).await, NO_KEY);
    assert!(redis.ask(&["EXEC"]).await.starts_with("-EXECABORT"));
    assert_eq!(redis.ask(&["SELECT", "0"]).await, "+OK\r\n");
    assert_eq!(redis.ask(&["XLEN", "run:events:build-1"]).await, ":1\r\n");
    let mut admin = Redis::connect(&store.server).await;
    assert_eq!(admin.ask(&["AUTH", &store.admin]).await, "+OK\r\n");
    assert_eq!(admin.ask(&["SELECT", "1"]).await, "+OK\r\n");
    assert_eq!(admin.ask(&["XADD", "task:logs:build-1", "1-1", "line", "x"]).await, "$3\r\n1-1\r\n");
    assert_eq!(store.get(&store.admin, "/api/v1/tasks/build-1").await.code(), "not_found", "a plain stream");
    assert_eq!(redis.ask(&["SELECT", "1"]).await, "+OK\r\n");
    assert_eq!(redis.ask(&["DBSIZE"]).await, ":0\r\n", "a hidden key is in no list");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_hidden_and_replace_no_run() {
    let change = |options: &mut tasktail::server::ServeOptions| {
        options.resp = Some("127.0.0.1:0".to_owned());
        options.redis_values = true;
    };
    let store = Store::with(change, |_| {}).await;
    store.event("build-1").await;
    let mut admin = Redis::connect(&store.server).await;
    assert_eq!(admin.ask(&["AUTH", &store.admin]).await, "+OK\r\n");
    assert_eq!(admin.ask(&["SET", "secret", "v"]).await, "+OK\r\n");
    let mut redis = limited(&store).await;
    for line in
        ["GET secret", "SET secret x", "RPUSH secret x", "HGETALL secret", "TYPE secret", "OBJECT ENCODING secret"]
    {
        assert_eq!(redis.ask(&line.split(' ').collect::<Vec<_>>()).await, NO_KEY, "{line}");
    }
    assert_eq!(redis.ask(&["MSET", "task:logs:build-7", "1", "secret", "2"]).await, NO_KEY);
    assert_eq!(redis.ask(&["EXISTS", "secret"]).await, ":0\r\n");
    assert_eq!(redis.ask(&["DBSIZE"]).await, ":1\r\n", "its run");
    assert!(!redis.ask(&["KEYS", "*"]).await.contains("secret"));
    for line in ["SET run:events:build-1 x", "MSET run:events:build-1 x", "RENAME task:logs:build-7 run:events:build-1"]
    {
        let reply = redis.ask(&line.split(' ').collect::<Vec<_>>()).await;
        assert!(reply.starts_with("-NOPERM User default has no permissions"), "{line}: {reply}");
    }
    assert_eq!(redis.ask(&["XLEN", "run:events:build-1"]).await, ":1\r\n");
    assert_eq!(admin.ask(&["GET", "secret"]).await, "$1\r\nv\r\n");
}
