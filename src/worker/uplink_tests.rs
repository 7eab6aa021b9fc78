//! Tests the uplink against a small server with scripted faults.

use std::collections::{BTreeMap, VecDeque};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;
use crate::model::{Channel, GapMarker};
use crate::worker::{Exit, LocalLogOptions, Worker};

/// Behavior of the server on one connection.
#[derive(Clone, Copy, Debug)]
enum MockBehavior {
    /// Acks everything.
    Serve,
    /// Accepts this many lines, acks only complete batches before, then drops the connection.
    DropAfter(usize),
    /// Acks each message after a while.
    Slow,
    /// Accepts everything, never acks.
    Mute,
    /// Accepts the first lines, then neither reads nor closes, like a cut cable.
    HalfOpen,
    /// Accepts the socket and sends nothing at all.
    NoResume,
    /// Answers each message with an error.
    SendErrors,
    /// Reports that the task has already ended.
    Ended,
}

#[derive(Default)]
struct MockLog {
    /// Lines by number; a resent line must be identical.
    lines: BTreeMap<u64, String>,
    ends: Vec<Value>,
    starts: Vec<Value>,
    /// Highest "durable" number.
    acked: u64,
    plans: VecDeque<MockBehavior>,
}

struct MockServer {
    url: String,
    log: Arc<Mutex<MockLog>>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl MockServer {
    async fn new(plans: impl IntoIterator<Item = MockBehavior>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(MockLog { plans: plans.into_iter().collect(), ..MockLog::default() }));
        let shared = Arc::clone(&log);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let plan = shared.lock().plans.pop_front().unwrap_or(MockBehavior::Serve);
                tokio::spawn(serve(stream, plan, Arc::clone(&shared)));
            }
        });
        Self { url, log, notes: Arc::default() }
    }

    fn options(&self) -> WorkerOptions {
        options(&self.url, &self.notes)
    }

    fn texts(&self) -> Vec<String> {
        self.log.lock().lines.values().cloned().collect()
    }

    fn output_lines(&self) -> Vec<String> {
        self.texts().into_iter().filter(|text| !text.starts_with("worker ")).collect()
    }
}

/// The end of the report if nothing keeps the lines that were not sent.
const LOST: &str = "the rest is lost; `--spool DIR` keeps it for `tasktail spool send DIR`";

fn options(url: &str, notes: &Arc<Mutex<Vec<String>>>) -> WorkerOptions {
    let notes = Arc::clone(notes);
    WorkerOptions {
        notes: Arc::new(move |text| notes.lock().push(text.to_owned())),
        ..WorkerOptions::new(url, "42".parse().unwrap())
    }
}

async fn serve(stream: TcpStream, plan: MockBehavior, log: Arc<Mutex<MockLog>>) {
    let mut socket = accept_async(stream).await.unwrap();
    let mut received = 0;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["type"].as_str().unwrap() {
            "task_start" if !matches!(plan, MockBehavior::NoResume) => {
                let (session, acked) = (message["session"].clone(), log.lock().acked);
                log.lock().starts.push(message);
                send_json(
                    &mut socket,
                    json!({"type":"resume","work_request_id":"42","session":session,"acked_seq":acked}),
                )
                .await;
            }
            "log_lines" => {
                let first = message["first_seq"].as_u64().unwrap();
                let lines = message["lines"].as_array().unwrap();
                for (seq, line) in (first..).zip(lines) {
                    if let MockBehavior::DropAfter(lines) = plan {
                        if received == lines {
                            return;
                        }
                        received += 1;
                    }
                    let mut log = log.lock();
                    assert!(seq == 1 || log.lines.contains_key(&(seq - 1)), "hole before {seq}");
                    let text = line["line"].as_str().unwrap();
                    let known = log.lines.entry(seq).or_insert_with(|| text.to_owned());
                    assert_eq!(known, text, "number {seq} was given twice");
                }
                if matches!(plan, MockBehavior::HalfOpen) {
                    return std::future::pending().await;
                }
                reply(&mut socket, plan, &log, first + lines.len() as u64 - 1).await;
            }
            "log_line_end" => {
                let seq = message["seq"].as_u64().unwrap();
                log.lock().ends.push(message);
                if matches!(plan, MockBehavior::DropAfter(_)) {
                    return;
                }
                reply(&mut socket, plan, &log, seq).await;
            }
            _ => {}
        }
    }
}

