//! Faults injected on purpose: servers killed and paused, Redis emptied, full and killed, the object store away.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::common::home::TestHome;
use crate::common::{Socket, TestServer, numbered, texts, until};
use crate::processes::{Process, RedisProxy, balance, run};
use crate::serve;

/// Reads all lines page by page. Their numbers must be dense from 1.
async fn all_lines(server: &TestServer, task: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let path = format!("/api/v1/tasks/{task}/lines?from={}&limit=10000", all.len() + 1);
        let page = server.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let lines = page["lines"].as_array().unwrap();
        for line in lines {
            assert_eq!(line["n"], all.len() + 1);
            all.push(line["line"].as_str().unwrap().to_owned());
        }
        if lines.is_empty() {
            return all;
        }
    }
}

async fn details(server: &TestServer, task: &str) -> Value {
    server.get(&format!("/api/v1/tasks/{task}")).await.json()
}

async fn is_sealed(server: &TestServer, task: &str) -> bool {
    !details(server, task).await["artifact"].is_null()
}

/// Appends numbered lines over HTTP.
async fn append(server: &TestServer, task: &str, lines: std::ops::RangeInclusive<usize>) -> Vec<String> {
    let lines: Vec<String> = lines.map(|n| format!("line {n}")).collect();
    assert_eq!(server.append(task, &(lines.join("\n") + "\n")).await.status, 200);
    lines
}

/// The log of a task in the object store, which must be the only object beside its record, as text.
fn only_log(home: &TestHome, task: &str) -> String {
    let names = home.object_names(&format!("tasks/{task}"));
    assert_eq!(names.len(), 2, "one log and its record: {names:?}");
    let log = names.iter().find(|name| name.contains("/log.")).unwrap();
    let record = std::fs::read_to_string(home.objects().join(names.iter().find(|n| n.ends_with("task.json")).unwrap()));
    assert!(record.unwrap().contains(log.as_str()), "the record names the log");
    let facts: String =
        redis::cmd("HGET").arg(format!("{{task:logs:{task}}}:tt")).arg("r:object").query(&mut home.client()).unwrap();
    assert_eq!(facts, format!("\"{log}\""));
    let printed = std::process::Command::new("zstdcat").arg(home.objects().join(log)).output().unwrap();
    let lines = String::from_utf8(printed.stdout).unwrap();
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["line"].as_str().unwrap().to_owned() + "\n";
    without_notes(&lines.lines().map(text).collect::<String>())
}

