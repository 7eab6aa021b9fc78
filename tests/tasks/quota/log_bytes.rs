//! A log over its limit: head and tail are kept, the middle goes, and every reader is told.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use proptest::prelude::*;
use tasktail::model::limits::Limits;
use tasktail::model::{Channel, GapReason, Line, LineText, Task, TaskId, Timestamp};
use tasktail::tasks::{EndRequest, FollowEvent, FollowStart, LineBatch, LogPage, TaskHandle, Tasks, TasksOptions};

const DEADLINE: Duration = Duration::from_secs(60);

async fn open(folder: &Path, task_bytes_max: u64) -> Tasks {
    let limits = Limits { live_window_lines: 100, task_bytes_max: Some(task_bytes_max), ..Limits::default() };
    let options = TasksOptions { limits, ..TasksOptions::default() };
    Tasks::open(folder, options).await.unwrap()
}

/// A text of a line's own that zstd cannot make small.
pub(crate) fn text(n: u64) -> String {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("line {n} ");
    for _ in 0..6 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

async fn append(task: &TaskHandle, from: u64, to: u64) {
    let mut batch = LineBatch::new();
    for n in from..=to {
        let text = text(n).into();
        batch.push(&LineText { timestamp: Timestamp::now(), channel: Channel::Stdout, text, ..LineText::default() });
    }
    task.append(batch).await.unwrap().await.unwrap();
}

/// What a reader was given: every number once, as a line or within a gap.
#[derive(Debug, Default)]
struct Account {
    next: u64,
    lines: u64,
    gaps: Vec<(u64, u64)>,
    /// Lines since the last gap.
    since_gap: u64,
}

impl Account {
    fn from(line: u64) -> Self {
        Self { next: line, ..Self::default() }
    }

    fn page(&mut self, page: &LogPage) {
        if let Some(gap) = page.gap {
            assert_eq!(gap.reason, GapReason::Quota);
            assert_eq!((gap.from, gap.count, gap.marked), (self.next, gap.to - gap.from + 1, false));
            self.gaps.push((gap.from, gap.to));
            (self.next, self.since_gap) = (gap.to + 1, 0);
        }
        page.lines.iter().for_each(|line| self.line(line));
    }

    fn line(&mut self, line: &Line<'_>) {
        assert_eq!(line.n, self.next, "a line is missing, or comes twice: {self:?}");
        assert_eq!(line.line, text(line.n));
        self.next += 1;
        self.lines += 1;
        self.since_gap += 1;
    }

    fn missing(&self) -> u64 {
        self.gaps.iter().map(|(from, to)| to - from + 1).sum()
    }
}

/// Follows to the end of the task.
async fn follow(task: &TaskHandle, from: u64) -> (Account, Task) {
    let mut account = Account::from(from);
    let mut follower = task.follow(FollowStart::From(from));
    loop {
        let event = tokio::time::timeout(DEADLINE, follower.next()).await.expect("the follower hangs").unwrap();
        match event {
            Some(FollowEvent::Page(page)) => account.page(&page),
            Some(FollowEvent::End { task, .. }) => return (account, task),
            Some(_) => {}
            None => panic!("it ended without an end"),
        }
    }
}

/// Reads what is there now.
async fn read(task: &TaskHandle) -> Account {
    let mut account = Account::from(1);
    loop {
        let page = task.read(account.next, tasktail::tasks::PageLimits::default()).await.unwrap();
        if page.is_empty() {
            return account;
        }
        account.page(&page);
    }
}

async fn sealed(tasks: &Tasks, id: &TaskId) -> TaskHandle {
    let mut changes = tasks.changes();
    loop {
        let task = tasks.get(id).await.unwrap().unwrap();
        if task.details().artifact.is_some() {
            return task;
        }
        tokio::time::timeout(DEADLINE, changes.changed()).await.expect("it is never sealed").unwrap();
    }
}

/// Head, one gap, tail; the newest lines are there, and the facts say how many are not.
fn check(account: &Account, facts: &Task, lines: u64, newest: u64) {
    assert_eq!(account.next - 1, lines);
    assert_eq!(account.lines + account.missing(), lines);
    assert!(account.gaps.len() <= 1, "{account:?}");
    if let Some((from, _)) = account.gaps.first() {
        assert!(*from > 1, "the head is kept");
        assert!(account.since_gap >= newest.min(lines), "the newest lines are kept: {account:?}");
    }
    assert_eq!((facts.lines, facts.first_line, facts.last_line), (lines, 1, lines));
    assert_eq!(facts.trimmed_lines, account.missing());
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_tail_are_kept_and_readers_get_a_gap_for_the_middle() {
    const MAX: u64 = 400_000;
    const LINES: u64 = 30_000;
    let folder = tempfile::tempdir().unwrap();
    let id: TaskId = "noisy".parse().unwrap();
    let file = folder.path().join("archive/noisy.ndjson.zst");
    {
        let tasks = open(folder.path(), MAX).await;
        let task = tasks.get_or_create(&id).await.unwrap();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let task = task.clone();
                tokio::spawn(async move { follow(&task, 1).await.0 })
            })
            .collect();
        for step in 0..LINES / 500 {
            append(&task, step * 500 + 1, step * 500 + 500).await;
        }
        let before = read(&task).await;
        assert_eq!(before.next - 1, LINES);
        task.end(EndRequest::default()).await.unwrap();
        for reader in readers {
            let account = reader.await.unwrap();
            assert_eq!((account.next - 1, account.lines + account.missing()), (LINES, LINES));
        }
        let task = sealed(&tasks, &id).await;
        let bytes = task.details().artifact.unwrap().bytes;
        assert!(bytes <= MAX + 32 * 1024, "{bytes}");
        assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes);
        assert_eq!(tasks.stats().archive_bytes, bytes);
        assert!(tasks.stats().quota_lines > 0);
        let (account, facts) = follow(&task, 1).await;
        assert_eq!(account.gaps.len(), 1);
        check(&account, &facts, LINES, 500);
        assert_eq!(tasks.stats().quota_lines, account.missing());
        tasks.close().await;
    }
    let tasks = open(folder.path(), MAX).await;
    let task = tasks.get(&id).await.unwrap().unwrap();
    let (account, facts) = follow(&task, 1).await;
    check(&account, &facts, LINES, 500);
    let (from, to) = account.gaps[0];

    // From within the gap, and in the middle of what is left.
    assert_eq!(follow(&task, from + 10).await.0.gaps, [(from + 10, to)]);
    assert!(follow(&task, to + 1).await.0.gaps.is_empty());

    let export: Vec<_> = task.export().try_collect().await.unwrap();
    let rows: Vec<serde_json::Value> = export
        .concat()
        .split(|byte| *byte == b'\n')
        .filter(|row| !row.is_empty())
        .map(|row| serde_json::from_slice(row).unwrap())
        .collect();
    let told: Vec<_> = rows.iter().filter(|row| row["gap"].is_object()).collect();
    assert_eq!(told.len(), 1, "one row stands in its place");
    assert_eq!(told[0]["n"], from);
    assert_eq!(told[0]["line"], format!("[{} lines over the limit of a task's log]", to - from + 1));
    assert_eq!(told[0]["gap"], serde_json::json!({"from":from,"to":to,"reason":"quota","count":to - from + 1}));
    let numbers = rows.iter().map(|row| row["n"].as_u64().unwrap());
    assert!(numbers.eq((1..=from).chain(to + 1..=LINES)));

    let plain = zstd::decode_all(std::fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(plain.iter().filter(|byte| **byte == b'\n').count() as u64, account.lines, "zstdcat reads it");
    tasks.close().await;
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Reopen(u64),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..4_000).prop_map(Step::Append),
        2 => (60_000u64..500_000).prop_map(Step::Reopen),
        1 => Just(Step::Look),
    ];
    proptest::collection::vec(step, 4..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_delivered_or_told_once(steps in steps(), limit in 60_000u64..500_000) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let id: TaskId = "t".parse().unwrap();
            let (mut tasks, mut lines) = (open(folder.path(), limit).await, 0);
            let mut task = tasks.get_or_create(&id).await.unwrap();
            for step in steps {
                match step {
                    Step::Append(count) => {
                        append(&task, lines + 1, lines + count).await;
                        lines += count;
                    }
                    Step::Reopen(limit) => {
                        tasks.close().await;
                        drop((task, tasks));
                        tasks = open(folder.path(), limit).await;
                        task = tasks.get_or_create(&id).await.unwrap();
                    }
                    Step::Look => assert_eq!(read(&task).await.next - 1, lines),
                }
            }
            task.end(EndRequest::default()).await.unwrap();
            let task = sealed(&tasks, &id).await;
            let (account, facts) = follow(&task, 1).await;
            check(&account, &facts, lines, 100);
            tasks.close().await;
        });
    }
}
