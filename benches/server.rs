//! One worker's WebSocket to durable, worker and server in one process: `log_block`, `log_lines` and single
//! `log_line`, from the first message to the ack of the last. The worker's messages are made before.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on has failed")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tasktail::model::{Channel, Timestamp};
use tasktail::server::{ServeOptions, Server};
use tasktail::wire::worker::block::{BlockEncoder, BlockEncoding};
use tokio_tungstenite::tungstenite::Message;

#[cfg(all(target_os = "linux", target_env = "gnu", feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LINES: u64 = 200_000;

fn line(seq: u64) -> Value {
    json!({"line":format!("  CC [M]  drivers/net/ethernet/part-{seq}.o with some options"),
        "timestamp":"2026-05-09T14:23:01.000Z","stream":"stdout"})
}

/// Blocks of `each` lines.
fn blocks(task: &str, each: u64) -> Vec<Message> {
    let (mut encoder, task) = (BlockEncoder::new(BlockEncoding::Raw), task.parse().expect("an id"));
    let at = Timestamp::from_millis(1_778_336_581_000);
    let block = |first: u64| {
        for seq in first..first + each {
            let text = format!("  CC [M]  drivers/net/ethernet/part-{seq}.o with some options");
            encoder.push(Channel::Stdout, at, &text, false, false);
        }
        Message::binary(encoder.finish(&task, first))
    };
    (0..LINES / each).map(|index| index * each + 1).map(block).collect()
}

fn messages(task: &str, each: u64) -> Vec<Message> {
    let batch = |first: u64| {
        let message = if each == 1 {
            let mut message = line(first);
            message["type"] = "log_line".into();
            message["work_request_id"] = task.into();
            message["seq"] = first.into();
            message
        } else {
            let lines: Vec<Value> = (first..first + each).map(line).collect();
            json!({"type":"log_lines","work_request_id":task,"first_seq":first,"lines":lines})
        };
        Message::text(message.to_string())
    };
    (0..LINES / each).map(|index| batch(index * each + 1)).collect()
}

/// Sends everything and waits for the last ack.
async fn send(url: String, messages: Vec<Message>) -> Duration {
    let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("a socket");
    let (mut sink, mut source) = socket.split();
    let start = Instant::now();
    let write = async {
        for message in messages {
            sink.feed(message).await.expect("sent");
        }
        sink.flush().await.expect("sent");
    };
    let read = async {
        loop {
            let message = source.next().await.expect("an ack").expect("an ack");
            let Message::Text(text) = message else { continue };
            let reply: Value = serde_json::from_str(&text).expect("json");
            if reply["seq"] == LINES {
                return;
            }
        }
    };
    tokio::join!(write, read);
    start.elapsed()
}

/// Makes the messages of a task with so many lines in each.
type MakeMessages = fn(&str, u64) -> Vec<Message>;

fn worker_to_durable(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("worker socket to durable");
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Elements(LINES));
    let rows: [(&str, MakeMessages, u64); 3] =
        [("log_block of 4000", blocks, 4_000), ("log_lines of 500", messages, 500), ("single log_line", messages, 1)];
    for (name, make, each) in rows {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let folder = tempfile::tempdir().expect("a folder");
                let data = folder.path().join("data");
                let options = ServeOptions { listen: "127.0.0.1:0".to_owned(), data, ..ServeOptions::default() };
                runtime.block_on(async {
                    let server = Server::start(options).await.expect("a server");
                    let url = format!("ws://{}/ws/v1/worker", server.addr());
                    let mut took = Duration::ZERO;
                    for round in 0..rounds {
                        took += send(url.clone(), make(&format!("t{round}"), each)).await;
                    }
                    server.shutdown().await.expect("an end");
                    took
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, worker_to_durable);
criterion_main!(benches);
