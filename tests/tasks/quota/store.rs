//! How many tasks and runs there may be, and how large all of it: what is refused, what is removed, and
//! that what is there goes on.

use std::path::Path;

use hyper::Method;
use redis::Commands as _;
use serde_json::{Value, json};
use tasktail::model::Channel;
use tasktail::model::limits::Limits;
use tasktail::model::{LineText, TaskId, Timestamp};
use tasktail::tasks::{EndRequest, FollowEvent, FollowStart, LineBatch, TaskHandle, Tasks, TasksError, TasksOptions};

use crate::common::{DEADLINE, plain, serve_with, until, within};
use crate::quota::log_bytes::text;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_above_the_limit_is_rejected_and_the_others_continue() {
    let server = serve_with(|options| options.limits.tasks_max = 2).await;
    assert_eq!(server.append("a", "1\n").await.status, 200);
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(plain("b", "1")).await;
    server.until("task b", || async { server.get("/api/v1/tasks/b").await.status == 200 }).await;
    let answer = server.append("c", "1\n").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "too_many_tasks"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("tasks_max"));
    worker.say(plain("c", "1")).await;
    let error = worker.hear_type("error").await;
    assert_eq!((&error["code"], &error["work_request_id"]), (&json!("too_many_tasks"), &json!("c")));
    worker.say(plain("b", "2")).await;
    server.until("line 2", || async { server.texts("b").await.len() == 2 }).await;
    assert_eq!(server.append("a", "2\n").await.status, 200);
    assert_eq!(server.ask(Method::DELETE, "/api/v1/tasks/a", &[], "").await.status.as_u16() / 100, 2);
    assert_eq!(server.append("c", "1\n").await.status, 200, "there is room again");
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("tasktail_limit_reached_total{limit=\"tasks_max\"} 2\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_above_the_limit_is_rejected_and_the_others_continue() {
    let server = serve_with(|options| options.limits.runs_max = 1).await;
    let post = async |run: &str, id: &str| {
        let path = format!("/api/v1/runs/{run}/events");
        let event = format!(r#"{{"event_type":"x","event_id":"{id}"}}"#);
        server.ask(Method::POST, &path, &[("content-type", "application/x-ndjson")], event).await
    };
    assert_eq!(post("a", "1").await.status, 200);
    let answer = post("b", "1").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "too_many_runs"));
    assert_eq!(post("a", "2").await.status, 200);
    assert_eq!(server.get("/api/v1/runs/b").await.status, 404);
}

fn batch(from: u64, to: u64) -> LineBatch {
    let mut batch = LineBatch::new();
    for n in from..=to {
        let text = text(n).into();
        batch.push(&LineText { timestamp: Timestamp::now(), channel: Channel::Stdout, text, ..LineText::default() });
    }
    batch
}

/// Lines so long that most of the work is done for their bytes, and few are enough for a large archive.
fn wide_batch(from: u64, to: u64) -> LineBatch {
    let mut batch = LineBatch::new();
    for n in from..=to {
        let wide: String = (0..24).map(|part| text(n * 24 + part)).collect();
        batch.push(&LineText { timestamp: Timestamp::now(), text: wide.into(), ..LineText::default() });
    }
    batch
}

async fn finished(tasks: &Tasks, id: &str, lines: u64) -> TaskHandle {
    let id: TaskId = id.parse().unwrap();
    let task = tasks.get_or_create(&id).await.unwrap();
    task.append(wide_batch(1, lines)).await.unwrap().await.unwrap();
    task.end(EndRequest::default()).await.unwrap();
    let mut changes = tasks.changes();
    while task.details().artifact.is_none() {
        tokio::time::timeout(DEADLINE, changes.changed()).await.expect("it is never sealed").unwrap();
    }
    task
}

async fn is_there(tasks: &Tasks, id: &str) -> bool {
    tasks.get(&id.parse().unwrap()).await.unwrap().is_some()
}

