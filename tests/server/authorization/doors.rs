//! How a token is shown, and what is asked inside of a worker's, a follower's and a viewer's connection.

use hyper::Method;
use serde_json::json;
use tasktail::auth::Scope;

use crate::authorization::support::Store;
use crate::common::{numbered, plain, serve, timed};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_in_a_header_and_never_in_a_url() {
    let store = Store::new().await;
    let admin = store.admin.as_str();
    let bearer = format!("Bearer {admin}");
    let ask = async |headers: &[(&str, &str)]| {
        store.server.ask(Method::GET, "/api/v1/tasks", headers, "").await.status.as_u16()
    };
    assert_eq!(ask(&[("authorization", &bearer)]).await, 200);
    assert_eq!(ask(&[("authorization", &bearer.replace("Bearer", "bearer"))]).await, 200);
    assert_eq!(ask(&[("token", admin)]).await, 200, "Debusine's header");
    assert_eq!(ask(&[("token", admin), ("authorization", &bearer)]).await, 200);
    assert_eq!(ask(&[("token", "tt_other"), ("authorization", &bearer)]).await, 401, "which of them?");
    assert_eq!(ask(&[("authorization", "Basic dDp4")]).await, 401);
    for name in ["token", "access_token", "auth", "Token"] {
        for path in ["/api/v1/tasks", "/", "/healthz", "/ws/v1/follow"] {
            let answer = store.get(admin, &format!("{path}?{name}={admin}")).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "token_in_url"), "{path} {name}");
            assert!(!answer.text().contains(&admin[3..]), "it is not said again");
        }
    }
    let long = "a line\n".repeat(100_000);
    let text = [("content-type", "text/plain")];
    let refused = store.server.ask(Method::POST, "/api/v1/tasks/t/lines", &text, long).await;
    assert_eq!(refused.code(), "unauthorized", "whoever writes first hears it too");
    let open = serve().await;
    assert_eq!(open.get("/api/v1/tasks?token=x").await.code(), "token_in_url", "in an open store too");
    let shown = open.ask(Method::GET, "/api/v1/tasks", &[("token", "whatever")], "").await;
    assert_eq!(shown.status, 200, "an open store asks for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_tokens_from_one_address_are_slowed_and_good_ones_are_not() {
    let store = Store::with(|options| options.limits.auth_failures_max = 3, |_| {}).await;
    for _ in 0..3 {
        assert_eq!(store.get("tt_guess", "/api/v1/tasks").await.code(), "unauthorized");
    }
    let answer = store.get("tt_guess", "/api/v1/tasks").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "too_many_attempts"));
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(store.get(&store.admin, "/api/v1/tasks").await.status, 200, "whoever has one is not kept out");
    assert_eq!(store.server.get("/api/v1/tasks").await.code(), "unauthorized", "no token is no guess");
    let metrics = store.get(&store.admin, "/metrics").await.text();
    assert!(metrics.contains(r#"tasktail_auth_failures_total{door="http",reason="unknown"} 4"#), "{metrics}");
    assert!(metrics.contains(r#"tasktail_limit_reached_total{limit="auth_failures_max"} 1"#), "{metrics}");
    assert!(metrics.contains("tasktail_auth_required 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_brings_lines_of_its_own_tasks_alone() {
    let store = Store::new().await;
    let token = store.token("ci", Scope::Write, &["build-*"], &["build-*"]).await;
    let mut worker = store.socket(&token, "/ws/v1/worker").await;
    worker.hello().await;
    worker.say(numbered("build-1", 1, &["mine"])).await;
    worker.acked(1).await;
    for message in [
        numbered("deploy-1", 1, &["not mine"]),
        plain("deploy-1", "not mine"),
        json!({"type":"log_line_end","work_request_id":"deploy-1","exit_code":0}),
        json!({"type":"task_start","work_request_id":"deploy-1","session":"s","command":["x"],"host":"h","labels":{},
            "timestamp":"2026-05-09T14:23:01Z"}),
    ] {
        worker.say(message).await;
        let error = worker.hear_type("error").await;
        assert_eq!((&error["code"], &error["work_request_id"]), (&json!("not_found"), &json!("deploy-1")));
    }
    // A label that names a run brings events into it.
    let start = |run: &str| {
        json!({"type":"task_start","work_request_id":"build-2","session":"s","command":["x"],"host":"h",
            "labels":{"run":run},"timestamp":"2026-05-09T14:23:01Z"})
    };
    worker.say(start("release-7")).await;
    let error = worker.hear_type("error").await;
    assert_eq!(error["code"], "not_found");
    assert!(error["message"].as_str().unwrap().contains("release-7"), "{error}");
    worker.say(start("build-7")).await;
    worker.hear_type("resume").await;
    // The connection stays, and what was refused left nothing behind.
    worker.say(numbered("build-1", 2, &["still mine"])).await;
    worker.acked(2).await;
    assert_eq!(store.get(&store.admin, "/api/v1/tasks/deploy-1").await.code(), "not_found");
    // One that may read only is not let in, and one that knows no protocol gets its lines through.
    let plain_worker = &mut store.socket(&token, "/ws/v1/worker").await;
    plain_worker
        .say(json!({"type":"log_line","work_request_id":"build-3","line":timed("x")["line"],
        "timestamp":"2026-05-09T14:23:01Z","stream":"stdout"}))
        .await;
    store.server.until("the line", || async { store.get(&token, "/api/v1/tasks/build-3").await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_its_own_tasks_alone() {
    let store = Store::new().await;
    store.line("build-1", "mine").await;
    store.line("deploy-1", "not mine").await;
    let token = store.token("wall", Scope::Read, &["build-*"], &["build-*"]).await;
    let mut viewer = store.socket(&token, "/ws/v1/follow").await;
    let error_of = async |viewer: &mut crate::common::Socket, task: &str| {
        viewer.say(json!({"type":"subscribe","task":task})).await;
        let mut error = viewer.hear_type("error").await;
        assert_eq!(error["task_id"], task);
        error["message"] = error["message"].as_str().unwrap().replace(task, "ID").into();
        error["task_id"] = "ID".into();
        error
    };
    let hidden = error_of(&mut viewer, "deploy-1").await;
    assert_eq!(hidden, error_of(&mut viewer, "build-none").await, "as if it were not there");
    viewer.say(json!({"type":"subscribe","task":"deploy-1","wait":true})).await;
    assert_eq!(viewer.hear_type("error").await["code"], "not_found", "nor is it waited for");
    viewer.say(json!({"type":"subscribe","task":"build-1"})).await;
    assert_eq!(viewer.hear_type("lines").await["lines"][0]["line"], "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_separate_writers_a_task_reaches_only_its_own_run() {
    let store = Store::new().await;
    let print = async |token: &str, task: &str, run: &str, id: u32| {
        let event =
            json!({"event_id":id.to_string(),"host":"h","workload":"w","repetition":1,"status":"running","run_id":run});
        let path = format!("/api/v1/tasks/{task}/lines");
        let answer = store.ask(token, Method::POST, &path, Some("text/plain"), format!("LB_EVENT {event}\n")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let events = async |run: &str| {
        let answer = store.get(&store.admin, &format!("/api/v1/runs/{run}/events")).await;
        answer.json()["events"].as_array().map_or(0, Vec::len)
    };
    // Whoever writes here may write every run.
    print(&store.admin, "free-1", "deploy-1", 1).await;
    store.server.until("the event is in the run it names", async || events("deploy-1").await == 1).await;
    let limited = store.token("ci", Scope::Write, &["build-*"], &["build-*"]).await;
    print(&limited, "build-1", "deploy-1", 2).await;
    print(&limited, "build-1", "build-1", 3).await;
    store.server.until("its own event is in its own run", async || events("build-1").await == 1).await;
    assert_eq!(events("deploy-1").await, 1, "and the other one in none");
    let counts = store.get(&store.admin, "/api/v1/tasks/build-1/events").await.text();
    assert!(counts.contains("label run=deploy-1"), "expected the rejected event and the fix: {counts}");
    let hops = store.get(&store.admin, "/api/v1/pipeline").await.text();
    assert!(hops.contains("\"foreign_run\":1"), "{hops}");
}
