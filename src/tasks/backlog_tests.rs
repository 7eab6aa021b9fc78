use std::path::Path;
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::model::limits::Limits;
use crate::model::{Channel, LineText, TaskStatus, Timestamp};
use crate::tasks::{EndOutcome, EndRequest, LineBatch, Tasks, TasksOptions};

const WINDOW: u64 = 200;
const BACKLOG: u64 = 2_500;

async fn open(folder: &Path) -> Tasks {
    let limits = Limits { live_window_lines: WINDOW, ..Limits::default() };
    let backlog = ArchiveBacklog { lines_max: BACKLOG };
    Tasks::open(folder, TasksOptions { limits, backlog, ..TasksOptions::default() }).await.unwrap()
}

async fn append(task: &TaskHandle, lines: u64) {
    let mut batch = LineBatch::new();
    for _ in 0..lines {
        let (timestamp, channel) = (Timestamp::now(), Channel::Stdout);
        batch.push(&LineText { timestamp, channel, text: "line".into(), ..LineText::default() });
    }
    task.append(batch).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_waits_for_the_archive_without_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let task = tasks.get_or_create(&"t".parse().unwrap()).await.unwrap();
    // Held for the first lines, so that at least one append waits.
    let held = task.inner.archive_lock.lock().await;
    append(&task, WINDOW + BACKLOG + 1).await;
    let waiting = tokio::spawn({
        let task = task.clone();
        async move { append(&task, 1).await }
    });
    let waits = async {
        while tasks.stats().archive_waits == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("an append waits");
    assert!(!waiting.is_finished());
    drop(held);
    waiting.await.unwrap();
    for _ in 0..12 {
        append(&task, 1_000).await;
        let waiting_lines = task.stream().unwrap().tip().len();
        assert!(waiting_lines <= WINDOW + BACKLOG + 1_000, "{waiting_lines} lines wait for the archive");
    }
    assert_eq!(task.details().lines, WINDOW + BACKLOG + 2 + 12_000);
}

#[tokio::test]
async fn an_append_waits_as_long_as_the_archive_makes_progress() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let task = tasks.get_or_create(&"t".parse().unwrap()).await.unwrap();
    let _held = task.inner.archive_lock.lock().await;
    append(&task, WINDOW + BACKLOG + 1).await;
    tokio::time::pause();
    let step = BACKLOG_TIMEOUT - Duration::from_secs(1);
    let mut waiting = Box::pin(task.wait_for_archive());
    for _ in 0..5 {
        assert!(waiting.as_mut().now_or_never().is_none());
        tasks.inner.archive_steps.fetch_add(1, Ordering::AcqRel);
        tokio::time::advance(step).await;
    }
    // Without progress it ends, also for a task that has failed while others are archived.
    task.inner.archive_failed.store(true, Ordering::Release);
    for _ in 0..2 {
        assert!(waiting.as_mut().now_or_never().is_none());
        tokio::time::advance(step).await;
    }
    tasks.inner.archive_steps.fetch_add(1, Ordering::AcqRel);
    let mut ended = None;
    for _ in 0..3 {
        ended = ended.or_else(|| waiting.as_mut().now_or_never());
        tasks.inner.archive_steps.fetch_add(1, Ordering::AcqRel);
        tokio::time::advance(step).await;
    }
    let error = ended.expect("it waits without progress").unwrap_err();
    assert!(error.to_string().contains("nothing of task t was archived for 10 s"), "{error}");
}

#[tokio::test]
async fn an_append_that_waits_ends_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let task = tasks.get_or_create(&"t".parse().unwrap()).await.unwrap();
    let held = task.inner.archive_lock.lock().await;
    append(&task, WINDOW + BACKLOG + 1).await;
    let mut waiting = Box::pin(task.wait_for_archive());
    assert!(waiting.as_mut().now_or_never().is_none());
    tasks.inner.closing.cancel();
    assert!(matches!(waiting.await, Err(TasksError::Closed)));
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_waits_while_too_many_tasks_wait_for_their_archive() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { seal_backlog_max: 2, ..Limits::default() };
    let tasks = Tasks::open(folder.path(), TasksOptions { limits, ..TasksOptions::default() }).await.unwrap();
    // No seal completes while a backup is being made.
    let held = tasks.inner.backup.archives.clone().write_owned().await;
    let started = async |n: u32| {
        let task = tasks.get_or_create(&format!("t{n}").parse().unwrap()).await.unwrap();
        append(&task, 1).await;
        task
    };
    for n in 1..=2 {
        let end = started(n).await.end(EndRequest::default()).await;
        assert_eq!(end.unwrap(), EndOutcome::Ended, "there is room for two");
    }
    let task = started(3).await;
    let third = tokio::spawn(async move { task.end(EndRequest::default()).await });
    let waits = async {
        while tasks.options().hits.get(Limit::seal_backlog_max) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("the third waits");
    assert!(!third.is_finished());
    let task = tasks.get(&"t3".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(task.details().status, TaskStatus::Completed, "its end is durable meanwhile");
    drop(held);
    assert_eq!(third.await.unwrap().unwrap(), EndOutcome::Ended);
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_do_not_wait_again_for_seals_that_stand_still() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { seal_backlog_max: 1, ..Limits::default() };
    let tasks = Tasks::open(folder.path(), TasksOptions { limits, ..TasksOptions::default() }).await.unwrap();
    // No seal completes while a backup is being made.
    let held = tasks.inner.backup.archives.clone().write_owned().await;
    // As if an end had waited as long as it may.
    tasks.inner.seals_stalled.store(true, Ordering::Release);
    for n in 1..=3 {
        let task = tasks.get_or_create(&format!("t{n}").parse().unwrap()).await.unwrap();
        append(&task, 1).await;
        let end = tokio::time::timeout(BACKLOG_TIMEOUT / 2, task.end(EndRequest::default())).await;
        assert_eq!(end.expect("it does not wait").unwrap(), EndOutcome::Ended);
    }
    drop(held);
    let sealed = async {
        while !tasks.inner.open.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), sealed).await.expect("all are sealed");
    tasks.close().await;
    assert_eq!(tasks.inner.seal_backlog.available_permits(), 1, "the place is free again");
    assert!(!tasks.inner.seals_stalled.load(Ordering::Acquire), "the next end waits again");
}