async fn reply(socket: &mut WebSocketStream<TcpStream>, plan: MockBehavior, log: &Mutex<MockLog>, seq: u64) {
    if matches!(plan, MockBehavior::SendErrors) {
        send_json(socket, json!({"type":"error","code":"bad_line","message":"no such thing"})).await;
    }
    if matches!(plan, MockBehavior::Ended) {
        send_json(socket, json!({"type":"error","code":"task_ended","message":"over","work_request_id":"42"})).await;
    }
    if matches!(plan, MockBehavior::Slow) {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    if matches!(plan, MockBehavior::Serve | MockBehavior::SendErrors | MockBehavior::Slow) {
        log.lock().acked = seq;
        send_json(socket, json!({"type":"ack","work_request_id":"42","seq":seq})).await;
    }
}

async fn send_json(socket: &mut WebSocketStream<TcpStream>, message: Value) {
    // A disconnected worker cannot receive it.
    socket.send(Message::text(message.to_string())).await.ok();
}

fn lines(worker: &Worker, range: std::ops::Range<usize>) {
    range.for_each(|n| worker.line(Channel::Stdout, &format!("line {n}")));
}

fn expected(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

#[tokio::test]
async fn lines_and_end_arrive_in_order() {
    let server = MockServer::new([MockBehavior::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..3_000);
    worker.line(Channel::Stderr, "two\nlines");
    let delivery = worker.end(Exit { code: Some(3), signal: None, aborted: true }).await;
    let wanted = Delivery { complete: true, lines: 3_002, end: DeliveryEnd::Complete, ..Delivery::default() };
    assert_eq!(delivery, wanted);
    let mut wanted = expected(0..3_000);
    wanted.extend(["two".to_owned(), "lines".to_owned()]);
    assert_eq!(server.texts(), wanted);
    let log = server.log.lock();
    assert_eq!(log.starts[0]["host"], rustix::system::uname().nodename().to_string_lossy().as_ref());
    let end = &log.ends[0];
    assert_eq!((&end["seq"], &end["exit_code"], &end["status"]), (&json!(3_003), &json!(3), &json!("aborted")));
    assert!(server.notes.lock().is_empty(), "{:?}", server.notes.lock());
}

#[tokio::test]
async fn no_duplicates_or_losses_after_reconnects() {
    let server = MockServer::new([
        MockBehavior::DropAfter(0),
        MockBehavior::DropAfter(7),
        MockBehavior::DropAfter(1_500),
        MockBehavior::Serve,
    ])
    .await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..4_000);
    let delivery = worker.end(Exit::code(0)).await;
    assert!(delivery.complete, "{:?}", server.notes.lock());
    assert_eq!(server.output_lines(), expected(0..4_000));
    // Each outage was short, and nothing was lost in it.
    assert!(server.notes.lock().is_empty(), "{:?}", server.notes.lock());
    assert_eq!(server.texts().len(), 4_000);
}

#[tokio::test]
async fn a_half_open_connection_is_dropped() {
    let server = MockServer::new([MockBehavior::HalfOpen, MockBehavior::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..10);
    let all_sent = async {
        while server.texts().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), all_sent).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(SILENCE_MAX + Duration::from_secs(1)).await;
    tokio::time::resume();
    let delivery = worker.end(Exit::code(0)).await;
    assert!(delivery.complete && server.log.lock().starts.len() == 2, "{:?}", server.notes.lock());
    assert_eq!(server.output_lines(), expected(0..10));
}

#[tokio::test]
async fn the_end_is_resent_after_a_reconnect() {
    let server = MockServer::new([MockBehavior::DropAfter(usize::MAX), MockBehavior::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    worker.line(Channel::Stdout, "only");
    let delivery = worker.end(Exit::signal(9)).await;
    assert!(delivery.complete);
    let log = server.log.lock();
    assert!(log.ends.len() == 2 && log.ends.iter().all(|end| end["signal"] == json!(9)), "{:?}", log.ends);
    assert_eq!(log.ends[0]["timestamp"], log.ends[1]["timestamp"]);
}

#[tokio::test]
async fn overflow_leaves_one_gap_marker_and_the_last_line() {
    let server = MockServer::new([MockBehavior::DropAfter(0), MockBehavior::Serve]).await;
    let local_log = LocalLogOptions { bytes_max: Some(100_000), ..LocalLogOptions::default() };
    let worker = Worker::connect(WorkerOptions { local_log, ..server.options() }).unwrap();
    // No await in between: the uplink of this single-threaded runtime has not run yet.
    lines(&worker, 0..100_000);
    let delivery = worker.end(Exit::code(0)).await;
    assert!(delivery.complete && !delivery.is_whole());
    let texts = server.output_lines();
    let marker = texts.iter().position(|text| GapMarker::parse(text).is_some()).unwrap();
    let remaining = texts.len() - 1;
    assert_eq!(texts[marker], format!("[{} messages skipped]", 100_000 - remaining));
    assert_eq!(texts[..marker], expected(0..marker), "lines that were kept already stay");
    assert_eq!(texts[marker + 1..], expected(100_000 - (remaining - marker)..100_000));
    assert_eq!((delivery.skipped_lines, delivery.lines), ((100_000 - remaining) as u64, remaining as u64));
    let notes = server.notes.lock();
    assert!(notes.len() == 1 && notes[0].contains("limit of"), "{notes:?}");
}

#[tokio::test]
async fn a_burst_within_the_limit_is_complete() {
    let server = MockServer::new([MockBehavior::DropAfter(0), MockBehavior::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..200_000);
    let delivery = worker.end(Exit::code(0)).await;
    assert!(delivery.is_whole() && delivery.lines == 200_000, "{delivery:?}");
    assert!(server.output_lines() == expected(0..200_000));
}

#[tokio::test]
async fn a_delivery_is_waited_for_as_long_as_there_is_progress() {
    let server = MockServer::new([MockBehavior::Slow]).await;
    let options = WorkerOptions { delivery_timeout: Duration::from_millis(400), ..server.options() };
    let worker = Worker::connect(options).unwrap();
    lines(&worker, 0..12_000);
    let began = Instant::now();
    let delivery = worker.end(Exit::code(0)).await;
    assert!(delivery.complete, "{delivery:?} after {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_millis(400), "longer than the time without progress");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_acks_is_bounded() {
    let server = MockServer::new([MockBehavior::Mute, MockBehavior::Mute, MockBehavior::Mute]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..10);
    // Paused time runs ahead of the sockets: wait for the connection first.
    while !worker.shared.was_reached() {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let delivery = worker.end(Exit::code(0)).await;
    assert!(begun.elapsed() <= Duration::from_secs(241), "{:?}", begun.elapsed());
    assert_eq!((delivery.complete, delivery.undelivered_lines), (false, 10));
    let notes = server.notes.lock();
    let last = notes.last().unwrap();
    assert_eq!(last, &format!("kept 0 of 10 lines: the server confirms no more lines; {LOST}"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_resume_does_not_hang() {
    let server = MockServer::new([MockBehavior::NoResume; 16]).await;
    let worker = Worker::connect(server.options()).unwrap();
    worker.line(Channel::Stdout, "a");
    let delivery = worker.end(Exit::code(0)).await;
    assert_eq!((delivery.complete, delivery.undelivered_lines), (false, 1));
}

#[tokio::test]
async fn an_unreachable_server_causes_two_notes_and_a_short_wait() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let notes = Arc::default();
    let options = WorkerOptions {
        delivery_timeout_unreached: Duration::from_millis(300),
        ..options(&format!("http://{closed}"), &notes)
    };
    let worker = Worker::connect(options).unwrap();
    lines(&worker, 0..5);
    let delivery = worker.end(Exit::code(0)).await;
    assert_eq!((delivery.complete, delivery.undelivered_lines), (false, 5));
    let notes = notes.lock();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("no connection to http://127.0.0.1:"), "{notes:?}");
    assert_eq!(notes[1], format!("kept 0 of 5 lines: the server was not reached; {LOST}"));
}

#[tokio::test]
async fn a_server_that_starts_after_the_end_gets_every_line() {
    let server = MockServer::new([MockBehavior::Serve]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (url, notes) = (server.url.clone(), Arc::clone(&server.notes));
    let is_waiting = move || notes.lock().iter().any(|note| note.starts_with("no server was reached yet: trying for "));
    let search = move || -> BoxFuture<'static, Option<Endpoint>> {
        Box::pin(std::future::ready(is_waiting().then(|| url.parse().unwrap())))
    };
    let options = options(&format!("http://{closed}"), &server.notes);
    let worker = Worker::connect(WorkerOptions { reconnect: Some(Arc::new(search)), ..options }).unwrap();
    lines(&worker, 0..5);
    assert!(worker.end(Exit::code(0)).await.is_whole());
    assert_eq!(server.output_lines(), expected(0..5));
}

#[tokio::test]
async fn reconnect_can_switch_servers() {
    let server = MockServer::new([MockBehavior::Serve]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = server.url.clone();
    let options = WorkerOptions {
        reconnect: Some(Arc::new(move || -> BoxFuture<'static, Option<Endpoint>> {
            Box::pin(std::future::ready(url.parse().ok()))
        })),
        ..options(&format!("http://{closed}"), &server.notes)
    };
    let worker = Worker::connect(options).unwrap();
    lines(&worker, 0..5);
    assert!(worker.end(Exit::code(0)).await.complete);
    assert_eq!(server.output_lines(), expected(0..5));
}

#[tokio::test]
async fn server_errors_are_rate_limited() {
    let server = MockServer::new([MockBehavior::SendErrors]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..5_000);
    assert!(worker.end(Exit::code(0)).await.complete);
    assert_eq!(*server.notes.lock(), ["server error: no such thing"]);
}

#[tokio::test]
async fn a_task_ended_elsewhere_is_not_waited_for() {
    let server = MockServer::new([MockBehavior::Ended]).await;
    let options = WorkerOptions { delivery_timeout: Duration::from_secs(600), ..server.options() };
    let worker = Worker::connect(options).unwrap();
    lines(&worker, 0..5);
    let delivery = worker.end(Exit::code(0)).await;
    assert_eq!((delivery.complete, delivery.undelivered_lines), (false, 5));
    let notes = server.notes.lock();
    assert!(notes.len() == 2 && notes[0].contains("ended at the server"), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_lines_of_a_flooding_command_are_accounted_for() {
    let server = MockServer::new([MockBehavior::DropAfter(2_000), MockBehavior::Serve]).await;
    let options = WorkerOptions { show: false, ..server.options() };
    let outcome = Worker::run(options, vec!["seq".into(), "300000".into()]).await.unwrap();
    assert!(outcome.delivery.complete && outcome.exit_code == 0);
    let texts = server.output_lines();
    assert!(texts[0].starts_with("starting on ") && texts[texts.len() - 1].starts_with("ended after "));
    let numbers = texts[1..texts.len() - 1].iter().map(|text| text.parse::<u64>().unwrap());
    assert!(numbers.eq(1..=300_000), "every line, once, in order");
    assert_eq!(outcome.delivery.lines, 300_000);
}

#[tokio::test]
async fn an_invalid_url_fails_at_once() {
    let error = Worker::connect(WorkerOptions::new("localhost:7117", "42".parse().unwrap())).unwrap_err();
    assert_eq!(error.exit_code(), 125);
    assert!(error.to_string().contains("http://"), "{error}");
}
