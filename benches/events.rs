//! The file of events: appended to, synced by several at once, read whole and from its end; and the
//! time from a writer's line to a follower.

#![allow(clippy::expect_used, missing_docs, reason = "a bench that cannot set up has nothing to say")]

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tasktail::events::{EventLog, FileFollower, FollowFileOptions, FollowItem, SyncMode};
use tasktail::model::Event;

const SYNCING_THREADS: u64 = 8;
const READ_EVENTS: u64 = 1_000;
const TAIL_EVENTS: usize = 20;
const LOG_EVENTS: u64 = 1_000_000;

fn text(n: u64) -> String {
    format!(
        r#"{{"event_id":"a4f691b9-fdd3-401c-8608-2f6dadaf{n:04x}","event_type":"step.started","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:10.943301+00:00","actor":"runner","attempt":0,"step_id":"preflight_contract_check","new_state":"running"}}"#
    )
}

fn event(n: u64) -> Event {
    Event::parse(&text(n)).expect("an event")
}

fn log_of(path: &Path, events: u64) -> EventLog {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("a file"));
    (0..events).try_for_each(|n| writeln!(file, "{}", text(n % 0xffff))).expect("room");
    file.flush().expect("room");
    EventLog::new(path)
}

fn append(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = EventLog::new(folder.path().join("events.jsonl"));
    let mut group = c.benchmark_group("append");
    let one = [event(1)];
    let bare = [Event::parse(r#"{"event_type":"step.started","step_id":"s","reason":null}"#).expect("an event")];
    group.throughput(Throughput::Elements(1));
    group.bench_function("flushed", |b| b.iter(|| log.append(&one, SyncMode::Flush).expect("room")));
    group.bench_function("flushed, given its id and time", |b| {
        b.iter(|| log.append(&bare, SyncMode::Flush).expect("room"));
    });
    group.bench_function("synced by one", |b| b.iter(|| log.append(&one, SyncMode::Disk).expect("room")));
    group.bench_function("synced, an event of 8 threads", |b| {
        b.iter_custom(|events| {
            let each = events.div_ceil(SYNCING_THREADS);
            let begun = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..SYNCING_THREADS {
                    scope.spawn(|| (0..each).for_each(|_| log.append(&one, SyncMode::Disk).expect("room")));
                }
            });
            begun.elapsed()
        });
    });
    group.finish();
}

fn read(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = c.benchmark_group("read");
    let small = log_of(&folder.path().join("small.jsonl"), READ_EVENTS);
    group.bench_function("1,000 events", |b| b.iter(|| small.read_all().expect("a log").events.len()));
    let large = log_of(&folder.path().join("large.jsonl"), LOG_EVENTS);
    group.bench_function("the last 20 of 1,000,000", |b| {
        b.iter(|| large.tail(TAIL_EVENTS).expect("a log").events.len());
    });
    group.finish();
}

fn follow(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.log");
    let mut file = OpenOptions::new().append(true).create(true).open(&path).expect("a file");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = FollowFileOptions { from_start: false, poll: Duration::from_secs(3_600) };
    let mut follower = FileFollower::new(&path, options).expect("a follower");
    let mut group = c.benchmark_group("follow");
    group.bench_function("a line, from its write on", |b| {
        b.iter_custom(|lines| {
            runtime.block_on(async {
                let mut taken = Duration::ZERO;
                for _ in 0..lines {
                    while follower.next().await.expect("a file") != FollowItem::CaughtUp {}
                    // The follower waits before the line is written, as it does in life.
                    let mut waiting = Box::pin(follower.next());
                    assert!(futures::poll!(&mut waiting).is_pending());
                    let begun = Instant::now();
                    file.write_all(b"a line\n").expect("room");
                    waiting.await.expect("a file");
                    taken += begun.elapsed();
                }
                taken
            })
        });
    });
    group.finish();
}

criterion_group!(benches, append, read, follow);
criterion_main!(benches);
