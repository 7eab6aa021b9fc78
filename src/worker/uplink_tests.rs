//! The uplink against a small server that misbehaves on command.

use std::collections::{BTreeMap, VecDeque};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;
use crate::model::{Channel, GapMarker};
use crate::worker::{Exit, Worker};

/// What the server does with one connection.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// Acks everything.
    Serve,
    /// Takes this many lines, acks only those before, then drops the connection.
    DropAfter(usize),
    /// Takes everything, never acks.
    Mute,
    /// Takes the first lines, then neither reads nor closes: the way a cut cable looks.
    HalfOpen,
    /// Accepts the socket and says nothing at all.
    NoResume,
    /// Answers each message with an error.
    Complain,
    /// Says that the task has ended already.
    Ended,
}

#[derive(Default)]
struct Log {
    /// By number: a resent line must be the same line.
    lines: BTreeMap<u64, String>,
    ends: Vec<Value>,
    starts: Vec<Value>,
    /// Everything up to here is "durable".
    acked: u64,
    plans: VecDeque<Plan>,
}

struct Server {
    url: String,
    log: Arc<Mutex<Log>>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Log { plans: plans.into_iter().collect(), ..Log::default() }));
        let shared = Arc::clone(&log);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let plan = shared.lock().plans.pop_front().unwrap_or(Plan::Serve);
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

    fn own_lines_left_out(&self) -> Vec<String> {
        self.texts().into_iter().filter(|text| !text.starts_with("worker ")).collect()
    }
}

fn options(url: &str, notes: &Arc<Mutex<Vec<String>>>) -> WorkerOptions {
    let notes = Arc::clone(notes);
    WorkerOptions {
        notes: Arc::new(move |text| notes.lock().push(text.to_owned())),
        ..WorkerOptions::new(url, "42".parse().unwrap())
    }
}

async fn serve(stream: TcpStream, plan: Plan, log: Arc<Mutex<Log>>) {
    let mut socket = accept_async(stream).await.unwrap();
    let mut taken = 0;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["type"].as_str().unwrap() {
            "task_start" if !matches!(plan, Plan::NoResume) => {
                let (session, acked) = (message["session"].clone(), log.lock().acked);
                log.lock().starts.push(message);
                say(&mut socket, json!({"type":"resume","work_request_id":"42","session":session,"acked_seq":acked}))
                    .await;
            }
            "log_lines" => {
                let first = message["first_seq"].as_u64().unwrap();
                let lines = message["lines"].as_array().unwrap();
                for (seq, line) in (first..).zip(lines) {
                    if let Plan::DropAfter(lines) = plan {
                        if taken == lines {
                            return;
                        }
                        taken += 1;
                    }
                    let mut log = log.lock();
                    assert!(seq == 1 || log.lines.contains_key(&(seq - 1)), "hole before {seq}");
                    let text = line["line"].as_str().unwrap();
                    let known = log.lines.entry(seq).or_insert_with(|| text.to_owned());
                    assert_eq!(known, text, "number {seq} was given twice");
                }
                if matches!(plan, Plan::HalfOpen) {
                    return std::future::pending().await;
                }
                answer(&mut socket, plan, &log, first + lines.len() as u64 - 1).await;
            }
            "log_line_end" => {
                let seq = message["seq"].as_u64().unwrap();
                log.lock().ends.push(message);
                if matches!(plan, Plan::DropAfter(_)) {
                    return;
                }
                answer(&mut socket, plan, &log, seq).await;
            }
            _ => {}
        }
    }
}