/// The lines of the command, without those of the worker.
fn without_notes(log: &str) -> String {
    let lines = log.lines().filter(|line| line.starts_with("line "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_survives_the_kill_of_its_server() {
    const LINES: usize = 5_000;
    let home = TestHome::start().await;
    let (mut one, one_at) = Process::serve(&home, &home.url()).await;
    let two = serve(&home).await;
    let url = balance(vec![one_at, two.server.addr()]).await;
    let script = format!("for i in $(seq 1 {LINES}); do echo line $i; [ $((i % 100)) != 0 ] || sleep 0.02; done");
    let mut worker = Process::start(&["--url", &url, "run", "--task", "t", "--", "sh", "-c", &script]);
    until("the first lines", async || details(&two, "t").await["lines"].as_u64() >= Some(1_000)).await;
    assert!(worker.out().lines().count() < LINES, "lines are on their way when it is killed");
    one.kill();
    assert_eq!(worker.code().await, Some(0), "{}", worker.err());
    assert_eq!(without_notes(&worker.out()), log_of(LINES), "the command's own output");
    until("the seal", async || is_sealed(&two, "t").await).await;
    assert_eq!(without_notes(&all_lines(&two, "t").await.join("\n")), log_of(LINES));
    let export = run(&["--url", &url, "export", "t"]).await;
    assert_eq!(without_notes(&String::from_utf8(export.stdout).unwrap()), log_of(LINES));
    assert_eq!(only_log(&home, "t"), log_of(LINES));
    assert_eq!(details(&two, "t").await["integrity"]["state"], "complete");
}

/// A server that is the only one, and stops in the middle of a step: what it sends to Redis with this text is held back.
///
/// The worker's command prints lines and ends once `go` exists.
async fn stopped_at(home: &TestHome, pattern: &'static str, lines: usize, go: &Path) -> (Process, Process, RedisProxy) {
    let proxy = RedisProxy::start(home).await;
    let (one, address) = Process::serve(home, &proxy.url).await;
    proxy.hold(pattern);
    let url = format!("http://{address}");
    let script = format!("seq -f 'line %.0f' {lines}; while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let worker = Process::start(&["--url", &url, "run", "--task", "t", "--", "sh", "-c", &script]);
    proxy.held().await;
    (one, worker, proxy)
}

fn log_of(lines: usize) -> String {
    (1..=lines).map(|n| format!("line {n}\n")).collect()
}

/// Waits until a server has sealed the task, and checks that the store has one log of it.
async fn check_sealed(home: &TestHome, server: &TestServer, lines: usize) {
    until("the seal", async || is_sealed(server, "t").await).await;
    until("one log", async || home.object_names("tasks/t").len() == 2).await;
    assert_eq!(only_log(home, "t"), log_of(lines));
    assert_eq!(without_notes(&server.get("/api/v1/tasks/t/log?format=text").await.text()), log_of(lines));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_completes_a_seal_whose_server_was_killed() {
    let home = TestHome::start().await;
    let (mut one, _worker, _proxy) = stopped_at(&home, "/log.", 300, &home.objects()).await;
    one.kill();
    assert_eq!(home.object_names("tasks/t").len(), 2, "it has written the log and the record");
    let two = serve(&home).await;
    check_sealed(&home, &two, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_without_a_record_of_a_killed_server_is_deleted() {
    let home = TestHome::start().await;
    let (mut one, _worker, _proxy) = stopped_at(&home, "/log.", 300, &home.objects()).await;
    one.kill();
    let record = home.object_names("tasks/t").into_iter().find(|name| name.ends_with("task.json")).unwrap();
    // As if it had been killed earlier.
    std::fs::remove_file(home.objects().join(record)).unwrap();
    let two = serve(&home).await;
    check_sealed(&home, &two, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_pauses_while_it_seals_does_no_harm() {
    let home = TestHome::start().await;
    let (one, mut worker, proxy) = stopped_at(&home, "/log.", 300, &home.objects()).await;
    one.signal("STOP");
    let two = serve(&home).await;
    check_sealed(&home, &two, 300).await;
    one.signal("CONT");
    proxy.release();
    proxy.answered().await;
    assert_eq!(worker.code().await, Some(0), "{}", worker.err());
    // Steps of a task are later than those of the answer.
    assert_eq!(two.append("other", "x\n").await.status, 200);
    assert_eq!(two.end("other").await.status, 200);
    until("the next seal", async || is_sealed(&two, "other").await).await;
    check_sealed(&home, &two, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_pauses_while_it_archives_does_no_harm() {
    const LINES: usize = 15_000;
    let home = TestHome::start().await;
    let go = home.objects().join("go");
    let (one, mut worker, proxy) = stopped_at(&home, "/seg/", LINES, &go).await;
    one.signal("STOP");
    let stale = home.object_names("tasks/t");
    assert!(stale.len() == 1 && stale[0].contains("/seg/"), "{stale:?}");
    let two = serve(&home).await;
    until("another segment", async || home.object_names("tasks/t").len() > 1).await;
    one.signal("CONT");
    proxy.release();
    proxy.answered().await;
    until("its own segment is deleted", async || !home.object_names("tasks/t").contains(&stale[0])).await;
    std::fs::write(go, "").unwrap();
    assert_eq!(worker.code().await, Some(0), "{}", worker.err());
    check_sealed(&home, &two, LINES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_task_removed_during_its_seal_are_deleted() {
    let home = TestHome::start().await;
    let (_one, _worker, proxy) = stopped_at(&home, "/log.", 300, &home.objects()).await;
    redis::cmd("DEL").arg("{task:logs:t}:tt").exec(&mut home.client()).unwrap();
    assert_eq!(home.object_names("tasks/t").len(), 2);
    proxy.release();
    until("they are deleted", async || home.object_names("tasks/t").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_sealed_while_redis_is_emptied_comes_back() {
    let home = TestHome::start().await;
    let (mut one, _worker, proxy) = stopped_at(&home, "/log.", 300, &home.objects()).await;
    redis::cmd("FLUSHALL").exec(&mut home.client()).unwrap();
    proxy.release();
    until("the server notices", async || one.err().contains("tasktail adopt")).await;
    one.kill();
    let archive = format!("file://{}", home.objects().display());
    let adopted = run(&["adopt", "--journal", &home.url(), "--archive", &archive]).await;
    assert_eq!(String::from_utf8(adopted.stdout).unwrap(), "adopted 1 task, 0 tasks existed, no faults\n");
    check_sealed(&home, &serve(&home).await, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_does_not_wait_long_for_the_object_store() {
    let home = TestHome::start().await;
    let server = serve(&home).await;
    let lines = append(&server, "t", 1..=300).await;
    let (objects, away) = (home.objects(), home.objects().with_extension("away"));
    std::fs::rename(&objects, &away).unwrap();
    std::fs::write(&objects, "").unwrap();
    let started = Instant::now();
    assert_eq!(server.end("t").await.status, 200);
    assert!(started.elapsed() >= Duration::from_secs(4), "it waits a while");
    let task = details(&server, "t").await;
    assert_eq!((&task["status"], &task["artifact"]), (&json!("completed"), &Value::Null));
    assert_eq!(all_lines(&server, "t").await, lines);
    std::fs::remove_file(&objects).unwrap();
    std::fs::rename(&away, &objects).unwrap();
    until("the seal", async || is_sealed(&server, "t").await).await;
    assert_eq!(only_log(&home, "t"), log_of(300));
}

/// Connects a worker and starts its task.
async fn worker(server: &TestServer) -> Socket {
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":["make"]})).await;
    worker.hear_type("resume").await;
    worker
}

/// Sends lines from number `first` on.
async fn send(worker: &mut Socket, first: usize, count: usize) {
    let texts: Vec<String> = (first..first + count).map(|n| format!("line {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    worker.say(numbered("t", first as u64, &texts)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_scripts_are_loaded_again() {
    let home = TestHome::start().await;
    let server = serve(&home).await;
    let (stop, mut stopped) = mpsc::channel::<()>(1);
    let mut redis = home.client();
    let flushes = tokio::task::spawn_blocking(move || {
        let mut flushes = 0;
        while matches!(stopped.try_recv(), Err(mpsc::error::TryRecvError::Empty)) {
            redis::cmd("SCRIPT").arg("FLUSH").exec(&mut redis).unwrap();
            flushes += 1;
        }
        flushes
    });
    let mut worker = worker(&server).await;
    for first in (1..5_000).step_by(50) {
        send(&mut worker, first, 50).await;
        // Each part is a call of its own.
        worker.acked(first as u64 + 49).await;
    }
    drop(stop);
    assert!(flushes.await.unwrap() > 10);
    until("the lines", async || details(&server, "t").await["lines"] == 5_000).await;
    assert_eq!(all_lines(&server, "t").await.join("\n") + "\n", log_of(5_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn full_redis_refuses_lines_whole_and_takes_them_later() {
    let home = TestHome::start().await;
    let server = serve(&home).await;
    append(&server, "t", 1..=10).await;
    let mut redis = home.client();
    let mut set = |max: &str| redis::cmd("CONFIG").arg(&["SET", "maxmemory", max]).exec(&mut redis).unwrap();
    set("1");
    let server = std::sync::Arc::new(server);
    let appending = server.clone();
    let appended = tokio::spawn(async move { append(&appending, "t", 11..=400).await });
    until("a refusal", async || {
        let info: String = redis::cmd("INFO").arg("errorstats").query(&mut home.client()).unwrap();
        info.contains("errorstat_OOM")
    })
    .await;
    assert_eq!(redis::cmd("XLEN").arg("task:logs:t").query::<u64>(&mut home.client()).unwrap(), 10);
    assert_eq!(all_lines(&server, "t").await.len(), 10, "reading works");
    set("0");
    appended.await.unwrap();
    assert_eq!(all_lines(&server, "t").await.join("\n") + "\n", log_of(400));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_in_a_flood_loses_nothing() {
    let mut home = TestHome::start().await;
    let server = serve(&home).await;
    let mut worker = worker(&server).await;
    for first in (1..10_000).step_by(50) {
        send(&mut worker, first, 50).await;
    }
    worker.acked(1_000).await;
    home.kill();
    home.restart().await;
    worker.acked(10_000).await;
    until("the lines", async || details(&server, "t").await["lines"] == 10_000).await;
    assert_eq!(all_lines(&server, "t").await.join("\n") + "\n", log_of(10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_an_emptied_redis_are_told() {
    let home = TestHome::start().await;
    let server = serve(&home).await;
    append(&server, "t", 1..=10).await;
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    let mut seen = BTreeSet::new();
    while seen.len() < 10 {
        seen.extend(texts(&viewer.hear_type("lines").await));
    }
    redis::cmd("FLUSHALL").exec(&mut home.client()).unwrap();
    until("the removal", async || server.get("/api/v1/tasks/t").await.status == 404).await;
    let told = loop {
        match viewer.hear_or_close().await {
            Ok(message) if message["type"] == "reset" || message["type"] == "removed" => break true,
            Ok(_) => {}
            Err(_) => break true,
        }
    };
    assert!(told);
    append(&server, "t", 1..=3).await;
    until("the new task", async || server.get("/api/v1/tasks/t").await.status == 200).await;
    assert_eq!(all_lines(&server, "t").await.len(), 3);
}
