//! The rights in the guide: a server needs no others.

use serde_json::json;
use tasktail::auth::{IdPatterns, NewToken, Scope, Tokens};

use crate::common::home::TestHome;
use crate::common::{serve_with, until};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/many_servers.md");

/// Returns the guide's command that creates the user.
fn acl() -> Vec<String> {
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let line = guide.lines().find(|line| line.starts_with("ACL SETUSER ")).expect("the guide has the command");
    line.replace(">PASSWORD", ">secret").split(' ').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn user_of_the_guide_can_do_what_a_server_does() {
    let home = TestHome::start().await;
    let words = acl();
    redis::cmd(&words[0]).arg(&words[1..]).exec(&mut home.client()).unwrap();
    let mut options = home.options();
    options.journal = home.url().replace("redis://", "redis://tasktail:secret@").parse().unwrap();
    let server = serve_with(|serve| {
        serve.home = Some(options);
        serve.limits.live_window_lines = 100;
    })
    .await;
    let lines: String = (1..=12_000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(server.append("t", &lines).await.status, 200);
    until("a segment", async || home.object_names("tasks/t").iter().any(|name| name.contains("/seg/"))).await;
    redis::cmd("XADD").arg(&["task:logs:t", "*", "line", "of another client"]).exec(&mut home.client()).unwrap();
    assert_eq!(server.end("t").await.status, 200);
    until("the seal", async || !server.get("/api/v1/tasks/t").await.json()["artifact"].is_null()).await;
    let last = server.get("/api/v1/tasks/t/lines?tail=1").await;
    assert!(last.text().contains("of another client"), "{}", last.text());
    let events = json!({"event_type":"step.started","step_id":"s","event_id":"x"}).to_string() + "\n";
    let headers = [("content-type", "application/x-ndjson")];
    for path in ["/api/v1/runs/r", "/api/v1/tasks/t"] {
        if path.contains("runs") {
            let stored = server.ask(hyper::Method::POST, &format!("{path}/events"), &headers, events.clone()).await;
            assert_eq!(stored.status, 200, "{}", stored.text());
        }
        assert_eq!(server.ask(hyper::Method::DELETE, path, &[], "").await.status.as_u16() / 100, 2, "{path}");
    }
    let tokens = Tokens::at(&server.folder.path().join("data"));
    let name = "ci".parse().unwrap();
    let (tasks, runs) = (IdPatterns::all(), IdPatterns::all());
    tokens.create(NewToken { name, scope: Scope::Admin, tasks, runs, expires: None }).unwrap();
    until("the token in Redis", async || {
        let read = redis::cmd("HGET").arg(&["tt:auth:tokens", "d"]).query(&mut home.client());
        let stored: Option<String> = read.unwrap();
        stored.is_some_and(|stored| stored.contains("ci"))
    })
    .await;
    let denied: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut home.client()).unwrap();
    assert!(denied.is_empty(), "{denied:?}");
}