fn journal_bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => journal_bytes(&entry.path()),
            Ok(facts) => facts.len(),
            Err(_) => 0,
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_ended_task_is_removed_first_unless_it_is_read() {
    const LINES: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::open(folder.path(), TasksOptions::default()).await.unwrap();
    let running = tasks.get_or_create(&"running".parse().unwrap()).await.unwrap();
    running.append(batch(1, 10)).await.unwrap().await.unwrap();
    let mut each = 0;
    for id in ["one", "two", "three", "four", "five", "six"] {
        each = finished(&tasks, id, LINES).await.details().artifact.unwrap().bytes;
    }
    let mut reader = tasks.get(&"one".parse().unwrap()).await.unwrap().unwrap().follow(FollowStart::From(1));
    // The journal's files grow and shrink in the background, so the limit follows the size until it is exceeded.
    until("two is removed", async || {
        let is_removed = !is_there(&tasks, "two").await;
        if !is_removed {
            let used = ["journal", "archive"].map(|part| journal_bytes(&folder.path().join(part))).iter().sum::<u64>();
            tasks.set_limits(Limits { disk_max: Some(used - each / 2), ..Limits::default() });
        }
        is_removed
    })
    .await;
    let mut lines = 0;
    loop {
        match within("the reader", reader.next()).await.unwrap() {
            Some(FollowEvent::Page(page)) => lines += page.lines.len() as u64,
            Some(FollowEvent::End { .. }) => break,
            _ => {}
        }
    }
    assert_eq!(lines, LINES, "what is read is spared while others are enough");
    assert!(is_there(&tasks, "running").await);
    assert!(is_there(&tasks, "six").await, "the newest stays");
    assert!(tasks.stats().evicted.tasks >= 1 && tasks.stats().evicted.bytes >= each / 2);
    assert!(!folder.path().join("archive/two.ndjson.zst").exists());
    tasks.has_budget().unwrap();
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_left_to_remove_writes_are_refused_until_there_is_room() {
    let server = serve_with(|options| {
        options.limits.disk_max = Some(100);
    })
    .await;
    let refused = async || {
        let answer = server.append("t", "line\n").await;
        (answer.status.as_u16(), answer.text())
    };
    server.until("writes are refused", || async { refused().await.0 == 503 }).await;
    let problem: Value = serde_json::from_str(&refused().await.1).unwrap();
    assert_eq!(problem["code"], "disk_budget");
    assert!(problem["detail"].as_str().unwrap().contains("disk_max"));
    assert_eq!(server.get("/api/v1/tasks").await.status, 200, "reads go on");
    assert_eq!(server.get("/readyz").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_by_hand_brings_the_writes_back() {
    const DISK_MAX: u64 = 5 * 1024 * 1024;
    /// Lines enough for an archive of twice the limit beside the live window.
    const LINES: u64 = 14_000;
    const STEP: u64 = 500;
    let open = async |folder: &Path, disk_max: Option<u64>| {
        let limits = Limits { disk_max, live_window_lines: 1_000, ..Limits::default() };
        Tasks::open(folder, TasksOptions { limits, ..TasksOptions::default() }).await.unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive/big.ndjson.zst.open");
    {
        let tasks = open(folder.path(), None).await;
        let big = tasks.get_or_create(&"big".parse().unwrap()).await.unwrap();
        for step in 0..LINES / STEP {
            big.append(wide_batch(step * STEP + 1, step * STEP + STEP)).await.unwrap().await.unwrap();
        }
        // Larger than the limit, whatever the journal takes.
        until("older lines are archived", async || {
            std::fs::metadata(&archive).map_or(0, |file| file.len()) > 2 * DISK_MAX
        })
        .await;
        tasks.close().await;
    }
    let journal = journal_bytes(&folder.path().join("journal"));
    assert!(journal > DISK_MAX, "the journal's files have {journal} bytes, expected more than the limit");
    let tasks = open(folder.path(), Some(DISK_MAX)).await;
    let id: TaskId = "big".parse().unwrap();
    until("writes are refused", async || tasks.has_budget().is_err()).await;
    let big = tasks.get(&id).await.unwrap().unwrap();
    assert!(matches!(big.append(batch(1, 1)).await, Err(TasksError::OverBudget(_))));
    assert!(is_there(&tasks, "big").await, "a running task is never removed");
    drop(big);
    tasks.remove(&id).await.unwrap();
    // sled alone keeps its file as long as it was.
    until("writes are taken again", async || tasks.has_budget().is_ok()).await;
    let journal = journal_bytes(&folder.path().join("journal"));
    assert!(journal <= DISK_MAX, "the journal's files have {journal} bytes, expected {DISK_MAX} at most");
    let task = tasks.get_or_create(&"next".parse().unwrap()).await.unwrap();
    task.append(batch(1, 1)).await.unwrap().await.unwrap();
    tasks.close().await;
}

#[test]
fn a_redis_client_makes_no_run_too_many_and_nothing_beyond_the_budget() {
    let start =
        |change: fn(&mut Limits)| tasktail::testing::Server::start_with(|options| change(&mut options.limits)).unwrap();
    let add = |redis: &mut redis::Connection, key: &str| {
        redis.xadd::<_, _, _, _, String>(key, "*", &[("event_type", "x")]).map_err(|error| error.to_string())
    };
    let server = start(|limits| limits.runs_max = 2);
    let mut redis = redis::Client::open(server.redis_url()).unwrap().get_connection().unwrap();
    for key in ["run:events:a", "run:events:b", "run:events:a", "plain", "task:logs:t"] {
        add(&mut redis, key).unwrap();
    }
    let said = add(&mut redis, "run:events:c").unwrap_err();
    assert!(said.contains("run limit reached (2)"), "{said}");
    assert!(!redis.exists::<_, bool>("run:events:c").unwrap());
    // Within a transaction too; what else is in it is done, as Redis does it.
    let done: Vec<redis::Value> = redis::pipe()
        .atomic()
        .ignore_errors()
        .cmd("XADD")
        .arg("run:events:d")
        .arg("*")
        .arg("f")
        .arg("v")
        .cmd("XADD")
        .arg("run:events:b")
        .arg("*")
        .arg("f")
        .arg("v")
        .query(&mut redis)
        .unwrap();
    assert!(matches!(&done[..], [redis::Value::ServerError(_), redis::Value::BulkString(_)]), "{done:?}");
    redis.del::<_, ()>("run:events:a").unwrap();
    add(&mut redis, "run:events:c").unwrap();

    let server = start(|limits| limits.disk_max = Some(100));
    let mut redis = redis::Client::open(server.redis_url()).unwrap().get_connection().unwrap();
    for key in ["plain", "run:events:a", "task:logs:t"] {
        let refused = (0..).map(|_| add(&mut redis, key)).find_map(Result::err).unwrap();
        assert!(refused.contains("disk_max"), "{key}: {refused}");
    }
}
