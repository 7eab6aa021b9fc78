//! Every Redis command with every kind of client. A command that the server has and the table here has not
//! fails the test.

use std::collections::BTreeSet;

use tasktail::auth::Scope;

use crate::authorization::redis::Redis;
use crate::authorization::support::Store;

/// Whom a command takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum For {
    /// Those who have not signed in, too.
    Anyone,
    /// Everyone who has signed in.
    Read,
    /// Who may read the key.
    ReadKey,
    /// Everyone who has signed in: a key that is hidden is not there.
    SeenKey,
    /// Who may write, whatever key.
    Write,
    /// Who may write the key.
    WriteKey,
    /// Who may administer.
    Admin,
    /// Who may administer everything.
    Store,
}
use For::*;

/// Each command with arguments that fit; `{key}` stands for a task's key.
const COMMANDS: &[(&str, &str, For)] = &[
    ("acl", "", Read),
    ("acl|help", "ACL HELP", Read),
    ("acl|whoami", "ACL WHOAMI", Read),
    ("auth", "AUTH x y z", Anyone),
    ("client", "", Read),
    ("client|caching", "CLIENT CACHING YES", Read),
    ("client|getname", "CLIENT GETNAME", Read),
    ("client|getredir", "CLIENT GETREDIR", Read),
    ("client|help", "CLIENT HELP", Read),
    ("client|id", "CLIENT ID", Read),
    ("client|info", "CLIENT INFO", Read),
    ("client|kill", "CLIENT KILL ADDR 1.2.3.4:5", Admin),
    ("client|list", "CLIENT LIST", Admin),
    ("client|no-evict", "CLIENT NO-EVICT ON", Admin),
    ("client|no-touch", "CLIENT NO-TOUCH ON", Read),
    ("client|pause", "CLIENT PAUSE 0", Admin),
    ("client|reply", "CLIENT REPLY ON", Read),
    ("client|setinfo", "CLIENT SETINFO LIB-NAME x", Read),
    ("client|setname", "CLIENT SETNAME x", Read),
    ("client|tracking", "CLIENT TRACKING OFF", Read),
    ("client|trackinginfo", "CLIENT TRACKINGINFO", Read),
    ("client|unblock", "CLIENT UNBLOCK 99999", Admin),
    ("command", "COMMAND", Read),
    ("command|count", "COMMAND COUNT", Read),
    ("command|docs", "COMMAND DOCS ping", Read),
    ("command|getkeys", "COMMAND GETKEYS XLEN x", Read),
    ("command|help", "COMMAND HELP", Read),
    ("command|info", "COMMAND INFO ping", Read),
    ("command|list", "COMMAND LIST", Read),
    ("config", "", Read),
    ("config|get", "CONFIG GET port", Admin),
    ("config|help", "CONFIG HELP", Read),
    ("config|resetstat", "CONFIG RESETSTAT", Admin),
    ("config|rewrite", "CONFIG REWRITE", Admin),
    ("config|set", "CONFIG SET timeout 0", Admin),
    ("dbsize", "DBSIZE", Read),
    ("debug", "DEBUG SLEEP 0", Admin),
    ("del", "DEL {key}", WriteKey),
    ("discard", "DISCARD", Read),
    ("echo", "ECHO x", Read),
    ("exec", "EXEC", Read),
    ("exists", "EXISTS {key}", SeenKey),
    ("expire", "EXPIRE {key} 100", WriteKey),
    ("expireat", "EXPIREAT {key} 99999999999", WriteKey),
    ("expiretime", "EXPIRETIME {key}", ReadKey),
    ("flushall", "FLUSHALL", Store),
    ("flushdb", "FLUSHDB", Store),
    ("function", "", Read),
    ("function|flush", "FUNCTION FLUSH", Write),
    ("function|help", "FUNCTION HELP", Read),
    ("function|list", "FUNCTION LIST", Read),
    ("hello", "HELLO 2 AUTH nobody x", Anyone),
    ("info", "INFO server", Read),
    ("keys", "KEYS *", Read),
    ("latency", "", Read),
    ("latency|doctor", "LATENCY DOCTOR", Admin),
    ("latency|help", "LATENCY HELP", Read),
    ("latency|histogram", "LATENCY HISTOGRAM", Admin),
    ("latency|history", "LATENCY HISTORY x", Admin),
    ("latency|latest", "LATENCY LATEST", Admin),
    ("latency|reset", "LATENCY RESET", Admin),
    ("memory", "", Read),
    ("memory|doctor", "MEMORY DOCTOR", Read),
    ("memory|help", "MEMORY HELP", Read),
    ("memory|purge", "MEMORY PURGE", Read),
    ("memory|usage", "MEMORY USAGE {key}", ReadKey),
    ("multi", "MULTI", Read),
    ("object", "", Read),
    ("object|encoding", "OBJECT ENCODING {key}", ReadKey),
    ("object|freq", "OBJECT FREQ {key}", ReadKey),
    ("object|help", "OBJECT HELP", Read),
    ("object|idletime", "OBJECT IDLETIME {key}", ReadKey),
    ("object|refcount", "OBJECT REFCOUNT {key}", ReadKey),
    ("persist", "PERSIST {key}", WriteKey),
    ("pexpire", "PEXPIRE {key} 100000", WriteKey),
    ("pexpireat", "PEXPIREAT {key} 99999999999999", WriteKey),
    ("pexpiretime", "PEXPIRETIME {key}", ReadKey),
    ("ping", "PING", Read),
    ("pttl", "PTTL {key}", ReadKey),
    ("quit", "QUIT", Anyone),
    ("randomkey", "RANDOMKEY", Read),
    ("reset", "RESET", Anyone),
    ("scan", "SCAN 0", Read),
    ("script", "", Read),
    ("script|exists", "SCRIPT EXISTS x", Read),
    ("script|flush", "SCRIPT FLUSH", Read),
    ("script|help", "SCRIPT HELP", Read),
    ("select", "SELECT 0", Read),
    ("slowlog", "", Read),
    ("slowlog|get", "SLOWLOG GET", Admin),
    ("slowlog|help", "SLOWLOG HELP", Read),
    ("slowlog|len", "SLOWLOG LEN", Admin),
    ("slowlog|reset", "SLOWLOG RESET", Admin),
    ("time", "TIME", Read),
    ("touch", "TOUCH {key}", SeenKey),
    ("ttl", "TTL {key}", ReadKey),
    ("type", "TYPE {key}", ReadKey),
    ("unlink", "UNLINK {key}", WriteKey),
    ("unwatch", "UNWATCH", Read),
    ("watch", "WATCH {key}", ReadKey),
    ("xack", "XACK {key} g 1-1", WriteKey),
    ("xadd", "XADD {key} * line x", WriteKey),
    ("xautoclaim", "XAUTOCLAIM {key} g c 0 0", WriteKey),
    ("xclaim", "XCLAIM {key} g c 0 1-1", WriteKey),
    ("xdel", "XDEL {key} 1-1", WriteKey),
    ("xgroup", "", Read),
    ("xgroup|create", "XGROUP CREATE {key} g $ MKSTREAM", WriteKey),
    ("xgroup|createconsumer", "XGROUP CREATECONSUMER {key} g c", WriteKey),
    ("xgroup|delconsumer", "XGROUP DELCONSUMER {key} g c", WriteKey),
    ("xgroup|destroy", "XGROUP DESTROY {key} g", WriteKey),
    ("xgroup|help", "XGROUP HELP", Read),
    ("xgroup|setid", "XGROUP SETID {key} g 0", WriteKey),
    ("xinfo", "", Read),
    ("xinfo|consumers", "XINFO CONSUMERS {key} g", ReadKey),
    ("xinfo|groups", "XINFO GROUPS {key}", ReadKey),
    ("xinfo|help", "XINFO HELP", Read),
    ("xinfo|stream", "XINFO STREAM {key}", ReadKey),
    ("xlen", "XLEN {key}", ReadKey),
    ("xpending", "XPENDING {key} g", ReadKey),
    ("xrange", "XRANGE {key} - +", ReadKey),
    ("xread", "XREAD COUNT 1 STREAMS {key} 0", ReadKey),
    ("xreadgroup", "XREADGROUP GROUP g c STREAMS {key} >", WriteKey),
    ("xrevrange", "XREVRANGE {key} + -", ReadKey),
    ("xsetid", "XSETID {key} 9999999999999-1", WriteKey),
    ("xtrim", "XTRIM {key} MAXLEN 1000", WriteKey),
];

