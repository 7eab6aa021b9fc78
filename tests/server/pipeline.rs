//! Events on their way: out of tasks' output and a folder into their runs, and what each hop counts.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{TestServer, options, serve, serve_with, started};
use hyper::Method;
use serde_json::{Value, json};
use tasktail::events::Identities;
use tasktail::model::{Event, LineText};
use tasktail::runs::{RunMeters, Runs};
use tasktail::tasks::{EndRequest, LineBatch, Tasks, TasksOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

fn log(level: &str, message: &str) -> Value {
    json!({"run_id":"r","host":"h1","workload":"fio","repetition":1,"total_repetitions":3,"status":"running",
        "type":"log","level":level,"message":message})
}

fn status(status: &str) -> Value {
    json!({"run_id":"r","host":"h1","workload":"fio","repetition":1,"total_repetitions":1,"status":status})
}

async fn events(server: &TestServer, run: &str) -> Vec<Value> {
    let answer = server.get(&format!("/api/v1/runs/{run}/events?limit=10000")).await;
    if answer.status == 404 { Vec::new() } else { answer.json()["events"].as_array().unwrap().clone() }
}

fn messages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["message"].as_str().unwrap_or_default()).collect()
}

async fn until_events(server: &TestServer, run: &str, count: usize) -> Vec<Value> {
    server.until("events", || async { events(server, run).await.len() >= count }).await;
    events(server, run).await
}

async fn hop(server: &TestServer, name: &str) -> Value {
    let pipeline = server.get("/api/v1/pipeline").await.json();
    pipeline["hops"].as_array().unwrap().iter().find(|hop| hop["hop"] == name).unwrap().clone()
}

