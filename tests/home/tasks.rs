//! Tasks: written at one server, read at another.

use hyper::Method;
use serde_json::{Value, json};

use crate::common::home::TestHome;
use crate::common::{TestServer, numbered, plain, texts, until};
use crate::{serve, serve_limited};

/// Starts a task for a worker of this session.
async fn start(server: &TestServer, task: &str, session: &str) -> (crate::common::Socket, u64) {
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(json!({"type":"task_start","work_request_id":task,"session":session,"command":["make"]})).await;
    let resume = worker.hear_type("resume").await;
    (worker, resume["acked_seq"].as_u64().unwrap())
}

fn end(task: &str, seq: u64) -> Value {
    json!({"type":"log_line_end","work_request_id":task,"exit_code":3,"seq":seq,"timestamp":"2026-05-09T14:25:00+00:00"})
}

async fn details(server: &TestServer, task: &str) -> Value {
    server.get(&format!("/api/v1/tasks/{task}")).await.json()
}

/// Waits until a task is sealed, as this server sees it.
async fn sealed(server: &TestServer, task: &str) {
    until("the seal", async || !details(server, task).await["artifact"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_the_end_reach_a_viewer_of_another_server() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    let mut viewer = two.socket("/ws/v1/tasks/t?wait=1").await;
    let (mut worker, acked) = start(&one, "t", "s1").await;
    assert_eq!(acked, 0);
    worker.say(numbered("t", 1, &["a", "b"])).await;
    worker.acked(2).await;
    let open = viewer.hear_type("open").await;
    assert_eq!(open["task"]["id"], "t");
    let mut seen = 0;
    while seen < 2 {
        seen += texts(&viewer.hear_type("lines").await).len();
    }
    worker.say(numbered("t", 3, &["c"])).await;
    worker.say(end("t", 4)).await;
    worker.acked(4).await;
    assert_eq!(viewer.rest().await, [(3, "c".to_owned())]);
    for server in [&one, &two] {
        sealed(server, "t").await;
        assert_eq!(server.texts("t").await, ["a", "b", "c"]);
        let task = details(server, "t").await;
        assert_eq!((&task["status"], &task["exit_code"], &task["lines"]), (&json!("completed"), &json!(3), &json!(3)));
        assert_eq!(task["command"], json!(["make"]));
    }
    let names = home.object_names("tasks/t");
    assert_eq!(names.len(), 2, "the log and the record: {names:?}");
    assert!(!redis::Commands::exists::<_, bool>(&mut home.client(), "task:logs:t").unwrap(), "the stream is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_resumes_at_another_server() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    let (mut worker, _) = start(&one, "t", "s1").await;
    worker.say(numbered("t", 1, &["1", "2", "3"])).await;
    worker.acked(3).await;
    drop(worker);
    one.server.shutdown().await.unwrap();
    let (mut worker, acked) = start(&two, "t", "s1").await;
    assert_eq!(acked, 3);
    // Sent again, as if the acknowledgement had been lost.
    worker.say(numbered("t", 2, &["2", "3", "4"])).await;
    worker.acked(4).await;
    worker.say(end("t", 5)).await;
    worker.acked(5).await;
    assert_eq!(two.texts("t").await, ["1", "2", "3", "4"]);
    sealed(&two, "t").await;
    assert_eq!(details(&two, "t").await["integrity"]["state"], "unknown", "the worker reported no totals");
}

#[tokio::test(flavor = "multi_thread")]
async fn task_of_another_client_is_the_same_task() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    let mut redis = home.client();
    let mut add = |line: &str| {
        redis::cmd("XADD")
            .arg(&["task:logs:42", "*", "line", line, "timestamp", "2026-05-09T14:23:01+00:00", "stream", "stderr"])
            .exec(&mut redis)
            .unwrap();
    };
    add("from redis");
    until("the task", async || one.get("/api/v1/tasks/42").await.status == 200).await;
    assert_eq!(two.append("42", "from http\n").await.status, 200);
    add("again");
    for server in [&one, &two] {
        until("three lines", async || server.texts("42").await.len() == 3).await;
        let lines = server.get("/api/v1/tasks/42/lines").await.json();
        assert_eq!(texts(&lines), ["from redis", "from http", "again"]);
        assert_eq!(lines["lines"][0]["stream"], "stderr");
        assert_eq!(lines["lines"][2]["n"], 3);
    }
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(&["task:logs:42", "-", "+"]).query(&mut redis).unwrap();
    let of_http = &entries[1].1;
    assert!(of_http.contains(&("line".to_owned(), "from http".to_owned())), "{of_http:?}");
    assert!(of_http.contains(&("stream".to_owned(), "stdout".to_owned())), "{of_http:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_log_moves_to_segments_and_a_new_server_reads_all_of_it() {
    const LINES: usize = 30_000;
    let home = TestHome::start().await;
    let one = serve(&home).await;
    let lines: Vec<String> = (1..=LINES).map(|n| format!("line {n}")).collect();
    for part in lines.chunks(5_000) {
        assert_eq!(one.append("t", &(part.join("\n") + "\n")).await.status, 200);
    }
    until("a segment", async || home.object_names("tasks/t").iter().any(|name| name.contains("/seg/"))).await;
    let two = serve(&home).await;
    for server in [&one, &two] {
        let text = server.get("/api/v1/tasks/t/log?format=text").await.text();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }
    assert_eq!(one.end("t").await.status, 200);
    sealed(&two, "t").await;
    assert_eq!(two.get("/api/v1/tasks/t/log?format=text").await.text().lines().count(), LINES);
    until("segments are deleted", async || home.object_names("tasks/t").len() == 2).await;
    let log = home.object_names("tasks/t").into_iter().find(|name| name.contains("/log.")).unwrap();
    let printed = std::process::Command::new("zstdcat").arg(home.objects().join(log)).output().unwrap();
    assert_eq!(printed.stdout.iter().filter(|byte| **byte == b'\n').count(), LINES);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_task_is_gone_everywhere() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    assert_eq!(one.append("sealed", "a\n").await.status, 200);
    assert_eq!(one.end("sealed").await.status, 200);
    sealed(&two, "sealed").await;
    assert_eq!(one.append("running", "a\n").await.status, 200);
    for task in ["sealed", "running"] {
        let path = format!("/api/v1/tasks/{task}");
        assert_eq!(two.ask(Method::DELETE, &path, &[], "").await.status.as_u16() / 100, 2);
        until("the removal", async || one.get(&path).await.status == 404).await;
        assert_eq!(home.object_names(&format!("tasks/{task}")), Vec::<String>::new());
    }
    assert_eq!(two.append("running", "new\n").await.status, 200);
    until("the new task", async || one.get("/api/v1/tasks/running").await.status == 200).await;
    assert_eq!(one.texts("running").await, ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_restarts_loses_nothing() {
    let mut home = TestHome::start().await;
    let server = serve(&home).await;
    let (mut worker, _) = start(&server, "t", "s1").await;
    worker.say(numbered("t", 1, &["1"])).await;
    worker.acked(1).await;
    home.kill();
    worker.say(numbered("t", 2, &["2"])).await;
    until("it is not ready", async || server.get("/readyz").await.status == 503).await;
    home.restart().await;
    worker.acked(2).await;
    worker.say(numbered("t", 3, &["3"])).await;
    worker.acked(3).await;
    until("the lines", async || server.texts("t").await.len() == 3).await;
    assert_eq!(server.texts("t").await, ["1", "2", "3"]);
    until("it is ready", async || server.get("/readyz").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_and_attempts_are_the_same_on_all_servers() {
    let home = TestHome::start().await;
    let one = serve(&home).await;
    for task in ["a", "b"] {
        assert_eq!(one.append(task, "x\n").await.status, 200);
        assert_eq!(one.end(task).await.status, 200);
    }
    let two = serve(&home).await;
    let ids = async |server: &TestServer| {
        let list = server.get("/api/v1/tasks").await.json();
        list["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&two).await, [json!("b"), json!("a")]);
    // A worker without a reply channel starts a new attempt of an ended task.
    let mut worker = two.socket("/ws/v1/worker").await;
    worker.say(plain("a", "second")).await;
    until("the attempt", async || ids(&one).await.len() == 3).await;
    until("its line", async || one.texts("a").await == ["second"]).await;
    assert_eq!(one.texts("a.1").await, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_and_expiry_apply_to_the_tasks_of_all_servers() {
    let home = TestHome::start().await;
    let one = serve(&home).await;
    for task in ["old", "new"] {
        assert_eq!(one.append(task, "x\n").await.status, 200);
        assert_eq!(one.end(task).await.status, 200);
        sealed(&one, task).await;
    }
    one.server.shutdown().await.unwrap();
    let two = serve_limited(&home, |limits| limits.retention_count = Some(1)).await;
    until("the older task is removed", async || two.get("/api/v1/tasks/old").await.status == 404).await;
    assert_eq!(home.object_names("tasks/old"), Vec::<String>::new());
    assert_eq!(two.texts("new").await, ["x"]);
    assert_eq!(two.append("idle", "x\n").await.status, 200);
    two.server.shutdown().await.unwrap();
    let two = serve_limited(&home, |limits| limits.journal_expiry = std::time::Duration::from_secs(1)).await;
    sealed(&two, "idle").await;
    assert_eq!(details(&two, "idle").await["status"], "lost");
    assert_eq!(two.texts("idle").await, ["x"]);
}