const NO_AUTH: &str = "-NOAUTH Authentication required.\r\n";
const NO_KEY: &str = "-NOPERM No permissions to access a key\r\n";

async fn redis_store() -> Store {
    Store::with(|options| options.resp = Some("127.0.0.1:0".to_owned()), |_| {}).await
}

async fn signed_in(store: &Store, token: &str) -> Redis {
    let mut redis = Redis::connect(&store.server).await;
    assert_eq!(redis.ask(&["AUTH", token]).await, "+OK\r\n");
    redis
}

async fn run(redis: &mut Redis, line: &str, key: &str) -> String {
    let line = line.replace("{key}", key);
    redis.ask(&line.split(' ').collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_replies_to_every_client_as_the_table_states() {
    let store = redis_store().await;
    let list: &[&str] = &["COMMAND", "LIST", "FILTERBY", "PATTERN", "*"];
    let names = signed_in(&store, &store.admin).await.pipeline(&[list, &["PING"]], "+PONG\r\n").await;
    let served: BTreeSet<&str> = names.lines().filter(|line| !line.starts_with(['$', '*', '~', '+'])).collect();
    let listed: BTreeSet<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(served, listed, "each command needs a row in the table");
    let mut tokens = Vec::new();
    for scope in [Scope::Read, Scope::Write, Scope::Admin] {
        tokens.push((scope, store.token(&scope.to_string(), scope, &["build-*"], &["build-*"]).await));
    }
    let writer = store.token("writer of all", Scope::Write, &["*"], &["*"]).await;
    let (mine, other) = ("task:logs:build-1", "task:logs:deploy-1");
    let mut wrong = Vec::new();
    for (name, line, whom) in COMMANDS.iter().filter(|(_, line, _)| !line.is_empty()) {
        let mut expect = |who: &str, reply: &str, refused: Option<&str>| {
            let is_refusal = reply.starts_with("-NOAUTH") || reply.starts_with("-NOPERM");
            if refused.map_or(is_refusal, |text| reply != text) {
                wrong.push(format!("{line} by {who}: {reply:?}, not {refused:?}"));
            }
        };
        let no_command = format!("-NOPERM User default has no permissions to run the '{name}' command\r\n");
        let reply = run(&mut Redis::connect(&store.server).await, line, mine).await;
        expect("a stranger", &reply, (*whom != Anyone).then_some(NO_AUTH));
        for (scope, token) in &tokens {
            let needed = match whom {
                Anyone | Read | ReadKey | SeenKey => Scope::Read,
                Write | WriteKey => Scope::Write,
                Admin | Store => Scope::Admin,
            };
            let refused = (*scope < needed || *whom == Store).then_some(no_command.as_str());
            let mut redis = signed_in(&store, token).await;
            expect(&scope.to_string(), &run(&mut redis, line, mine).await, refused);
            if matches!(whom, ReadKey | WriteKey) {
                let mut redis = signed_in(&store, token).await;
                expect(&format!("{scope} of others"), &run(&mut redis, line, other).await, refused.or(Some(NO_KEY)));
            }
            if *whom == SeenKey {
                // Of its own: one whose key was flushed takes no more.
                let there = format!("deploy-{name}-{scope}");
                store.line(&there, "x").await;
                let key = format!("task:logs:{there}");
                expect(&format!("{scope} of others"), &run(&mut redis, line, &key).await, Some(":0\r\n"));
            }
        }
        if matches!(whom, Admin | Store) {
            let mut redis = signed_in(&store, &writer).await;
            expect("a writer of all", &run(&mut redis, line, mine).await, Some(&no_command));
        }
        let mut redis = signed_in(&store, &store.admin).await;
        expect("an admin of all", &run(&mut redis, line, mine).await, None);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_errors_are_those_of_redis() {
    let store = redis_store().await;
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let mut redis = Redis::connect(&store.server).await;
    assert_eq!(redis.ask(&["PING"]).await, NO_AUTH);
    let hello = redis.ask(&["HELLO", "3"]).await;
    assert_eq!(
        hello,
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
         <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\r\n"
    );
    assert_eq!(redis.ask(&["AUTH", "tt_wrong"]).await, wrong);
    assert_eq!(redis.ask(&["AUTH", "someone", &store.admin]).await, wrong);
    assert_eq!(redis.ask(&["HELLO", "3", "AUTH", "default", "tt_wrong"]).await, wrong);
    assert_eq!(redis.ask(&["PING"]).await, NO_AUTH, "still");
    assert_eq!(redis.ask(&["AUTH", "default", &store.admin]).await, "+OK\r\n");
    assert_eq!(redis.ask(&["AUTH", "tt_wrong"]).await, wrong);
    assert_eq!(redis.ask(&["PING"]).await, "+PONG\r\n", "a failed try takes nothing away");
    assert_eq!(redis.ask(&["RESET"]).await, "+RESET\r\n");
    assert_eq!(redis.ask(&["PING"]).await, NO_AUTH, "as a new connection");
    // Several in one piece: each is asked as who it is by then.
    let (ping, admin) = (["PING"], ["AUTH", store.admin.as_str()]);
    let add = ["XADD", "task:logs:t", "1-1", "line", "x"];
    // The last refusal is in other words: by it the end is known.
    let replies = redis.pipeline(&[&ping, &add, &admin, &add, &["RESET"], &add, &["HELLO", "3"]], &hello).await;
    let expected = format!("{NO_AUTH}{NO_AUTH}+OK\r\n$3\r\n1-1\r\n+RESET\r\n{NO_AUTH}{hello}");
    assert_eq!(replies, expected);
    assert_eq!(store.get(&store.admin, "/api/v1/tasks/t").await.json()["lines"], 1, "one of three");
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_keys_are_not_listed_and_not_created() {
    let store = redis_store().await;
    for task in ["build-1", "build-2", "deploy-1"] {
        store.line(task, "x").await;
    }
    store.event("build-1").await;
    store.event("release-1").await;
    let mut admin = signed_in(&store, &store.admin).await;
    assert_eq!(admin.ask(&["XADD", "plain", "1-1", "f", "v"]).await, "$3\r\n1-1\r\n");
    assert_eq!(admin.ask(&["DBSIZE"]).await, ":6\r\n");
    let token = store.token("ci", Scope::Write, &["build-*"], &["build-*"]).await;
    let mut redis = signed_in(&store, &token).await;
    assert_eq!(redis.ask(&["DBSIZE"]).await, ":3\r\n");
    let names = |reply: &str| {
        let names: BTreeSet<String> =
            reply.lines().filter(|line| line.contains(':') && !line.starts_with(':')).map(str::to_owned).collect();
        names
    };
    let mine: BTreeSet<String> =
        ["task:logs:build-1", "task:logs:build-2", "run:events:build-1"].map(str::to_owned).into();
    assert_eq!(names(&redis.ask(&["KEYS", "*"]).await), mine);
    assert_eq!(names(&redis.ask(&["SCAN", "0", "COUNT", "100"]).await), mine);
    for _ in 0..20 {
        let reply = redis.ask(&["RANDOMKEY"]).await;
        assert!(mine.is_superset(&names(&reply)), "{reply}");
    }
    let there = ["EXISTS", "task:logs:build-1", "task:logs:deploy-1", "plain", "run:events:release-1"];
    assert_eq!(redis.ask(&there).await, ":1\r\n");
    assert!(redis.ask(&["INFO", "keyspace"]).await.contains("keys=3"));
    // Not one of several keys may be hidden, and what is refused leaves nothing behind.
    assert_eq!(redis.ask(&["XREAD", "STREAMS", "task:logs:build-1", "plain", "0", "0"]).await, NO_KEY);
    let sly = ["XREADGROUP", "COUNT", "1", "GROUP", "g", "STREAMS", "STREAMS", "task:logs:deploy-1", ">"];
    assert_eq!(redis.ask(&sly).await, NO_KEY, "a consumer called STREAMS hides no key");
    assert_eq!(redis.ask(&["XADD", "task:logs:deploy-9", "*", "line", "x"]).await, NO_KEY);
    assert_eq!(store.get(&store.admin, "/api/v1/tasks/deploy-9").await.code(), "not_found");
    // Events of a run are nowhere else: taking them away is an admin's.
    for line in [
        "DEL {key}",
        "XTRIM {key} MAXLEN 0",
        "XDEL {key} 1-1",
        "EXPIRE {key} 1",
        "XADD {key} MAXLEN 0 * f v",
        "UNLINK {key}",
    ] {
        let reply = run(&mut redis, line, "run:events:build-1").await;
        assert!(reply.starts_with("-NOPERM User default has no permissions to run the"), "{line}: {reply}");
    }
    assert!(redis.ask(&["XADD", "run:events:build-1", "*", "event", "{\"type\":\"x\"}"]).await.starts_with('$'));
    // A transaction is asked as it is queued.
    assert_eq!(redis.ask(&["MULTI"]).await, "+OK\r\n");
    assert_eq!(redis.ask(&["XADD", "task:logs:build-1", "*", "line", "y"]).await, "+QUEUED\r\n");
    assert_eq!(redis.ask(&["XADD", "plain", "*", "f", "v"]).await, NO_KEY);
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_eq!(redis.ask(&["EXEC"]).await, aborted);
    assert_eq!(redis.ask(&["XLEN", "task:logs:build-1"]).await, ":1\r\n");
}
