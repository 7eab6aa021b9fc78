//! A store as an earlier build wrote it opens for ever: `data/formats/v1`, `data/formats/v2` (lines are
//! summed), `data/formats/v5` (blocks are in segments).
//!
//! `MAKE_FORMATS_STORE=v2` writes it anew; that is for a new version's folder, never for an old one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tasktail::model::limits::Limits;
use tasktail::model::{
    Channel, IntegrityState, LineChecksum, LineText, ReportedTotals, Task, TaskId, TaskStatus, Timestamp,
};
use tasktail::tasks::{
    EndRequest, LineBatch, PageLimits, SessionSeq, TaskDescription, TaskHandle, Tasks, TasksOptions,
};

const RUNNING_LINES: u64 = 2_600;
const SEALED_LINES: u64 = 300;
const WINDOW_LINES: u64 = 100;

fn folder_of(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/formats").join(version).join("store")
}

/// Tasks of the past must not expire under the test.
fn options() -> TasksOptions {
    let journal_expiry = Duration::from_secs(1_000 * 365 * 24 * 3600);
    let limits = Limits { live_window_lines: WINDOW_LINES, journal_expiry, ..Limits::default() };
    TasksOptions { limits, ..TasksOptions::default() }
}

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn text(n: u64) -> String {
    match n {
        7 => "seven: \u{1b}[31mred\u{1b}[0m and 😀".to_owned(),
        n => format!("line {n}"),
    }
}

fn channel(n: u64) -> Channel {
    if n.is_multiple_of(5) { Channel::Stderr } else { Channel::Stdout }
}

fn timestamp(n: u64) -> Timestamp {
    Timestamp::from_millis(1_778_336_581_000 + n)
}

fn line(n: u64) -> LineText<'static> {
    LineText { timestamp: timestamp(n), channel: channel(n), partial: n == 9, lossy: n == 11, text: text(n).into() }
}

/// What a worker says that has sent lines 1 to `last`.
fn said(last: u64) -> ReportedTotals {
    let (mut sum, mut buffer) = (LineChecksum::default(), Vec::new());
    (1..=last).for_each(|n| sum.add(n, 0, &line(n), &mut buffer));
    ReportedTotals { lines: Some(last), sum: Some(sum) }
}

fn batch(session: &str, first: u64, last: u64) -> LineBatch {
    let mut batch = LineBatch::with_session(session, first);
    for n in first..=last {
        batch.push(&line(n));
    }
    batch
}

async fn start(tasks: &Tasks, name: &str, session: &str) -> (TaskHandle, u64) {
    let facts = TaskDescription {
        id: id(name),
        session: session.into(),
        command: vec!["make".into(), "-j8".into()],
        host: Some("host-1".into()),
        labels: [("branch".into(), "main".into())].into(),
        started: Some(timestamp(0)),
    };
    tasks.start(facts).await.unwrap()
}

async fn until(tasks: &Tasks, what: impl Fn() -> bool) {
    let mut changes = tasks.changes();
    while !what() {
        // What is waited for does not always move the list, so it is looked at now and then too.
        tokio::time::timeout(Duration::from_millis(20), changes.changed()).await.ok();
    }
}

async fn write(data: &Path) {
    let tasks = Tasks::open(data, options()).await.unwrap();
    let (sealed, _) = start(&tasks, "build-1", "s1").await;
    sealed.append(batch("s1", 1, SEALED_LINES)).await.unwrap().await.unwrap();
    let end = EndRequest {
        exit_code: Some(3),
        at: Some(timestamp(999_000)),
        reported: said(SEALED_LINES),
        ..EndRequest::default()
    };
    sealed.end(EndRequest { session: Some(SessionSeq::new("s1", SEALED_LINES + 1)), ..end }).await.unwrap();
    until(&tasks, || sealed.details().artifact.is_some()).await;

    let (running, _) = start(&tasks, "42", "s2").await;
    running.append(batch("s2", 1, RUNNING_LINES - 1)).await.unwrap().await.unwrap();
    running.append(batch("s2", RUNNING_LINES, RUNNING_LINES)).await.unwrap().await.unwrap();
    until(&tasks, || data.join("archive/42.ndjson.zst.open").exists()).await;
    tasks.close().await;
}

