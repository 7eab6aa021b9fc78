//! `commit_interval_min`: slow writers share commits, and a lone one does not wait.

use std::time::{Duration, Instant};

use tasktail::journal::{Journal, JournalOptions, LineBatch};
use tasktail::model::LineText;
use tasktail::model::limits::Limits;

const INTERVAL: Duration = Duration::from_millis(50);

fn line() -> LineBatch {
    let mut batch = LineBatch::new();
    batch.push(&LineText { text: "x".into(), ..LineText::default() });
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_share_a_commit_within_the_minimum_time() {
    const WRITERS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { commit_interval_min: Some(INTERVAL), ..Limits::default() };
    let journal = Journal::open_with(folder.path(), JournalOptions { limits, ..JournalOptions::default() }).unwrap();
    let commits = || journal.counters().commits.load(std::sync::atomic::Ordering::Relaxed);
    let (begun, before) = (Instant::now(), commits());
    let writers = (0..WRITERS).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let stream = journal.stream_or_new(format!("s{writer}").as_bytes()).unwrap();
            for _ in 0..5 {
                journal.append(&stream, line(), None).await.unwrap().await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let intervals = u64::try_from(begun.elapsed().as_millis() / INTERVAL.as_millis()).unwrap();
    let made = commits() - before;
    assert!(made <= intervals + 1, "{made} commits in {intervals} intervals");
    assert!(made >= 5, "each writer waits for its lines");
    for writer in 0..WRITERS {
        let stream = journal.stream(format!("s{writer}").as_bytes()).unwrap().unwrap();
        assert_eq!(stream.tip().last_line, 5);
    }
    journal.close().await;
}
