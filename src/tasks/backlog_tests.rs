use std::path::Path;
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::model::limits::Limits;
use crate::model::{Channel, LineText, Timestamp};
use crate::tasks::{LineBatch, Tasks, TasksOptions};

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
