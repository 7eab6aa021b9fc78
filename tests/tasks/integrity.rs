//! Is a log what its worker sent? What the server finds at the end, for workers that say how many lines
//! there were, that say nothing, and that lie.

use std::path::Path;

use crate::common::{TestServer, numbered, options, plain, serve, serve_with, started, texts};
use hyper::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tasktail::model::limits::Limits;
use tasktail::model::{Channel, GapReason, IntegrityState, LineChecksum, LineText, ReportedTotals, TaskId, Timestamp};
use tasktail::tasks::{EndRequest, LineBatch, ListQuery, SessionSeq, TaskHandle, Tasks, TasksOptions, VerifyFault};

/// The time of [`numbered`] lines.
const TIME: &str = "2026-05-09T14:23:01.000Z";

/// What lines with these numbers add up to, sent as [`numbered`] sends them.
fn sum_of<'a>(lines: impl IntoIterator<Item = (u64, &'a str)>) -> LineChecksum {
    let (mut sum, mut buffer) = (LineChecksum::default(), Vec::new());
    for (seq, text) in lines {
        let line = LineText { timestamp: TIME.parse().unwrap(), text: text.into(), ..LineText::default() };
        sum.add(seq, 0, &line, &mut buffer);
    }
    sum
}

fn numbers(texts: &[String]) -> impl Iterator<Item = (u64, &str)> {
    (1..).zip(texts.iter().map(String::as_str))
}

fn start(task: &str, session: &str) -> Value {
    json!({"type":"task_start","work_request_id":task,"session":session})
}

fn end(task: &str, seq: u64, fields: Value) -> Value {
    let mut end = json!({"type":"log_line_end","work_request_id":task,"exit_code":0,"seq":seq});
    end.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    end
}

/// Sends lines 1 to N in a session and an end that says so.
async fn whole_log(server: &TestServer, task: &str, texts: &[&str], count: u64, hash: &str) -> Value {
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(start(task, "s1")).await;
    worker.say(numbered(task, 1, texts)).await;
    let seq = texts.len() as u64 + 1;
    worker.say(end(task, seq, json!({"count":count,"hash":hash}))).await;
    worker.acked(seq).await;
    facts(server, task).await
}

