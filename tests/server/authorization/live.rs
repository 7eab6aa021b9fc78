//! A live connection ends with its token.

use std::time::Instant;

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;
use tasktail::auth::{Scope, Tokens};
use tasktail::model::Timestamp;

use crate::authorization::redis::Redis;
use crate::authorization::support::{SOON, Store, token};
use crate::common::{Socket, numbered, serve_with, within};

/// Reads to the close.
async fn close_of(mut socket: Socket) -> (u16, String) {
    loop {
        match socket.hear_or_close().await {
            Ok(_) => {}
            Err(Some(close)) => return (close.code.into(), close.reason.to_string()),
            Err(None) => panic!("no close frame"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_connections_and_no_others() {
    let store = Store::with(|options| options.resp = Some("127.0.0.1:0".to_owned()), |_| {}).await;
    store.line("build-1", "x").await;
    store.event("build-1").await;
    let token = store.token("ci", Scope::Write, &["*"], &["*"]).await;
    let other = store.token("other", Scope::Write, &["*"], &["*"]).await;
    let mut viewer = store.socket(&token, "/ws/v1/tasks/build-1").await;
    viewer.hear_type("lines").await;
    let waiting = store.socket(&token, "/ws/v1/tasks/build-none?wait=1").await;
    let mut follower = store.socket(&token, "/ws/v1/follow").await;
    follower.say(json!({"type":"subscribe","task":"build-1"})).await;
    follower.hear_type("lines").await;
    let mut worker = store.socket(&token, "/ws/v1/worker").await;
    worker.hello().await;
    worker.say(numbered("build-2", 1, &["a line"])).await;
    worker.acked(1).await;
    let mut kept = store.socket(&other, "/ws/v1/tasks/build-1").await;
    kept.hear_type("lines").await;
    let bearer = format!("Bearer {token}");
    let mut streams = Vec::new();
    for path in ["/api/v1/tasks/build-1/stream", "/api/v1/runs/build-1/events/stream"] {
        let stream = store.server.open(Method::GET, path, &[("authorization", &bearer)], "".into()).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream.into_body());
    }
    let mut blocked = Redis::connect(&store.server).await;
    assert_eq!(blocked.ask(&["AUTH", &token]).await, "+OK\r\n");
    blocked.send(&["XREAD", "BLOCK", "0", "STREAMS", "task:logs:build-1", "$"]).await;
    let mut idle = Redis::connect(&store.server).await;
    assert_eq!(idle.ask(&["HELLO", "3", "AUTH", "default", &token]).await.chars().next(), Some('%'));
    let mut kept_redis = Redis::connect(&store.server).await;
    assert_eq!(kept_redis.ask(&["AUTH", "default", &other]).await, "+OK\r\n");

    let begun = Instant::now();
    store.revoke("ci");
    for socket in [viewer, waiting, follower, worker] {
        assert_eq!(close_of(socket).await, (4401, "access token was revoked".to_owned()));
    }
    for stream in streams {
        let rest = within("the end of a stream", stream.collect()).await.unwrap().to_bytes();
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(
            rest.ends_with(
                "event: error\ndata: {\"code\":\"unauthorized\",\"message\":\"access token was revoked\"}\n\n"
            ),
            "{rest}"
        );
    }
    blocked.ended().await;
    idle.ended().await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());

    store.line("build-1", "another").await;
    assert_eq!(kept.hear_type("lines").await["lines"][0]["line"], "another", "the other token's stays");
    assert_eq!(kept_redis.ask(&["XLEN", "task:logs:build-1"]).await, ":2\r\n");
    let answer = store.get(&token, "/api/v1/tasks").await;
    assert!(answer.code() == "unauthorized" && answer.text().contains("`ci` was revoked"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_ends_its_connections() {
    let store = Store::with(|options| options.resp = Some("127.0.0.1:0".to_owned()), |_| {}).await;
    store.line("build-1", "x").await;
    let soon = Timestamp::from_millis(Timestamp::now().as_millis() + 5_000);
    let token =
        crate::authorization::support::expiring(&store.tokens, "brief", Scope::Read, &["*"], &["*"], Some(soon));
    store.until_known(&token).await;
    let viewer = store.socket(&token, "/ws/v1/tasks/build-1").await;
    let mut redis = Redis::connect(&store.server).await;
    assert_eq!(redis.ask(&["AUTH", &token]).await, "+OK\r\n");
    assert_eq!(close_of(viewer).await, (4401, "access token has expired".to_owned()));
    redis.ended().await;
    assert!(Timestamp::now() >= soon, "not before its time");
    assert_eq!(store.get(&token, "/api/v1/tasks").await.code(), "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_closes_an_open_store_that_runs() {
    let server = serve_with(|options| options.resp = Some("127.0.0.1:0".to_owned())).await;
    server.append("build-1", "x").await;
    let mut viewer = server.socket("/ws/v1/tasks/build-1").await;
    viewer.hear_type("lines").await;
    let mut redis = Redis::connect(&server).await;
    assert_eq!(redis.ask(&["PING"]).await, "+PONG\r\n");
    let tokens = Tokens::at(&server.folder.path().join("data"));
    token(&tokens, "first", Scope::Read, &["*"], &["*"]);
    assert_eq!(close_of(viewer).await, (4401, "an access token is now required".to_owned()));
    redis.ended().await;
    assert_eq!(server.get("/api/v1/tasks").await.code(), "unauthorized");
    assert_eq!(Redis::connect(&server).await.ask(&["PING"]).await, "-NOAUTH Authentication required.\r\n");
    // It stays closed when its last token is taken back.
    tokens.revoke(&"first".parse().unwrap()).unwrap();
    server
        .until("the revocation", || async { server.get("/api/v1/tasks").await.text().contains("no access token") })
        .await;
    assert_eq!(server.get("/api/v1/tasks").await.code(), "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_token_file_rejects_everyone_until_it_is_readable() {
    let store = Store::new().await;
    store.line("build-1", "x").await;
    let file = store.folder().join("data/tokens.json");
    let good = std::fs::read(&file).unwrap();
    let viewer = store.socket(&store.admin, "/ws/v1/tasks/build-1").await;
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert_eq!(close_of(viewer).await.0, 4401);
    let answer = store.get(&store.admin, "/api/v1/tasks").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "tokens_unreadable"));
    assert!(answer.text().contains("tokens.json"), "it says why: {}", answer.text());
    assert_eq!(store.server.get("/api/v1/tasks").await.code(), "tokens_unreadable");
    assert_eq!(store.server.get("/healthz").await.status, 200);
    std::fs::write(&file, &good).unwrap();
    store.until_known(&store.admin).await;
}
