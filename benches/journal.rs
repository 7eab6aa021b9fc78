//! Durable appends: eight writers of one task each, 99-byte lines, MAXLEN about 10,000.

#![expect(clippy::expect_used, reason = "a bench that cannot set up has nothing to say")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tasktail::journal::{Durability, Journal, LineBatch, NewId, PageLimits, Trim};
use tasktail::model::{ByteStr, Channel, LineText, Timestamp};

#[cfg(all(target_os = "linux", target_env = "gnu", feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const WRITERS: u64 = 8;
const BATCH_LINES: u64 = 500;
const BATCHES: u64 = 100;

fn batch() -> LineBatch {
    let text = "x".repeat(99);
    let mut batch = LineBatch::new();
    for _ in 0..BATCH_LINES {
        batch.push(&LineText {
            timestamp: Timestamp::from_millis(1_778_336_581_000),
            channel: Channel::Stdout,
            partial: false,
            lossy: false,
            text: text.as_str().into(),
        });
    }
    batch
}

/// Every writer keeps a few batches in flight, as a worker's connection does.
async fn write(journal: Journal, name: String, batches: u64) {
    let stream = journal.stream_or_new(name.as_bytes()).expect("a stream");
    let mut flying = std::collections::VecDeque::new();
    for _ in 0..batches {
        flying.push_back(journal.append(&stream, batch(), Some(Trim::AboutMaxLen(10_000, 0))).await.expect("queued"));
        if flying.len() > 4 {
            flying.pop_front().expect("one").await.expect("durable");
        }
    }
    for ticket in flying {
        ticket.await.expect("durable");
    }
}

fn durable_appends(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("journal");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    for durability in [Durability::Commit, Durability::Interval] {
        group.throughput(Throughput::Elements(WRITERS * BATCHES * BATCH_LINES));
        group.bench_function(format!("8 writers, {durability:?}"), |b| {
            b.iter_custom(|rounds| {
                let folder = tempfile::tempdir().expect("a folder");
                runtime.block_on(async {
                    let journal = Journal::open(folder.path(), durability).expect("a store");
                    let start = Instant::now();
                    for _ in 0..rounds {
                        let writers =
                            (0..WRITERS).map(|n| tokio::spawn(write(journal.clone(), format!("s{n}"), BATCHES)));
                        for writer in writers.collect::<Vec<_>>() {
                            writer.await.expect("a writer");
                        }
                    }
                    let taken = start.elapsed();
                    for n in 0..WRITERS {
                        let tip = journal.stream(format!("s{n}").as_bytes()).expect("a store").expect("a stream").tip();
                        assert_eq!(tip.last_line, rounds * BATCHES * BATCH_LINES, "every line was taken");
                    }
                    journal.close().await;
                    taken
                })
            });
        });
    }
    group.finish();
}

/// What a connection of the Redis port does with a pipeline of XADDs: one job of them all.
async fn add(journal: Journal, jobs: u64) {
    let text = "x".repeat(99);
    for _ in 0..jobs {
        let room = journal.reserve(20_000).await.expect("room");
        let (reply, answer) = tokio::sync::oneshot::channel();
        let text = text.clone();
        journal.submit(room, move |keys| {
            for _ in 0..PIPELINE {
                let fields = vec![
                    (ByteStr::from("line"), ByteStr::from(&text)),
                    (ByteStr::from("timestamp"), ByteStr::from("2026-05-09T14:23:01.000Z")),
                    (ByteStr::from("stream"), ByteStr::from("stdout")),
                ];
                keys.update_time();
                keys.add(b"bench", NewId::Auto, fields).expect("added");
                keys.trim(b"bench", Trim::AboutMaxLen(10_000, 10_000)).expect("trimmed");
                keys.serve_blocked();
            }
            Box::new(|failed| reply.send(failed.is_none()).unwrap_or_default())
        });
        assert!(answer.await.expect("an answer"), "durable");
    }
}

const PIPELINE: u64 = 100;
const JOBS: u64 = 200;

fn jobs(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("journal");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(8))
        .throughput(Throughput::Elements(8 * JOBS * PIPELINE));
    group.bench_function("8 clients, jobs of 100 XADD MAXLEN ~", |b| {
        b.iter_custom(|rounds| {
            let folder = tempfile::tempdir().expect("a folder");
            runtime.block_on(async {
                let journal = Journal::open(folder.path(), Durability::Commit).expect("a store");
                let start = Instant::now();
                let clients = (0..8).map(|_| tokio::spawn(add(journal.clone(), rounds * JOBS)));
                for client in clients.collect::<Vec<_>>() {
                    client.await.expect("a client");
                }
                let taken = start.elapsed();
                journal.close().await;
                taken
            })
        });
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, stream) = runtime.block_on(async {
        let journal = Journal::open(folder.path(), Durability::Commit).expect("a store");
        write(journal.clone(), "s".into(), 20).await;
        let stream = journal.stream(b"s").expect("a store").expect("a stream");
        (journal, stream)
    });
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(500));
    group.bench_function("read a page of 500 lines", |b| {
        b.iter(|| journal.read(&stream, 3_000, PageLimits::default()).expect("a page").lines.len());
    });
    group.finish();
    runtime.block_on(journal.close());
}

criterion_group!(benches, durable_appends, jobs, reads);
criterion_main!(benches);