async fn facts(server: &TestServer, task: &str) -> Value {
    server.get(&format!("/api/v1/tasks/{task}")).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_all_there_is_complete() {
    let server = serve().await;
    let long = "é".repeat(60_000);
    let lines: Vec<String> = (1..=500).map(|n| format!("line {n}")).collect();
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(start("c", "s1")).await;
    let part = |from: usize, to: usize| {
        let texts: Vec<&str> = lines[from - 1..to].iter().map(String::as_str).collect();
        numbered("c", from as u64, &texts)
    };
    worker.say(part(1, 200)).await;
    worker.say(part(150, 300)).await;
    worker.acked(300).await;
    assert!(facts(&server, "c").await["integrity"].is_null(), "nothing is said while it runs");
    // Lines of others in between, then the same worker again, on a new connection, from too far back.
    server.append("c", "by another\n").await;
    drop(worker);
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(start("c", "s1")).await;
    assert_eq!(worker.hear().await["acked_seq"], 300);
    worker.say(part(250, 500)).await;
    // A line that the server cuts counts as its pieces.
    worker.say(numbered("c", 501, &[&long])).await;
    let mut sum = sum_of(numbers(&lines));
    let (mut buffer, cut) = (Vec::new(), 65_536);
    for (piece, text) in [&long[..cut], &long[cut..]].into_iter().enumerate() {
        let line = LineText {
            timestamp: TIME.parse().unwrap(),
            partial: piece == 0,
            text: text.into(),
            ..LineText::default()
        };
        sum.add(501, u32::try_from(piece).unwrap(), &line, &mut buffer);
    }
    worker.say(end("c", 502, json!({"count":501,"hash":sum.to_string()}))).await;
    worker.acked(502).await;
    let integrity = facts(&server, "c").await["integrity"].clone();
    let wanted = json!({"state":"complete","lines":501,"hash":sum.to_string(),"said_lines":501,
        "said_hash":sum.to_string(),"missing_lines":0,"missing":[]});
    assert_eq!(integrity, wanted);
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("tasktail_logs_complete_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_totals_gets_no_verdict() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(plain(42, "one")).await;
    worker.say(json!({"type":"log_line_end","work_request_id":42,"exit_code":0})).await;
    server.until("the end", async || facts(&server, "42").await["status"] == "completed").await;
    assert_eq!(facts(&server, "42").await["integrity"]["state"], "unknown");
    // What it says to have dropped is known all the same.
    worker.say(json!({"type":"log_line","work_request_id":43,"line":"[7 messages skipped]","stream":"internal"})).await;
    worker.say(json!({"type":"log_line_end","work_request_id":43,"exit_code":0})).await;
    server.until("the end", async || facts(&server, "43").await["status"] == "completed").await;
    let integrity = facts(&server, "43").await["integrity"].clone();
    assert_eq!((&integrity["state"], &integrity["missing_lines"]), (&json!("incomplete"), &json!(7)));
    // Two workers, and only the second has counted: of the first one's lines nothing is known.
    for (session, last) in [("a", false), ("b", true)] {
        let mut worker = server.socket("/ws/v1/worker").await;
        worker.hello().await;
        worker.say(start("two", session)).await;
        worker.say(numbered("two", 1, &["x"])).await;
        worker.acked(1).await;
        if last {
            let hash = sum_of([(1, "x")]).to_string();
            worker.say(end("two", 2, json!({"count":1,"hash":hash}))).await;
            worker.acked(2).await;
        }
    }
    let integrity = facts(&server, "two").await["integrity"].clone();
    assert_eq!((&integrity["state"], &integrity["lines"]), (&json!("unknown"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_count_or_sum_is_reported_and_loses_no_line() {
    let server = serve().await;
    let sum = sum_of([(1, "a"), (2, "b")]).to_string();
    let facts = whole_log(&server, "count", &["a", "b"], 3, &sum).await;
    let integrity = &facts["integrity"];
    assert_eq!(
        (&integrity["state"], &integrity["lines"], &integrity["said_lines"]),
        (&json!("mismatch"), &json!(2), &json!(3))
    );
    let said = "tasktail: this log is not what the worker sent: the worker sent 3 lines, but the log has 2 lines";
    assert_eq!(server.texts("count").await, ["a", "b", said]);

    let other = sum_of([(1, "a"), (2, "B")]).to_string();
    let facts = whole_log(&server, "sum", &["a", "b"], 2, &other).await;
    assert_eq!(facts["integrity"]["state"], "mismatch");
    let texts = server.texts("sum").await;
    assert_eq!(texts[..2], ["a", "b"]);
    assert!(texts[2].contains(&sum) && texts[2].contains(&other), "{}", texts[2]);

    let pipeline = server.get("/api/v1/pipeline").await.json();
    let hop = pipeline["hops"].as_array().unwrap().iter().find(|hop| hop["hop"] == "worker_socket").unwrap();
    assert_eq!(hop["rejected"]["log_mismatch"], 2);
    assert!(
        hop["last_error"]["message"].as_str().unwrap().starts_with("task sum: the 2 lines stored differ from"),
        "{hop}"
    );
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("tasktail_logs_mismatch_total 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_lost_in_transit_are_named() {
    const LOST: &str = "[2 messages lost in transit]";
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(start("lost", "s")).await;
    worker.say(numbered("lost", 1, &["a", "b"])).await;
    // 3 and 4 never come, 5 is kept as well as it can be, and 7 and 8, the last ones, do not come either.
    worker.say(numbered("lost", 5, &["nul \0", "f"])).await;
    let sum = sum_of([(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f"), (7, "g"), (8, "h")]);
    worker.say(end("lost", 9, json!({"count":8,"hash":sum.to_string()}))).await;
    worker.acked(9).await;
    let log = server.get("/api/v1/tasks/lost/lines").await.json();
    assert_eq!(texts(&log), ["a", "b", LOST, "nul \u{fffd}", "f", LOST]);
    let integrity = facts(&server, "lost").await["integrity"].clone();
    let missing = json!([{"from":3,"to":3,"reason":"lost_in_transit","count":2},
        {"from":6,"to":6,"reason":"lost_in_transit","count":2}]);
    assert_eq!((&integrity["state"], &integrity["missing"]), (&json!("incomplete"), &missing));
    assert_eq!((&integrity["lines"], &integrity["missing_lines"]), (&json!(4), &json!(4)));
    // The end again, as after a lost ack: the same answer, no second mark.
    worker.say(start("lost", "s")).await;
    worker.say(end("lost", 9, json!({"count":8,"hash":sum.to_string()}))).await;
    worker.acked(9).await;
    assert_eq!(server.texts("lost").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sum_survives_a_restart_in_the_middle() {
    let TestServer { server, folder, home } = serve_with(|options| options.limits.live_window_lines = 500).await;
    let texts: Vec<String> = (1..=9_000).map(|n| format!("line {n}")).collect();
    let part = |from: usize, to: usize| {
        numbered("r", from as u64, &texts[from - 1..to].iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut server = TestServer { server, folder, home };
    for (from, to) in [(1, 4_000), (3_500, 6_000), (5_999, 9_000)] {
        let mut worker = server.socket("/ws/v1/worker").await;
        worker.hello().await;
        worker.say(start("r", "s")).await;
        for from in (from..=to).step_by(700) {
            worker.say(part(from, to.min(from + 699))).await;
        }
        worker.acked(to as u64).await;
        if to == texts.len() {
            let hash = sum_of(numbers(&texts)).to_string();
            worker.say(end("r", to as u64 + 1, json!({"count":to,"hash":hash}))).await;
            worker.acked(to as u64 + 1).await;
        } else {
            drop(worker);
            let TestServer { server: old, folder, home } = server;
            old.shutdown().await.unwrap();
            let mut options = options(&folder);
            options.limits.live_window_lines = 500;
            server = started(options, folder, home).await;
        }
    }
    let integrity = facts(&server, "r").await["integrity"].clone();
    assert_eq!((&integrity["state"], &integrity["lines"]), (&json!("complete"), &json!(9_000)), "{integrity}");
}

/// Lines of tasktail itself: some in the archive, some in the journal, some in both servers, and the end.
#[tokio::test(flavor = "multi_thread")]
async fn own_lines_are_counted_across_a_restart() {
    let mut server = serve_with(|options| options.limits.live_window_lines = 500).await;
    let mut own = 0;
    for round in 1..=2 {
        for batch in 0..6 {
            let rows: String = (0..1_000)
                .map(|n| {
                    let stream = if (n + batch) % 7 == 0 { "internal" } else { "stdout" };
                    own += u64::from(stream == "internal");
                    format!("{{\"line\":\"{n}\",\"stream\":\"{stream}\"}}\n")
                })
                .collect();
            let ndjson = [("content-type", "application/x-ndjson")];
            let answer = server.ask(Method::POST, "/api/v1/tasks/r/lines", &ndjson, rows).await;
            assert_eq!(answer.json()["appended"], 1_000);
        }
        let task = facts(&server, "r").await;
        assert_eq!((&task["lines"], &task["own_lines"]), (&json!(round * 6_000), &json!(own)));
        if round == 1 {
            let TestServer { server: old, folder, home } = server;
            old.shutdown().await.unwrap();
            let mut options = options(&folder);
            options.limits.live_window_lines = 500;
            server = started(options, folder, home).await;
            assert_eq!(facts(&server, "r").await["own_lines"], json!(own));
        }
    }
    server.end("r").await;
    server.until("sealed", || async { !facts(&server, "r").await["artifact"].is_null() }).await;
    assert_eq!(facts(&server, "r").await["own_lines"], json!(own));
}

/// What a worker does with the lines that come next.
#[derive(Clone, Debug)]
enum Step {
    /// Sends lines from so far back on, so many.
    Send { back: u64, lines: u64 },
    /// Another appends a line.
    Foreign,
    /// The store is closed and opened again.
    Reopen,
    /// A line of a session that is not the worker's.
    Other,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = (0u64..300, 1u64..900).prop_map(|(back, lines)| Step::Send { back, lines });
    let step = prop_oneof![6 => send, 2 => Just(Step::Foreign), 1 => Just(Step::Reopen), 1 => Just(Step::Other)];
    prop::collection::vec(step, 1..14)
}

fn line_of(n: u64) -> LineText<'static> {
    LineText {
        timestamp: Timestamp::from_millis(1_778_336_581_000 + n),
        channel: if n.is_multiple_of(3) { Channel::Stderr } else { Channel::Stdout },
        partial: n.is_multiple_of(7),
        lossy: n.is_multiple_of(11),
        text: format!("line {n} {}", "x".repeat((n % 50) as usize)).into(),
    }
}

async fn open(folder: &Path) -> (Tasks, TaskHandle) {
    let limits = Limits { live_window_lines: 100, ..Limits::default() };
    let options = TasksOptions { limits, ..TasksOptions::default() };
    let tasks = Tasks::open(folder, options).await.unwrap();
    let task = tasks.get_or_create(&"t".parse::<TaskId>().unwrap()).await.unwrap();
    (tasks, task)
}

/// What `tasktail verify` finds in a folder that was just closed.
async fn faults(data: &Path) -> Vec<VerifyFault> {
    let data = data.to_owned();
    let report = tokio::task::spawn_blocking(move || {
        loop {
            // sled's own threads may hold the folder a little longer.
            match tasktail::tasks::verify(&data, &mut |_, _| {}).unwrap() {
                report if report.in_use => std::thread::park_timeout(std::time::Duration::from_millis(5)),
                report => break report.faults,
            }
        }
    });
    report.await.unwrap()
}

async fn play(steps: Vec<Step>, lie: bool) -> IntegrityState {
    let folder = tempfile::tempdir().unwrap();
    let (mut tasks, mut task) = open(folder.path()).await;
    let (mut sum, mut buffer, mut last, mut others) = (LineChecksum::default(), Vec::new(), 0u64, 0u64);
    for step in steps {
        match step {
            Step::Send { back, lines } => {
                let first = (last + 1).saturating_sub(back).max(1);
                let mut batch = LineBatch::with_session("s", first);
                for n in first..first + lines {
                    batch.push(&line_of(n));
                    if n > last {
                        sum.add(n, 0, &line_of(n), &mut buffer);
                        last = n;
                    }
                }
                task.append(batch).await.unwrap().await.unwrap();
            }
            Step::Foreign | Step::Other => {
                let mut batch = LineBatch::new();
                if matches!(step, Step::Other) {
                    others += 1;
                    batch = LineBatch::with_session("other", others);
                }
                batch.push(&line_of(5));
                task.append(batch).await.unwrap().await.unwrap();
            }
            Step::Reopen => {
                tasks.close().await;
                drop((tasks, task));
                (tasks, task) = open(folder.path()).await;
            }
        }
    }
    if lie {
        sum.add(last + 1, 0, &line_of(0), &mut buffer);
    }
    let said = ReportedTotals { lines: Some(last), sum: Some(sum) };
    task.end(EndRequest { session: Some(SessionSeq::new("s", last + 1)), reported: said, ..EndRequest::default() })
        .await
        .unwrap();
    let integrity = task.details().integrity.unwrap();
    assert_eq!(integrity.lines, last);
    let mut changes = tasks.changes();
    while task.details().artifact.is_none() {
        changes.changed().await.unwrap();
    }
    tasks.close().await;
    drop((tasks, task));
    assert_eq!(faults(folder.path()).await, []);
    integrity.state
}

#[test]
fn sums_do_not_depend_on_how_lines_are_batched() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let all = runner.run(&(steps(), any::<bool>()), |(steps, lie)| {
        let state = runtime.block_on(play(steps, lie));
        prop_assert_eq!(state, if lie { IntegrityState::Mismatch } else { IntegrityState::Complete });
        Ok(())
    });
    all.unwrap();
}

/// A text that zstd cannot make small.
fn random_text(n: u64) -> String {
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    (0..6).map(word).collect()
}

/// Appends 500 numbered lines that no archive makes small, and adds them up.
async fn append_random(task: &TaskHandle, from: u64, sum: &mut LineChecksum) {
    let (mut batch, mut buffer) = (LineBatch::with_session("s", from), Vec::new());
    for n in from..from + 500 {
        let (timestamp, text) = (Timestamp::from_millis(n), random_text(n).into());
        let line = LineText { timestamp, text, ..LineText::default() };
        batch.push(&line);
        sum.add(n, 0, &line, &mut buffer);
    }
    task.append(batch).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_lost_middle_is_incomplete_and_names_the_lines() {
    let folder = tempfile::tempdir().unwrap();
    let limits = || Limits { live_window_lines: 100, task_bytes_max: Some(400_000), ..Limits::default() };
    let open = async || {
        let options = TasksOptions { limits: limits(), ..TasksOptions::default() };
        let tasks = Tasks::open(folder.path(), options).await.unwrap();
        let task = tasks.get_or_create(&"t".parse::<TaskId>().unwrap()).await.unwrap();
        (tasks, task)
    };
    let (mut tasks, mut task) = open().await;
    let (mut sum, last) = (LineChecksum::default(), 16_000);
    for from in (1..=last).step_by(500) {
        if from == 8_001 {
            tasks.close().await;
            drop((tasks, task));
            (tasks, task) = open().await;
        }
        append_random(&task, from, &mut sum).await;
    }
    let said = ReportedTotals { lines: Some(last), sum: Some(sum) };
    task.end(EndRequest { session: Some(SessionSeq::new("s", last + 1)), reported: said, ..EndRequest::default() })
        .await
        .unwrap();
    let mut changes = tasks.changes();
    while task.details().artifact.is_none() {
        changes.changed().await.unwrap();
    }
    let integrity = task.details().integrity.unwrap();
    assert_eq!(integrity.state, IntegrityState::Incomplete, "{integrity:?}");
    assert_eq!(integrity.missing.len(), 1, "{integrity:?}");
    let hole = integrity.missing[0];
    assert_eq!((hole.reason, hole.count), (GapReason::Quota, hole.to - hole.from + 1));
    assert!(integrity.missing_lines == hole.count && hole.count > 5_000, "{integrity:?}");
    tasks.close().await;
    drop((tasks, task));
    assert_eq!(faults(folder.path()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_middle_removed_by_sealing_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    // All of it is in the journal when the end is said and compared.
    let limits = Limits { live_window_lines: 20_000, task_bytes_max: Some(300_000), ..Limits::default() };
    let tasks = Tasks::open(folder.path(), TasksOptions { limits, ..TasksOptions::default() }).await.unwrap();
    let task = tasks.get_or_create(&"t".parse::<TaskId>().unwrap()).await.unwrap();
    let (mut sum, last) = (LineChecksum::default(), 12_000);
    for from in (1..=last).step_by(500) {
        append_random(&task, from, &mut sum).await;
    }
    let said = ReportedTotals { lines: Some(last), sum: Some(sum) };
    let mut changes = tasks.changes();
    task.end(EndRequest { session: Some(SessionSeq::new("s", last + 1)), reported: said, ..EndRequest::default() })
        .await
        .unwrap();
    while task.details().artifact.is_none() {
        changes.changed().await.unwrap();
    }
    let integrity = task.details().integrity.unwrap();
    assert_eq!((integrity.state, integrity.missing.len()), (IntegrityState::Incomplete, 1), "{integrity:?}");
    let hole = integrity.missing[0];
    assert!(hole.reason == GapReason::Quota && integrity.missing_lines == hole.count, "{integrity:?}");
    assert_eq!(task.details().trimmed_lines, hole.count);
    tasks.close().await;
    drop((tasks, task));
    // A list tells the same, without a look into the archive.
    let tasks = Tasks::open(folder.path(), TasksOptions::default()).await.unwrap();
    let listed = tasks.list(&ListQuery { limit: 10, ..ListQuery::default() }).await.unwrap().tasks;
    assert_eq!(listed[0].trimmed_lines, hole.count);
    tasks.close().await;
    drop(tasks);
    assert_eq!(faults(folder.path()).await, []);
}