/// sled's file is mostly zeros: kept packed. The rest is kept as it is.
fn keep(data: &Path, kept: &Path) {
    for entry in fs::read_dir(data).unwrap() {
        let (from, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        // Not before there is a file for it: git keeps no empty folders, and sled makes its own.
        fs::create_dir_all(kept).unwrap();
        if from.is_dir() {
            keep(&from, &kept.join(name));
        } else if name == "db" {
            fs::write(kept.join("db.zst"), zstd::encode_all(fs::File::open(from).unwrap(), 19).unwrap()).unwrap();
        } else {
            fs::copy(from, kept.join(name)).unwrap();
        }
    }
}

fn unpack(kept: &Path, data: &Path) {
    fs::create_dir_all(data).unwrap();
    for entry in fs::read_dir(kept).unwrap() {
        let (from, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if from.is_dir() {
            unpack(&from, &data.join(name));
        } else if name == "db.zst" {
            fs::write(data.join("db"), zstd::decode_all(fs::File::open(from).unwrap()).unwrap()).unwrap();
        } else {
            fs::copy(from, data.join(name)).unwrap();
        }
    }
}

/// Every line as it was written, wherever it is kept by now.
async fn check_lines(task: &TaskHandle, count: u64) {
    let mut next = 1;
    while next <= count {
        let page = task.read(next, PageLimits::default()).await.unwrap();
        assert!(page.gap.is_none() && !page.lines.is_empty(), "line {next} is not there");
        for line in &page.lines {
            assert_eq!((line.n, line.line.as_ref(), line.channel), (next, text(next).as_str(), channel(next)));
            assert_eq!((line.partial, line.lossy, line.timestamp), (next == 9, next == 11, timestamp(next)));
            next += 1;
        }
    }
    assert_eq!(next, count + 1);
}

fn check_facts(facts: &Task, lines: u64, status: TaskStatus) {
    assert_eq!((facts.lines, facts.first_line, facts.last_line, facts.status), (lines, 1, lines, status));
    // A newline each, but for the line that goes on.
    let bytes = (1..=lines).map(|n| text(n).len() as u64 + u64::from(n != 9)).sum::<u64>();
    assert_eq!(facts.bytes, bytes);
    assert_eq!((facts.command.join(" ").as_str(), facts.host.as_deref()), ("make -j8", Some("host-1")));
    assert_eq!(facts.labels, [("branch".to_owned(), "main".to_owned())].into());
    assert_eq!(facts.started, Some(timestamp(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_every_version_opens_with_all_that_is_in_it() {
    if let Ok(version) = std::env::var("MAKE_FORMATS_STORE") {
        let fresh = tempfile::tempdir().unwrap();
        write(fresh.path()).await;
        keep(fresh.path(), &folder_of(&version));
    }
    // The first version knew nothing of sums.
    check_store("v1", IntegrityState::Unknown).await;
    check_store("v2", IntegrityState::Complete).await;
    check_store("v5", IntegrityState::Complete).await;
}

async fn check_store(version: &str, integrity: IntegrityState) {
    let folder = tempfile::tempdir().unwrap();
    unpack(&folder_of(version), folder.path());
    let verified = tasktail::tasks::verify(folder.path(), &mut |_, _| {}).unwrap();
    assert_eq!((verified.faults, verified.tasks, verified.archives), (Vec::new(), 2, 2), "{version}");
    let tasks = Tasks::open(folder.path(), options()).await.unwrap();
    assert_eq!(tasks.stats().tasks, 2, "it was opened, not begun anew");

    let sealed = tasks.get(&id("build-1")).await.unwrap().unwrap();
    let facts = sealed.details();
    check_facts(&facts, SEALED_LINES, TaskStatus::Completed);
    assert_eq!((facts.exit_code, facts.ended), (Some(3), Some(timestamp(999_000))));
    let file = fs::read(folder.path().join("archive/build-1.ndjson.zst")).unwrap();
    let artifact = facts.artifact.unwrap();
    let sha256: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((artifact.bytes, artifact.sha256), (file.len() as u64, sha256));
    check_lines(&sealed, SEALED_LINES).await;
    let export: Vec<_> = sealed.export().try_collect().await.unwrap();
    assert!(export.concat() == zstd::decode_all(file.as_slice()).unwrap());
    assert_eq!(sealed.acked_seq("s1"), SEALED_LINES + 1);
    assert_eq!(sealed.details().integrity.unwrap().state, integrity, "{version}");

    let (running, acked) = start(&tasks, "42", "s2").await;
    assert_eq!(acked, RUNNING_LINES);
    check_facts(&running.details(), RUNNING_LINES, TaskStatus::Running);
    check_lines(&running, RUNNING_LINES).await;
    let more = batch("s2", RUNNING_LINES - 4, RUNNING_LINES + 10);
    let done = running.append(more).await.unwrap().await.unwrap();
    assert_eq!((done.first_line, done.count, done.acked_seq), (RUNNING_LINES + 1, 10, Some(RUNNING_LINES + 10)));
    let said = said(RUNNING_LINES + 10);
    let session = Some(SessionSeq::new("s2", RUNNING_LINES + 11));
    running.end(EndRequest { session, reported: said, ..EndRequest::default() }).await.unwrap();
    assert_eq!(running.details().integrity.unwrap().state, integrity, "{version}");
    until(&tasks, || running.details().artifact.is_some()).await;
    check_lines(&running, RUNNING_LINES + 10).await;
    tasks.close().await;
}
