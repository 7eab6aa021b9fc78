//! Runs: events stored once, whichever server they reach.

use hyper::Method;
use serde_json::{Value, json};

use crate::common::home::TestHome;
use crate::common::{TestServer, until};
use crate::serve;

async fn post(server: &TestServer, run: &str, events: &[Value]) -> Value {
    let body: String = events.iter().map(|event| format!("{event}\n")).collect();
    let path = format!("/api/v1/runs/{run}/events");
    let answer = server.ask(Method::POST, &path, &[("content-type", "application/x-ndjson")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn event(id: &str) -> Value {
    json!({"event_type":"step.started","step_id":"s","event_id":id})
}

async fn ids(server: &TestServer, run: &str) -> Vec<String> {
    let page = server.get(&format!("/api/v1/runs/{run}/events")).await;
    if page.status != 200 {
        return Vec::new();
    }
    let events = page.json()["events"].as_array().unwrap().clone();
    events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn event_is_stored_once_whichever_server_it_reaches() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    assert_eq!(post(&one, "r", &[event("a"), event("b")]).await["appended"], 2);
    let again = post(&two, "r", &[event("b"), event("c")]).await;
    assert_eq!((&again["appended"], &again["duplicates"]), (&json!(1), &json!(1)));
    for server in [&one, &two] {
        until("three events", async || ids(server, "r").await == ["a", "b", "c"]).await;
        assert_eq!(server.get("/api/v1/runs/r").await.json()["events"], 3);
    }
    let three = serve(&home).await;
    until("the run at a new server", async || ids(&three, "r").await.len() == 3).await;
    assert_eq!(three.get("/api/v1/runs").await.json()["runs"][0]["id"], "r");
    assert_eq!(post(&three, "r", &[event("a")]).await["duplicates"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_stream_continues_at_another_server() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    post(&one, "r", &[event("a"), event("b")]).await;
    let cursor = one.get("/api/v1/runs/r/events?limit=1").await.json()["cursor"].as_str().unwrap().to_owned();
    until("the events", async || ids(&two, "r").await.len() == 2).await;
    let rest = two.get(&format!("/api/v1/runs/r/events?after={cursor}")).await.json();
    assert_eq!(rest["events"][0]["event_id"], "b", "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_in_the_output_of_a_task_reaches_the_run_once() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    let line = format!("LB_EVENT {}\n", json!({"event_type":"step.started","step_id":"s","event_id":"x","run_id":"r"}));
    assert_eq!(one.append("t", &line).await.status, 200);
    for server in [&one, &two] {
        until("the event", async || {
            let runs = server.get("/api/v1/runs").await.json();
            runs["runs"].as_array().unwrap().iter().any(|run| run["events"] == 1)
        })
        .await;
    }
}
