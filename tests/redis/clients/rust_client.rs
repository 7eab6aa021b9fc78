//! The `redis` crate.

use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::streams::{StreamMaxlen, StreamPendingReply, StreamRangeReply, StreamReadOptions, StreamReadReply};
use redis::{AsyncConnectionConfig, AsyncTypedCommands as _, Client};

use crate::clients::servers::{LIMIT, Server, against_both};

const KEY: &str = "task:logs:rust";

#[test]
fn the_redis_crate() {
    for protocol in ["resp2", "resp3"] {
        against_both(|server| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = Client::open(format!("redis://{}/?protocol={protocol}", server.resp)).unwrap();
            runtime.block_on(works(&client));
            let mut manager = runtime.block_on(managed(&client));
            let before = runtime.block_on(all(&mut manager));
            assert!(!before.is_empty());
            server.restart();
            runtime.block_on(reconnects(&mut manager, &before, server));
        });
    }
}

async fn works(client: &Client) {
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    adds(&mut redis).await;
    blocks(client, &mut redis).await;
    trims_and_expires(&mut redis).await;
    pipelines(&mut redis).await;
    watches(client, &mut redis).await;
    groups(&mut redis).await;
}

async fn adds(redis: &mut MultiplexedConnection) {
    let mut last = String::new();
    for n in 0..250 {
        let fields = [("line", format!("line {n}"))];
        last = redis.xadd_maxlen(KEY, StreamMaxlen::Approx(100), "*", &fields).await.unwrap().unwrap();
    }
    let length = redis.xlen(KEY).await.unwrap();
    assert!((100..200).contains(&length), "{length} entries");
    let newest: StreamRangeReply = redis.xrevrange_count(KEY, "+", "-", 1).await.unwrap();
    assert_eq!(newest.ids[0].id, last);
    assert_eq!(newest.ids[0].get::<String>("line").unwrap(), "line 249");
    assert_eq!(redis.xinfo_stream(KEY).await.unwrap().last_generated_id, last);
    let refused = redis.xadd(KEY, "0-1", &[("f", "v")]).await.unwrap_err();
    assert_eq!(refused.code(), Some("ERR"));
    assert!(refused.detail().unwrap().contains("equal or smaller than the target stream top item"), "{refused}");
}

async fn blocks(client: &Client, redis: &mut MultiplexedConnection) {
    let patient = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut reader = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    let mut other = reader.clone();
    let read = tokio::spawn(async move {
        let options = StreamReadOptions::default().block(0);
        other.xread_options(&[KEY], &["$"], &options).await.unwrap()
    });
    let begun = Instant::now();
    loop {
        let info: String = redis::cmd("INFO").arg("clients").query_async(redis).await.unwrap();
        if info.contains("blocked_clients:1\r\n") {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "never blocked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let id = redis.xadd(KEY, "*", &[("line", "woken")]).await.unwrap().unwrap();
    let got: StreamReadReply = tokio::time::timeout(LIMIT, read).await.unwrap().unwrap().unwrap();
    assert_eq!((got.keys[0].key.as_str(), got.keys[0].ids[0].id.as_str()), (KEY, id.as_str()));
    let begun = Instant::now();
    let nothing = reader.xread_options(&[KEY], &["$"], &StreamReadOptions::default().block(80)).await.unwrap();
    assert!(nothing.is_none(), "{nothing:?}");
    assert!(begun.elapsed() >= Duration::from_millis(75));
}

async fn trims_and_expires(redis: &mut MultiplexedConnection) {
    let length = redis.xlen(KEY).await.unwrap();
    assert_eq!(redis.xtrim(KEY, StreamMaxlen::Equals(10)).await.unwrap(), length - 10);
    assert_eq!(redis.xlen(KEY).await.unwrap(), 10);
    assert!(redis.expire(KEY, 3600).await.unwrap());
    let _id = redis.xadd("brief", "*", &[("f", "v")]).await.unwrap();
    assert!(redis.pexpire("brief", 60).await.unwrap());
    let begun = Instant::now();
    while redis.exists("brief").await.unwrap() {
        assert!(begun.elapsed() < LIMIT, "never expired");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(redis.xlen("brief").await.unwrap(), 0);
}

async fn pipelines(redis: &mut MultiplexedConnection) {
    for atomic in [false, true] {
        let mut pipe = redis::pipe();
        if atomic {
            pipe.atomic();
        }
        let (first, second, length, removed): (String, String, usize, usize) = pipe
            .xadd("piped", "*", &[("n", 1)])
            .xadd("piped", "*", &[("n", 2)])
            .expire("piped", 60)
            .ignore()
            .xlen("piped")
            .del("piped")
            .query_async(redis)
            .await
            .unwrap();
        assert!(first != second && length == 2 && removed == 1);
    }
}

async fn watches(client: &Client, redis: &mut MultiplexedConnection) {
    let mut other = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("WATCH").arg(KEY).exec_async(redis).await.unwrap();
    let id = other.xadd(KEY, "*", &[("line", "somebody else")]).await.unwrap().unwrap();
    let conflict: Option<(String,)> =
        redis::pipe().atomic().xadd(KEY, "*", &[("line", "never")]).query_async(redis).await.unwrap();
    assert_eq!(conflict, None);
    let newest: StreamRangeReply = redis.xrevrange_count(KEY, "+", "-", 1).await.unwrap();
    assert_eq!(newest.ids[0].id, id);
}

async fn groups(redis: &mut MultiplexedConnection) {
    redis.xgroup_create_mkstream("work", "g", "0").await.unwrap();
    let id = redis.xadd("work", "*", &[("n", 1)]).await.unwrap().unwrap();
    let options = StreamReadOptions::default().group("g", "a");
    let given = redis.xread_options(&["work"], &[">"], &options).await.unwrap().unwrap();
    assert_eq!(given.keys[0].ids[0].id, id);
    let pending: StreamPendingReply = redis.xpending("work", "g").await.unwrap();
    assert_eq!(pending.count(), 1);
    assert_eq!(redis.xack("work", "g", &[&id]).await.unwrap(), 1);
    let pending: StreamPendingReply = redis.xpending("work", "g").await.unwrap();
    assert_eq!(pending.count(), 0);
}

/// A connection that makes itself anew.
async fn managed(client: &Client) -> ConnectionManager {
    let config = ConnectionManagerConfig::new().set_min_delay(Duration::from_millis(20));
    client.get_connection_manager_with_config(config).await.unwrap()
}

async fn all(manager: &mut ConnectionManager) -> Vec<String> {
    let range: StreamRangeReply = manager.xrange_all(KEY).await.unwrap();
    range.ids.into_iter().map(|entry| entry.id).collect()
}

async fn reconnects(manager: &mut ConnectionManager, before: &[String], server: &Server) {
    // The command that finds the connection broken is refused; the manager connects again for the next.
    let mut tries = 0;
    while let Err(broken) = manager.xlen(KEY).await {
        tries += 1;
        assert!(broken.is_connection_dropped() && tries < 5, "{:?}: {broken}", server.which);
    }
    assert_eq!(all(manager).await, before);
    let ttl = manager.ttl(KEY).await.unwrap();
    assert!(matches!(ttl, redis::IntegerReplyOrNoOp::IntegerReply(3500..=3600)), "{ttl:?}");
    let after = manager.xadd(KEY, "*", &[("line", "after")]).await.unwrap().unwrap();
    assert_eq!(all(manager).await.last(), Some(&after));
}