async fn answer(socket: &mut WebSocketStream<TcpStream>, plan: Plan, log: &Mutex<Log>, seq: u64) {
    if matches!(plan, Plan::Complain) {
        say(socket, json!({"type":"error","code":"bad_line","message":"no such thing"})).await;
    }
    if matches!(plan, Plan::Ended) {
        say(socket, json!({"type":"error","code":"task_ended","message":"over","work_request_id":"42"})).await;
    }
    if matches!(plan, Plan::Serve | Plan::Complain) {
        log.lock().acked = seq;
        say(socket, json!({"type":"ack","work_request_id":"42","seq":seq})).await;
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: Value) {
    // A worker that has gone away does not listen.
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
    let server = Server::new([Plan::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..3_000);
    worker.line(Channel::Stderr, "two\nlines");
    let delivery = worker.end(Exit { code: Some(3), signal: None, aborted: true }).await;
    assert_eq!(delivery, Delivery { complete: true, undelivered_lines: 0, skipped_lines: 0 });
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
async fn nothing_twice_and_nothing_missing_after_lost_connections() {
    let server = Server::new([Plan::DropAfter(0), Plan::DropAfter(7), Plan::DropAfter(1_500), Plan::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..4_000);
    let delivery = worker.end(Exit::code(0)).await;
    assert!(delivery.complete, "{:?}", server.notes.lock());
    assert_eq!(server.own_lines_left_out(), expected(0..4_000));
    let notes = server.notes.lock();
    let lost = notes.iter().filter(|note| note.contains("connection lost")).count();
    let again = notes.iter().filter(|note| note.contains("reconnected")).count();
    assert_eq!((lost, again), (3, 3), "{notes:?}");
    assert!(server.texts().iter().all(|text| !text.contains("skipped")));
}

#[tokio::test]
async fn a_connection_that_is_only_half_there_is_given_up() {
    let server = Server::new([Plan::HalfOpen, Plan::Serve]).await;
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
    let notes = server.notes.lock();
    assert!(delivery.complete && notes[0].contains("silent for 45 s"), "{notes:?}");
    assert_eq!(server.own_lines_left_out(), expected(0..10));
}

#[tokio::test]
async fn the_end_is_said_again_after_a_reconnect() {
    let server = Server::new([Plan::DropAfter(usize::MAX), Plan::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    worker.line(Channel::Stdout, "only");
    let delivery = worker.end(Exit::signal(9)).await;
    assert!(delivery.complete);
    let log = server.log.lock();
    assert_eq!(log.ends.len(), 2);
    assert!(log.ends.iter().all(|end| end["signal"] == json!(9)), "{:?}", log.ends);
    assert_eq!(log.ends[0]["timestamp"], log.ends[1]["timestamp"]);
}

#[tokio::test]
async fn overflow_is_one_mark_in_order_and_the_last_line_arrives() {
    let server = Server::new([Plan::DropAfter(0), Plan::Serve]).await;
    let worker = Worker::connect(server.options()).unwrap();
    // No await in between: the uplink of this single-threaded runtime has not run yet.
    lines(&worker, 0..100_000);
    let delivery = worker.end(Exit::code(0)).await;
    assert!(delivery.complete);
    let texts = server.own_lines_left_out();
    let kept = texts.len() - 1;
    assert_eq!(texts[0], format!("[{} messages skipped]", 100_000 - kept));
    assert_eq!(texts[1..], expected(100_000 - kept..100_000));
    assert_eq!(delivery.skipped_lines, (100_000 - kept) as u64);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_acks_is_waited_for_in_bounds() {
    let server = Server::new([Plan::Mute, Plan::Mute, Plan::Mute]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..10);
    // Paused time runs ahead of the sockets: only go on once the connection is there.
    while !worker.shared.was_reached() {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let delivery = worker.end(Exit::code(0)).await;
    assert!(begun.elapsed() <= Duration::from_secs(61), "{:?}", begun.elapsed());
    assert_eq!((delivery.complete, delivery.undelivered_lines), (false, 10));
    let notes = server.notes.lock();
    assert!(notes.last().unwrap().starts_with("10 lines and the end of the task could not be delivered"), "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_resume_hangs_nothing() {
    let server = Server::new([Plan::NoResume; 16]).await;
    let worker = Worker::connect(server.options()).unwrap();
    worker.line(Channel::Stdout, "a");
    let delivery = worker.end(Exit::code(0)).await;
    assert_eq!((delivery.complete, delivery.undelivered_lines), (false, 1));
}

#[tokio::test]
async fn no_server_at_all_costs_two_notes_and_a_short_wait() {
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
}

#[tokio::test]
async fn the_owner_can_name_another_server() {
    let server = Server::new([Plan::Serve]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = server.url.clone();
    let options = WorkerOptions {
        reconnect: Some(Arc::new(move || -> BoxFuture<'static, Option<Endpoint>> {
            let url = url.clone();
            Box::pin(async move { url.parse().ok() })
        })),
        ..options(&format!("http://{closed}"), &server.notes)
    };
    let worker = Worker::connect(options).unwrap();
    lines(&worker, 0..5);
    assert!(worker.end(Exit::code(0)).await.complete);
    assert_eq!(server.own_lines_left_out(), expected(0..5));
}

#[tokio::test]
async fn errors_of_the_server_are_shown_and_not_too_often() {
    let server = Server::new([Plan::Complain]).await;
    let worker = Worker::connect(server.options()).unwrap();
    lines(&worker, 0..5_000);
    assert!(worker.end(Exit::code(0)).await.complete);
    assert_eq!(*server.notes.lock(), ["the server says: no such thing"]);
}

#[tokio::test]
async fn a_task_that_someone_else_has_ended_is_not_waited_for() {
    let server = Server::new([Plan::Ended]).await;
    let options = WorkerOptions { delivery_timeout: Duration::from_secs(600), ..server.options() };
    let worker = Worker::connect(options).unwrap();
    lines(&worker, 0..5);
    let delivery = worker.end(Exit::code(0)).await;
    assert_eq!((delivery.complete, delivery.undelivered_lines), (false, 5));
    let notes = server.notes.lock();
    assert!(notes.len() == 2 && notes[0].contains("ended at the server"), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flood_of_a_real_command_adds_up() {
    let server = Server::new([Plan::DropAfter(2_000), Plan::Serve]).await;
    let options = WorkerOptions { show: false, ..server.options() };
    let outcome = Worker::run(options, vec!["seq".into(), "300000".into()]).await.unwrap();
    assert!(outcome.delivery.complete && outcome.exit_code == 0);
    let texts = server.own_lines_left_out();
    assert!(texts[0].starts_with("starting on ") && texts[texts.len() - 1].starts_with("ended after "));
    assert_eq!(texts[texts.len() - 2], "300000", "the last line is never skipped");
    let mut next = 1;
    for text in &texts[1..texts.len() - 1] {
        match GapMarker::parse(text) {
            Some(mark) => next += mark.count,
            None => {
                assert_eq!(text.parse::<u64>().unwrap(), next, "each mark stands where its lines are missing");
                next += 1;
            }
        }
    }
    assert_eq!(next, 300_001);
}

#[tokio::test]
async fn a_bad_url_is_said_at_once() {
    let error = Worker::connect(WorkerOptions::new("localhost:7117", "42".parse().unwrap())).unwrap_err();
    assert_eq!(error.exit_code(), 125);
    assert!(error.to_string().contains("http://"), "{error}");
}