async fn post(server: &TestServer, run: &str, rows: String) -> Value {
    let answer = server.ask(Method::POST, &format!("/api/v1/runs/{run}/events"), &NDJSON, rows).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn again(server: TestServer) -> TestServer {
    let TestServer { server, folder, home } = server;
    let mut options = options(&folder);
    options.runs = Some(folder.path().join("runs"));
    server.shutdown().await.unwrap();
    started(options, folder, home).await
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_1_7_1_two_paths_give_one_event_with_level_and_type() {
    let server = serve().await;
    let all = [status("running"), log("ERROR", "boom"), log("INFO", "boom"), log("ERROR", "boom")];
    let lines: String = all.iter().map(|event| format!("noise\nLB_EVENT {event}\n")).collect();
    server.append("t", &lines).await;
    let found = until_events(&server, "r", 4).await;
    assert_eq!(messages(&found), ["", "boom", "boom", "boom"], "equal messages, and equal texts of other levels");
    assert_eq!((&found[1]["level"], &found[1]["type"]), (&json!("ERROR"), &json!("log")));
    assert_eq!((&found[1]["source"], &found[1]["source_seq"]), (&json!("task:t"), &json!(4)));
    // The other way: the same events in a callback's JSONL.
    let mut identities = Identities::default();
    let jsonl: String = all
        .iter()
        .map(|event| format!("{}\n", identities.identify(&Event::parse(&event.to_string()).unwrap())))
        .collect();
    let answer = post(&server, "r", jsonl).await;
    assert_eq!((&answer["appended"], &answer["duplicates"]), (&json!(0), &json!(4)));
    assert_eq!(server.texts("t").await.len(), 8, "they also stay in the task's log");
    assert_eq!(hop(&server, "extraction").await["parsed"], 4);
    assert_eq!(hop(&server, "dedupe").await["deduplicated"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_1_7_3_a_duplicate_is_known_after_any_number_of_others() {
    let server = serve().await;
    let event = |n: u64| json!({"event_type":"step.started","step_id":"s","event_id":format!("e{n}")});
    let rows: String = (0..10_000).map(|n| format!("{}\n", event(n))).collect();
    let answer = post(&server, "big", rows).await;
    assert_eq!((&answer["appended"], &answer["rejected_count"]), (&json!(10_000), &json!(0)));
    let server = again(server).await;
    for n in [0, 9_999] {
        assert_eq!(post(&server, "big", event(n).to_string()).await["duplicates"], 1);
    }
    assert_eq!(server.get("/api/v1/runs/big").await.json()["events"], 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_like_text_is_counted_by_task_and_reason() {
    let server = serve().await;
    let bad = r#"LB_EVENT {"workload":"fio","repetition":"one","status":"failed","host":"h","message":"LB_EVENT {"}"#;
    let noise = "+LB_EVENT {$x}\n".repeat(300);
    server.append("t", &format!("a\n{bad}\nLB_EVENT {}\n{noise}", log("INFO", "good"))).await;
    server.end("t").await;
    assert_eq!(server.texts("t").await.len(), 303, "the log is what the command printed");
    assert_eq!(messages(&events(&server, "r").await), ["good"], "when the end is known, so are the events");
    let found = server.get("/api/v1/tasks/t/events").await.json();
    assert_eq!(
        (&found["found"], &found["rejected"]),
        (&json!(1), &json!({"wrong_type": 1, "not_json": 300})),
        "{found}"
    );
    let first = &found["examples"][0];
    assert_eq!((&first["line"], &first["reason"]), (&json!(2), &json!("wrong_type")));
    assert!(first["excerpt"].as_str().unwrap().starts_with("{\"workload\""), "{first}");
    assert_eq!(found["examples"].as_array().unwrap().len(), 10);
    let extraction = hop(&server, "extraction").await;
    assert_eq!((&extraction["rejected"]["wrong_type"], &extraction["received"]), (&json!(1), &json!(302)));
    assert_eq!(server.get("/api/v1/tasks/none/events").await.status, 404);
    let server = again(server).await;
    assert_eq!(server.get("/api/v1/tasks/t/events").await.json()["found"], 0, "counted since the start");
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains(r#"tasktail_hop_received_total{hop="extraction"}"#), "{metrics}");
}

/// Returns a stage of a run's own counters.
async fn own_hop(server: &TestServer, run: &str, name: &str) -> Value {
    let pipeline = server.get(&format!("/api/v1/runs/{run}/pipeline")).await.json();
    pipeline["hops"].as_array().unwrap().iter().find(|hop| hop["hop"] == name).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_its_own_counters_and_errors() {
    let server = serve().await;
    let event = |run: &str| json!({"run_id": run, "event_type": "step.failed"});
    server.append("a", &format!("LB_EVENT {}\nLB_EVENT {{\"x\":1}}\n", event("a"))).await;
    server.append("b", &format!("LB_EVENT {}\n", event("b"))).await;
    until_events(&server, "a", 1).await;
    until_events(&server, "b", 1).await;
    server.end("a").await;
    post(&server, "b", "nonsense\n".to_owned()).await;
    let (a, b) = (own_hop(&server, "a", "extraction").await, own_hop(&server, "b", "extraction").await);
    assert_eq!((&a["received"], &a["rejected"]["missing_field"]), (&json!(2), &json!(1)), "{a}");
    assert!(a["last_error"]["message"].as_str().unwrap().starts_with("task:a, line 2"), "{a}");
    assert_eq!((&b["received"], &b["last_error"]), (&json!(1), &Value::Null), "another run's error");
    let (a, b) = (own_hop(&server, "a", "runs_http").await, own_hop(&server, "b", "runs_http").await);
    assert_eq!((&a["rejected"], &b["rejected"]), (&json!({}), &json!({"not_json": 1})));
    assert_eq!(own_hop(&server, "b", "dedupe").await["delivered"], 1);
    assert_eq!(hop(&server, "extraction").await["received"], 3, "and the server's");
    assert_eq!(server.get("/api/v1/runs/none/pipeline").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_as_programs_write_it_is_appended() {
    let server = serve().await;
    let body = "\u{feff}{\"event_type\":\"step.failed\",\"p99\":NaN}{\"event_type\":\"b\"}\n\
                {\"event_type\":\"c\",\"n\":1,\"n\":2},\n[{\"event_type\":\"d\"}, {\"event_type\":\"e\"}]\n{\"event_type\":\"st";
    let answer = server
        .ask(
            Method::POST,
            "/api/v1/runs/n/events?source=s",
            &[("content-type", "application/x-ndjson")],
            body.to_owned(),
        )
        .await
        .json();
    assert_eq!((&answer["appended"], &answer["rejected_count"]), (&json!(5), &json!(1)), "{answer}");
    assert_eq!(
        (&answer["rejected"][0]["index"], &answer["rejected"][0]["excerpt"]),
        (&json!(3), &json!("{\"event_type\":\"st"))
    );
    let found = events(&server, "n").await;
    assert_eq!((&found[0]["p99"], &found[2]["n"], &found[1]["event_id"]), (&json!("NaN"), &json!(2), &json!("s:1.1")));
    assert_eq!(server.get("/api/v1/runs/n").await.json()["failures"], 1);
    let array = "[{\"event_type\":\"f\",\"x\":Infinity},{\"event_type\":\"g\"}]".to_owned();
    let json = [("content-type", "application/json")];
    assert_eq!(server.ask(Method::POST, "/api/v1/runs/n/events", &json, array).await.json()["appended"], 2);
    let cut = "[{\"event_type\":\"f\",\"x\":Infinity},{\"event_ty".to_owned();
    assert_eq!(server.ask(Method::POST, "/api/v1/runs/n/events", &json, cut).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_invalid_run_id_joins_the_run_of_its_task_and_is_reported() {
    let server = serve().await;
    let mut event = log("INFO", "lost?");
    event["run_id"] = json!("a/b");
    server.append("t", &format!("LB_EVENT {event}\n")).await;
    assert_eq!(messages(&until_events(&server, "t", 1).await), ["lost?"]);
    let told = hop(&server, "extraction").await["last_error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(told.starts_with("task:t, line 1: field `run_id`") && told.contains("run t"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_duplicates_no_event_of_a_running_task() {
    let server = serve().await;
    let line = |message: &str| format!("LB_EVENT {}\n", log("INFO", message));
    server.append("t", &(line("a") + &line("a") + "LB_EVENT {\"host\":\"h\"}\n")).await;
    until_events(&server, "r", 2).await;
    let rejected =
        || async { !server.get("/api/v1/tasks/t/events").await.json()["rejected"]["missing_field"].is_null() };
    server.until("the bad text was counted", rejected).await;
    let server = again(server).await;
    server.append("t", &line("b")).await;
    assert_eq!(messages(&until_events(&server, "r", 3).await), ["a", "a", "b"]);
    server.end("t").await;
    assert_eq!((events(&server, "r").await.len(), server.texts("t").await.len()), (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_run_belong_to_the_tasks_and_none_where_they_are_off() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    let plain = json!({"host":"h1","workload":"fio","repetition":1,"status":"running"});
    for (task, labels) in [("a", json!({})), ("b", json!({"run":"nightly"})), ("c", json!({"events":"off"}))] {
        worker.say(json!({"type":"task_start","work_request_id":task,"session":"s","labels":labels})).await;
        worker.say(crate::common::numbered(task, 1, &[&format!("LB_EVENT {plain}")])).await;
        worker.acked(1).await;
        server.end(task).await;
    }
    for (run, count) in [("a", 1), ("b", 0), ("nightly", 1), ("c", 0)] {
        assert_eq!(events(&server, run).await.len(), count, "{run}");
    }
    let socket = hop(&server, "worker_socket").await;
    assert_eq!((&socket["received"], &socket["parsed"], &socket["stored"]), (&json!(3), &json!(3), &json!(3)));
    worker.say(crate::common::numbered("d", 1, &["x"])).await;
    worker.say(crate::common::numbered("d", 1, &["x"])).await;
    worker.say_raw("{".to_owned()).await;
    assert_eq!(worker.hear_type("error").await["code"], "bad_json");
    server.until("the repeat", || async { hop(&server, "worker_socket").await["deduplicated"] == 1 }).await;
    assert_eq!(hop(&server, "worker_socket").await["rejected"]["bad_json"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_1_11_a_late_log_event_never_reopens_a_repetition() {
    let server = serve().await;
    server.append("t", &format!("LB_EVENT {}\nLB_EVENT {}\n", status("running"), status("done"))).await;
    until_events(&server, "r", 2).await;
    post(&server, "r", format!("{}\n", log("INFO", "late"))).await;
    let run = server.get("/api/v1/runs/r").await.json();
    assert_eq!((&run["journal"][0]["status"], &run["events"]), (&json!("done"), &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_turn_each_line_into_an_event() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    let labels =
        json!({"events":"lines","run":"r","workload":"dfaas","repetition":"2/3","config":"cfg-01","host":"h9"});
    worker
        .say(json!({"type":"task_start","work_request_id":"k","session":"s","labels":labels,
            "command":["/usr/bin/k6","run"],"timestamp":"2026-05-09T14:23:00Z"}))
        .await;
    let own = format!("LB_EVENT {}", log("ERROR", "own"));
    let lines = ["running (0m05.0s), 10/10 VUs", "running (0m05.0s), 10/10 VUs", "level=warning msg=\"x\"", &own];
    worker.say(crate::common::numbered("k", 1, &lines)).await;
    worker.acked(4).await;
    until_events(&server, "r", 6).await;
    let server = again(server).await;
    let ended = json!({"exit_code":99,"timestamp":"2026-05-09T14:23:12.300Z"}).to_string();
    server.ask(Method::POST, "/api/v1/tasks/k/end", &[("content-type", "application/json")], ended).await;
    let found = events(&server, "r").await;
    let wanted = [
        "",
        "k6[cfg-01] log stream started",
        "k6[cfg-01] stdout: running (0m05.0s), 10/10 VUs",
        "k6[cfg-01] stdout: running (0m05.0s), 10/10 VUs",
        "k6[cfg-01] stdout: level=warning msg=\"x\"",
        "own",
        "k6[cfg-01] log stream stopped",
        "exit code 99 duration=12.3s",
    ];
    assert_eq!(messages(&found), wanted);
    assert_eq!(
        (&found[4]["level"], &found[4]["source_seq"], &found[4]["host"]),
        (&json!("WARNING"), &json!(3), &json!("h9"))
    );
    assert_eq!((&found[4]["repetition"], &found[4]["total_repetitions"]), (&json!(2), &json!(3)));
    let run = server.get("/api/v1/runs/r").await.json();
    let row = run["journal"].as_array().unwrap().iter().find(|row| row["workload"] == "dfaas").unwrap().clone();
    assert_eq!((&row["status"], &row["duration_s"]), (&json!("failed"), &json!(12.3)));
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// formats 1.8: a half line is waited for, what cannot be read is counted at its hop.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_runs_is_bridged_as_it_grows() {
    let server = serve_with(|options| {
        let folder = options.data.parent().unwrap().join("runs");
        options.runs = Some(folder);
    })
    .await;
    let folder = server.folder.path().join("runs");
    let file = folder.join("one/events.jsonl");
    let line = |message: &str| format!("{}\n", log("INFO", message));
    // The folder itself comes late.
    write(&file, &(line("a") + &line("a") + "{\"host\":\n" + "{\"half\":"));
    assert_eq!(messages(&until_events(&server, "one", 2).await), ["a", "a"]);
    write(&file, "1}\n");
    write(&file, &line("b"));
    until_events(&server, "one", 3).await;
    write(&folder.join("two/events.jsonl"), &line("c"));
    until_events(&server, "two", 1).await;
    std::fs::create_dir(folder.join("no run")).unwrap();
    server
        .until("the strange name", || async { hop(&server, "runs_folder").await["rejected"]["bad_run_id"] == 1 })
        .await;
    let counted = hop(&server, "runs_folder").await;
    assert_eq!((&counted["rejected"]["not_json"], &counted["rejected"]["missing_field"]), (&json!(1), &json!(1)));
    let one = events(&server, "one").await;
    assert!(
        one[2]["source"].as_str().unwrap().ends_with("one/events.jsonl") && one[2]["source_seq"] == 5,
        "{}",
        one[2]
    );
    assert_eq!(server.get("/api/v1/pipeline").await.json()["runs_folder"], folder.display().to_string());
    // A restart, and a file that is written anew with more: nothing doubles.
    let server = again(server).await;
    write(&folder.join("three/events.jsonl"), &line("d"));
    until_events(&server, "three", 1).await;
    std::fs::write(&file, line("a") + &line("a") + &line("b") + &line("e")).unwrap();
    assert_eq!(messages(&until_events(&server, "one", 4).await), ["a", "a", "b", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_not_read_when_their_task_ended_are_read_after_the_next_start() {
    after_the_next_start(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_task_that_expired_while_stopped_are_read_after_the_start() {
    after_the_next_start(false).await;
}

async fn after_the_next_start(ends: bool) {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::open(folder.path(), TasksOptions::default()).await.unwrap();
    let mut eventful = tasks.tasks_with_events();
    let task = tasks.get_or_create(&"t".parse().unwrap()).await.unwrap();
    let text = format!("LB_EVENT {}", status("done"));
    let mut lines = LineBatch::new();
    for text in [&text, "LB_EVENT {\"half"] {
        lines.push(&LineText { text: text.into(), ..LineText::default() });
    }
    task.append(lines).await.unwrap().await.unwrap();
    // Whoever reads the events is cut short, as by a kill.
    drop(eventful.next().await);
    let mut options = TasksOptions { events: true, ..TasksOptions::default() };
    if ends {
        task.end(EndRequest::default()).await.unwrap();
    } else {
        options.limits.journal_expiry = Duration::from_millis(50);
    }
    tasks.close().await;
    drop((task, tasks, eventful));

    let tasks = Tasks::open(folder.path(), options).await.unwrap();
    // A server may take its time; meanwhile ended tasks are sealed, and sealed ones are read no more.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let runs = Runs::new(&tasks, Arc::new(RunMeters::default()));
    let (stop, tracker, bridged) = (CancellationToken::new(), TaskTracker::new(), runs.clone());
    let bridge = tokio::spawn({
        let (tasks, stop) = (tasks.clone(), stop.clone());
        async move { bridged.bridge(tasks, Arc::new(|| false), stop, tracker).await }
    });
    let run = runs.get_or_new(&"r".parse().unwrap());
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while run.state().await.unwrap().is_none_or(|run| run.events != 1) {
        assert!(tokio::time::Instant::now() < until, "the event never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let id = "t".parse().unwrap();
    while tasks.get(&id).await.unwrap().unwrap().details().artifact.is_none() {
        assert!(tokio::time::Instant::now() < until, "the task is never sealed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    bridge.await.unwrap();
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_another_task_of_the_same_name_are_other_events() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    for (session, line) in [("first", "one"), ("second", "two")] {
        let labels = json!({"events":"lines","run":"r"});
        worker.say(json!({"type":"task_start","work_request_id":"k","session":session,"labels":labels})).await;
        let mut batch = crate::common::numbered("k", 1, &[line]);
        batch["session"] = session.into();
        worker.say(batch).await;
        worker.acked(1).await;
        server.end("k").await;
        let found = events(&server, "r").await;
        assert!(messages(&found).iter().any(|message| message.ends_with(line)), "{line}: {found:?}");
        assert_eq!(server.ask(Method::DELETE, "/api/v1/tasks/k", &[], "").await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_run_restarts_with_events_appended_later() {
    let server = serve_with(|options| {
        options.runs = Some(options.data.parent().unwrap().join("runs"));
    })
    .await;
    let file = server.folder.path().join("runs/one/events.jsonl");
    write(&file, &format!("{}\n{}\n", log("INFO", "a"), log("INFO", "b")));
    until_events(&server, "one", 2).await;
    assert_eq!(server.ask(Method::DELETE, "/api/v1/runs/one", &[], "").await.status, 204);
    write(&file, &format!("{}\n", log("INFO", "c")));
    assert_eq!(messages(&until_events(&server, "one", 1).await), ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_went_with_their_archive_are_counted_where_events_are_looked_for() {
    let server = serve_with(|options| options.limits.live_window_lines = 100).await;
    let text: String = (0..6_000).map(|n| format!("line {n}\n")).collect();
    server.append("t", &text).await;
    server.append("t", &format!("LB_EVENT {}\n", status("running"))).await;
    until_events(&server, "r", 1).await;
    let folder = server.folder.path().join("data/archive");
    server.until("lines in the archive", || async { has_files(&folder) }).await;
    let TestServer { server, folder, home } = server;
    let mut options = options(&folder);
    options.limits.live_window_lines = 100;
    server.shutdown().await.unwrap();
    std::fs::remove_dir_all(folder.path().join("data/archive")).unwrap();
    let server = started(options, folder, home).await;
    server.until("the gap", || async { hop(&server, "extraction").await["dropped"].as_u64() > Some(0) }).await;
    let told = hop(&server, "extraction").await["last_error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("are missing"), "{told}");
}

fn has_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let path = entry.path();
            if path.is_dir() { has_files(&path) } else { std::fs::metadata(path).is_ok_and(|facts| facts.len() > 0) }
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_becomes_an_event_whatever_is_in_it() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker
        .say(json!({"type":"task_start","work_request_id":"k","session":"s","labels":{"events":"lines","run":"r"}}))
        .await;
    worker.say(crate::common::numbered("k", 1, &["TASK [Poll LB_EVENT stream] ****"])).await;
    worker.acked(1).await;
    // Control characters take six bytes each in JSON.
    let long = "\u{1}".repeat(200 * 1024);
    assert_eq!(server.append("k", &format!("{long}\nlast\n")).await.status, 200);
    server.end("k").await;
    let found = events(&server, "r").await;
    let said = messages(&found);
    let has = |part: &str| said.iter().any(|message| message.contains(part));
    assert!(has("TASK [Poll LB_EVENT stream] ****") && has("stdout: last"), "{}", said.len());
    assert!(has("\u{1}\u{1}") && has("[truncated: 204800 bytes in total]"), "a long line is cut, and says so");
}
