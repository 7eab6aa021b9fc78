//! What every line passes through: bytes to lines, messages to lines, lines to blocks and back, lines
//! to JSON, requests and replies of Redis clients. No disk and no sockets.

#![allow(clippy::expect_used, missing_docs, reason = "a bench that cannot set up has nothing to say")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tasktail::model::{Channel, EntryBody, EntryId, Line, LineText, Timestamp};
use tasktail::store::block::{self, BlockBuilder};
use tasktail::wire::resp::{Parser, Protocol, Reply, Request, RequestLimits};
use tasktail::wire::worker::WorkerMessage;
use tasktail::worker::LineSplitter;

const NOW: Timestamp = Timestamp::from_millis(1_778_336_581_000);
const TEXT_BYTES: usize = 99;
const MESSAGE_LINES: u64 = 500;
const PIPELINE_REQUESTS: u64 = 100;

fn text(n: u64) -> String {
    format!("[{n:>6}] Compiling something \"v1.{n}\" {}", "x".repeat(TEXT_BYTES))[..TEXT_BYTES].to_owned()
}

fn splitting(c: &mut Criterion) {
    let mut group = c.benchmark_group("splitter");
    let lines = (0..1_000).map(text).collect::<Vec<_>>().join("\n").into_bytes();
    let long = vec![b'x'; 1 << 20];
    let bytes = b"caf\xe9 \xff\0\n".repeat(10_000);
    for (name, input) in [("99-byte lines", lines), ("one line of 1 MiB", long), ("not UTF-8", bytes)] {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                LineSplitter::default,
                |splitter| {
                    let mut lines = 0u32;
                    for mut chunk in input.chunks(64 * 1024) {
                        while splitter.next_line(&mut chunk).is_some() {
                            lines += 1;
                        }
                    }
                    lines
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn bodies() -> Vec<Vec<u8>> {
    let body = |n: u64| {
        let line = LineText { timestamp: NOW, text: text(n).into(), ..LineText::default() };
        let mut bytes = Vec::new();
        block::encode_body(&mut bytes, &EntryBody::Line(line)).expect("a body");
        bytes
    };
    (0..u64::from(block::BLOCK_ENTRIES_MAX)).map(body).collect()
}

fn build(first: EntryId, bodies: &[Vec<u8>]) -> (u32, Vec<u8>) {
    let mut builder = BlockBuilder::new(first, 1);
    let mut id = first;
    for body in bodies {
        if !builder.has_room(body.len()) {
            break;
        }
        builder.push(id, body).expect("an entry");
        id = id.next().expect("an id");
    }
    builder.record_session("01JZ0000000000000000000000", 77);
    let (header, bytes) = builder.finish(1 << 30, 0).expect("a block");
    (header.count, bytes)
}

fn blocks(c: &mut Criterion) {
    let bodies = bodies();
    let first = EntryId::new(NOW.as_millis(), 0);
    let (count, packed) = build(first, &bodies);
    let mut group = c.benchmark_group("block");
    group.throughput(Throughput::Elements(u64::from(count)));
    group.bench_function("build", |b| b.iter(|| build(first, black_box(&bodies))));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut bytes = 0;
            block::decode(first, black_box(&packed), |entry| {
                if let EntryBody::Line(line) = entry.body {
                    bytes += line.text.len();
                }
                true
            })
            .expect("a block");
            bytes
        });
    });
    group.bench_function("decode its header", |b| {
        b.iter(|| block::decode_header(black_box(&packed)).expect("a header"))
    });
    group.finish();
}

fn messages(c: &mut Criterion) {
    let line = |n: u64| serde_json::json!({"line": text(n), "timestamp": NOW.to_string(), "stream": "stdout"});
    let mut one = line(1);
    one["type"] = "log_line".into();
    one["work_request_id"] = 42.into();
    let lines: Vec<_> = (0..MESSAGE_LINES).map(line).collect();
    let many = serde_json::json!({"type": "log_lines", "work_request_id": "build-7", "first_seq": 1, "lines": lines});
    let mut group = c.benchmark_group("parse");
    for (name, count, json) in [("log_line", 1, one), ("log_lines of 500", MESSAGE_LINES, many)] {
        let json = json.to_string();
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |b| {
            b.iter(|| match WorkerMessage::parse(black_box(&json), NOW).expect("a message") {
                WorkerMessage::Lines { lines, .. } => lines.len(),
                _ => 0,
            });
        });
    }
    group.finish();
}

fn json(c: &mut Criterion) {
    let line = Line {
        n: 123_456,
        id: EntryId::new(NOW.as_millis(), 17),
        timestamp: NOW,
        channel: Channel::Stderr,
        line: text(1).into(),
        partial: false,
        lossy: false,
    };
    let mut group = c.benchmark_group("line");
    group.throughput(Throughput::Elements(1));
    let mut buffer = Vec::new();
    group.bench_function("to JSON", |b| {
        b.iter(|| {
            buffer.clear();
            serde_json::to_writer(&mut buffer, black_box(&line)).expect("JSON");
            buffer.len()
        });
    });
    let text = String::from_utf8(buffer.clone()).expect("UTF-8");
    group.bench_function("from JSON", |b| {
        b.iter(|| serde_json::from_str::<Line<'_>>(black_box(&text)).expect("a line").n)
    });
    group.finish();
}

fn requests(c: &mut Criterion) {
    let xadd = |n: u64| {
        let (text, time) = (text(n), NOW.to_string());
        let args = ["XADD", "task:logs:42", "*", "line", &text, "timestamp", &time, "stream", "stdout"];
        let encoded = args.map(|arg| format!("${}\r\n{arg}\r\n", arg.len())).concat();
        format!("*{}\r\n{encoded}", args.len())
    };
    let wire = (0..PIPELINE_REQUESTS).map(xadd).collect::<String>();
    let mut group = c.benchmark_group("resp");
    group.throughput(Throughput::Elements(PIPELINE_REQUESTS));
    let mut parser = Parser::new(RequestLimits::default());
    group.bench_function("parse XADD of a pipeline of 100", |b| {
        b.iter(|| {
            parser.buffer().extend_from_slice(black_box(wire.as_bytes()));
            let mut args = 0;
            while let Some(request) = parser.next().expect("a request") {
                args += black_box::<Request>(request).len();
            }
            args
        });
    });
    group.bench_function("reply to them with ids", |b| {
        b.iter(|| {
            let mut reply = Reply::new(Protocol::Resp2);
            for seq in 0..PIPELINE_REQUESTS {
                reply.id(black_box(EntryId::new(NOW.as_millis(), seq)));
            }
            reply.into_bytes()
        });
    });
    group.finish();
}

criterion_group!(benches, splitting, blocks, messages, json, requests);
criterion_main!(benches);
