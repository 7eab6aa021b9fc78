//! Tests the uplink against a scripted server that loses acknowledged lines in a failure.

use std::ops::Range;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;

use super::*;
use crate::model::Channel;
use crate::worker::{Exit, LocalLogOptions, Worker};

/// Time allowed for anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The script of a connection.
#[derive(Clone, Debug)]
struct Script {
    /// `retain` in `welcome`, if any.
    retain: Option<Value>,
    /// `acked_seq` in `resume`.
    acked_seq: u64,
    /// Close after the ack of this line.
    close_at: Option<u64>,
}

/// What the server received on each connection, in order.
#[derive(Debug, Default)]
struct ReceivedLines(Mutex<Vec<Vec<(u64, String)>>>);

/// Starts a server that follows the scripts, one per connection. Returns its address.
async fn scripted(scripts: impl IntoIterator<Item = Script>, received: &Arc<ReceivedLines>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (received, scripts) = (Arc::clone(received), Vec::from_iter(scripts));
    tokio::spawn(async move {
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            received.0.lock().push(Vec::new());
            converse(stream, script, &received).await;
        }
    });
    url
}

async fn converse(stream: TcpStream, script: Script, received: &ReceivedLines) {
    let mut socket = accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        let (reply, seq) = match message["type"].as_str().unwrap() {
            "hello" => {
                let mut welcome = json!({"type":"welcome","protocol":1,"heartbeat_s":15,"line_bytes_max":65536});
                if let Some(retain) = &script.retain {
                    welcome["retain"] = retain.clone();
                }
                (welcome, 0)
            }
            "task_start" => {
                let session = &message["session"];
                (json!({"type":"resume","work_request_id":"42","session":session,"acked_seq":script.acked_seq}), 0)
            }
            "log_lines" => {
                let first = message["first_seq"].as_u64().unwrap();
                let lines = message["lines"].as_array().unwrap();
                let texts = lines.iter().map(|line| line["line"].as_str().unwrap().to_owned());
                received.0.lock().last_mut().unwrap().extend((first..).zip(texts));
                let last = first + lines.len() as u64 - 1;
                (json!({"type":"ack","work_request_id":"42","seq":last}), last)
            }
            "log_line_end" => {
                let seq = message["seq"].as_u64().unwrap();
                (json!({"type":"ack","work_request_id":"42","seq":seq,"sealed":true}), seq)
            }
            _ => continue,
        };
        // A disconnected worker cannot receive it.
        socket.send(Message::text(reply.to_string())).await.ok();
        if script.close_at.is_some_and(|close_at| seq >= close_at) {
            return;
        }
    }
}

fn push(worker: &Worker, range: Range<u64>) {
    range.for_each(|n| worker.line(Channel::Stdout, &format!("line {n}")));
}

/// Sends 6,000 lines; the server confirms 3,000, fails, and has only 1,200 of them. Returns what it received before
/// and after that.
async fn lose_lines(retain: Option<Value>, local_log: LocalLogOptions) -> [Vec<(u64, String)>; 2] {
    let received = Arc::new(ReceivedLines::default());
    let first = Script { retain, acked_seq: 0, close_at: Some(3_000) };
    let second = Script { acked_seq: 1_200, close_at: None, ..first.clone() };
    let url = scripted([first, second], &received).await;
    let worker = Worker::connect(WorkerOptions { local_log, ..WorkerOptions::new(&url, "42".parse().unwrap()) });
    let worker = worker.unwrap();
    push(&worker, 1..3_001);
    // The next lines follow when the first ones are confirmed, so that nothing else is in flight.
    let confirmed = async {
        while received.0.lock().len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, confirmed).await.unwrap();
    push(&worker, 3_001..6_001);
    let delivery = timeout(PATIENCE, worker.end(Exit::code(0))).await.unwrap();
    assert!(delivery.is_whole() && delivery.lines == 6_000, "{delivery:?}");
    let connections = std::mem::take(&mut *received.0.lock());
    let connections: Vec<_> = connections.into_iter().map(without_notes).collect();
    connections.try_into().expect("two connections")
}

/// Leaves out the lines of the worker itself, which a slow machine may cause, and checks the numbers of the others.
fn without_notes(lines: Vec<(u64, String)>) -> Vec<(u64, String)> {
    assert!(lines.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "the numbers of a connection are dense");
    lines.into_iter().filter(|(_, text)| text.starts_with("line ")).collect()
}

/// Checks that the lines from this number on are complete, and identical to those of before.
fn assert_continues(lines: &[(u64, String)], first: u64, before: &[(u64, String)]) {
    assert!(before.iter().map(|line| line.0).eq(1..=3_000), "all lines were confirmed before");
    let wanted = (first..=6_000).map(|n| format!("line {n}"));
    assert!(lines.iter().map(|line| line.1.clone()).eq(wanted), "from {first}: {:?}", lines.first());
    let known = lines.iter().zip(before.iter().skip_while(|line| line.0 < first));
    assert!(known.into_iter().all(|(again, before)| again == before), "the same numbers and texts");
}

#[tokio::test]
async fn lost_lines_are_sent_again_each_once() {
    let [before, after] = lose_lines(Some(json!({"lines":10_000,"bytes":8_388_608})), LocalLogOptions::default()).await;
    assert_continues(&after, 1_201, &before);
}

#[tokio::test]
async fn lost_lines_are_sent_again_from_a_spool() {
    let spool = tempfile::tempdir().unwrap();
    let options = LocalLogOptions { spool: Some(spool.path().to_owned()), ..LocalLogOptions::default() };
    let [before, after] = lose_lines(Some(json!({"lines":10_000,"bytes":8_388_608})), options).await;
    assert_continues(&after, 1_201, &before);
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0, "after the end nothing is kept");
}

#[tokio::test]
async fn without_retain_nothing_is_sent_again() {
    let [before, after] = lose_lines(None, LocalLogOptions::default()).await;
    assert_continues(&after, 3_001, &before);
}

#[tokio::test]
async fn lines_that_are_no_longer_kept_are_one_hole_in_the_numbers() {
    let [before, after] = lose_lines(Some(json!({"lines":500,"bytes":8_388_608})), LocalLogOptions::default()).await;
    // A batch that is kept in part is kept as a whole.
    let first = after[0].0;
    assert!((1_501..=2_501).contains(&first), "{first}");
    assert_continues(&after, first, &before);
}
