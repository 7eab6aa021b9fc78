//! A task's life without a server: what a reader sees before, during and after the seal, and after a kill.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use tasktail::journal::{Durability, Journal};
use tasktail::model::limits::Limits;
use tasktail::model::{Channel, LineText, Task, TaskId, TaskStatus, Timestamp};
use tasktail::tasks::{
    EndOutcome, EndRequest, FollowEvent, FollowStart, LineBatch, PageLimits, SessionSeq, TaskDescription, TaskHandle,
    Tasks, TasksError, TasksOptions,
};

fn options() -> TasksOptions {
    with(Limits::default())
}

fn with(limits: Limits) -> TasksOptions {
    TasksOptions { limits: Limits { live_window_lines: 1_000, ..limits }, ..TasksOptions::default() }
}

async fn open(folder: &Path) -> Tasks {
    Tasks::open(folder, options()).await.unwrap()
}

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn batch_of(mut batch: LineBatch, numbers: impl Iterator<Item = u64>) -> LineBatch {
    for n in numbers {
        batch.push(&line(&format!("line {n}")));
    }
    batch
}

fn line(text: &str) -> LineText<'_> {
    LineText { timestamp: Timestamp::now(), channel: Channel::Stdout, partial: false, lossy: false, text: text.into() }
}

async fn append(task: &TaskHandle, from: u64, to: u64) {
    task.append(batch_of(LineBatch::new(), from..=to)).await.unwrap().await.unwrap();
}

/// Follows to the end; panics if a line is missing, doubled or out of order.
async fn follow_all(task: &TaskHandle, start: u64) -> (u64, Task) {
    let mut follower = task.follow(FollowStart::From(start));
    let mut next = start;
    loop {
        match tokio::time::timeout(Duration::from_secs(20), follower.next()).await.expect("the follower hangs").unwrap()
        {
            Some(FollowEvent::Page(page)) => {
                assert_eq!(page.gap, None);
                for line in &page.lines {
                    assert_eq!(line.n, next);
                    assert_eq!(line.line, format!("line {next}"));
                    next += 1;
                }
            }
            Some(FollowEvent::End { task, .. }) => return (next - 1, task),
            Some(_) => {}
            None => panic!("it ended without an end"),
        }
    }
}

async fn sealed(tasks: &Tasks, id: &TaskId) -> TaskHandle {
    let mut changes = tasks.changes();
    loop {
        let task = tasks.get(id).await.unwrap().unwrap();
        if task.details().artifact.is_some() {
            return task;
        }
        tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.expect("it is never sealed").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_never_sees_the_seam() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let task = tasks.get_or_create(&id("42")).await.unwrap();
    let early = tokio::spawn({
        let task = task.clone();
        async move { follow_all(&task, 1).await }
    });
    for step in 0..60 {
        append(&task, step * 500 + 1, step * 500 + 500).await;
    }
    let late = tokio::spawn({
        let task = task.clone();
        async move { follow_all(&task, 5).await }
    });
    assert_eq!(task.end(EndRequest { exit_code: Some(3), ..EndRequest::default() }).await.unwrap(), EndOutcome::Ended);
    assert_eq!(
        task.end(EndRequest { exit_code: Some(0), ..EndRequest::default() }).await.unwrap(),
        EndOutcome::AlreadyEnded
    );
    assert!(matches!(task.append(batch_of(LineBatch::new(), 1..=1)).await, Err(TasksError::Ended(_))));
    for (last, facts) in
        [early.await.unwrap(), late.await.unwrap(), follow_all(&sealed(&tasks, &id("42")).await, 1).await]
    {
        assert_eq!((last, facts.exit_code, facts.status), (30_000, Some(3), TaskStatus::Completed));
    }
    let task = sealed(&tasks, &id("42")).await;
    let facts = task.details();
    assert_eq!((facts.lines, facts.first_line, facts.last_line, facts.trimmed_lines), (30_000, 1, 30_000, 0));
    let page = task.read(29_999, PageLimits { lines: 10, bytes: 10_000 }).await.unwrap();
    assert_eq!(page.lines.iter().map(|line| line.n).collect::<Vec<_>>(), [29_999, 30_000]);
    let export: Vec<_> = task.export().try_collect().await.unwrap();
    let exported = export.concat();
    let file = std::fs::File::open(folder.path().join("archive/42.ndjson.zst")).unwrap();
    assert!(zstd::decode_all(file).unwrap() == exported, "the export is what zstdcat prints");
    assert_eq!(exported.iter().filter(|byte| **byte == b'\n').count(), 30_000);
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_during_the_end_are_recognized() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    for round in 0..20 {
        let name = format!("t{round}");
        let task = tasks.get_or_create(&id(&name)).await.unwrap();
        let lines = || batch_of(LineBatch::with_session("s", 1), 1..=3);
        task.append(lines()).await.unwrap().await.unwrap();
        let end = || EndRequest { exit_code: Some(0), session: Some(SessionSeq::new("s", 4)), ..EndRequest::default() };
        let facts = TaskDescription {
            id: id(&name),
            session: "s".to_owned(),
            command: Vec::new(),
            host: None,
            labels: Default::default(),
            started: None,
        };
        // As by a worker whose connection broke before it heard: each is polled before the first is done.
        let (first, again, start, lines) = tokio::join!(task.end(end()), task.end(end()), tasks.start(facts), async {
            task.append(lines()).await.unwrap().await
        },);
        assert_eq!((first.unwrap(), again.unwrap()), (EndOutcome::Ended, EndOutcome::Repeated));
        assert!(start.unwrap().1 >= 3);
        assert_eq!(lines.unwrap().acked_seq.map(|seq| seq >= 3), Some(true));
        assert_eq!(task.end(EndRequest::default()).await.unwrap(), EndOutcome::AlreadyEnded);
    }
    tasks.close().await;
    drop(tasks);
    let tasks = open(folder.path()).await;
    for round in 0..20 {
        let task = tasks.get(&id(&format!("t{round}"))).await.unwrap().unwrap();
        assert_eq!(task.details().status, TaskStatus::Completed, "t{round}");
    }
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_store_continues_its_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let cursor = {
        let tasks = open(folder.path()).await;
        let task = tasks.get_or_create(&id("a")).await.unwrap();
        for step in 0..20 {
            append(&task, step * 400 + 1, step * 400 + 400).await;
        }
        let cursor = task.read(4_000, PageLimits { lines: 1, bytes: 1 }).await.unwrap().cursor;
        tasks.close().await;
        cursor
    };
    let tasks = open(folder.path()).await;
    let task = tasks.get(&id("a")).await.unwrap().unwrap();
    assert_eq!(task.details().lines, 8_000);
    append(&task, 8_001, 8_010).await;
    let mut follower = task.follow(FollowStart::After(cursor));
    assert!(matches!(follower.next().await.unwrap(), Some(FollowEvent::Open { .. })));
    let Some(FollowEvent::Page(page)) = follower.next().await.unwrap() else { panic!("a cursor outlives a restart") };
    assert_eq!(page.lines[0].n, 4_001);
    drop((follower, page));
    task.end(EndRequest::default()).await.unwrap();
    assert_eq!(follow_all(&task, 1).await.0, 8_010);
    sealed(&tasks, &id("a")).await;
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbered_lines_are_accepted_once_and_a_hole_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let facts = facts("n");
    let (task, acked) = tasks.start(facts.clone()).await.unwrap();
    assert_eq!(acked, 0);
    let send = async |first: u64, to: u64| {
        task.append(batch_of(LineBatch::with_session("s", first), first..=to)).await.unwrap().await.unwrap()
    };
    assert_eq!((send(1, 5).await.count, send(1, 5).await.count, send(4, 8).await.count), (5, 0, 3));
    let done = send(11, 12).await;
    assert_eq!((done.count, done.acked_seq), (3, Some(12)), "a line that tells of the hole, and two more");
    tasks.close().await;
    drop((task, tasks));

    let tasks = open(folder.path()).await;
    let (task, acked) = tasks.start(facts).await.unwrap();
    assert_eq!(acked, 12, "what was durable is known after a restart");
    let again = task.append(batch_of(LineBatch::with_session("s", 11), 11..=13)).await.unwrap().await.unwrap();
    assert_eq!((again.count, again.last_line), (1, 12));
    let page = task.read(1, PageLimits::default()).await.unwrap();
    let gaps: Vec<_> = page.lines.iter().filter_map(|line| line.gap()).collect();
    assert_eq!(gaps.iter().map(|gap| (gap.from, gap.count)).collect::<Vec<_>>(), [(9, 2)]);
    let end = EndRequest { exit_code: Some(0), session: Some(SessionSeq::new("s", 14)), ..EndRequest::default() };
    assert_eq!(task.end(end.clone()).await.unwrap(), EndOutcome::Ended);
    assert_eq!(task.end(end).await.unwrap(), EndOutcome::Repeated);
    let repeat = task.append(batch_of(LineBatch::with_session("s", 11), 11..=13)).await.unwrap().await.unwrap();
    assert_eq!((repeat.count, repeat.acked_seq), (0, Some(14)));
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_a_worker_becomes_lost_and_can_return() {
    let folder = tempfile::tempdir().unwrap();
    let tasks =
        Tasks::open(folder.path(), with(Limits { worker_grace: Duration::from_millis(20), ..Limits::default() }))
            .await
            .unwrap();
    let task = tasks.get_or_create(&id("l")).await.unwrap();
    let worker = task.attach();
    append(&task, 1, 3).await;
    assert!(task.details().live);
    drop(worker);
    let mut changes = tasks.changes();
    while task.details().status != TaskStatus::Lost {
        tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.expect("it is never lost").unwrap();
    }
    let page = task.read(4, PageLimits::default()).await.unwrap();
    assert_eq!(page.lines[0].channel, Channel::Internal);
    let _worker = task.attach();
    append(&task, 5, 6).await;
    assert_eq!(task.details().status, TaskStatus::Running);
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_task_is_sealed_after_its_expiry() {
    let folder = tempfile::tempdir().unwrap();
    let tasks =
        Tasks::open(folder.path(), with(Limits { journal_expiry: Duration::from_millis(50), ..Limits::default() }))
            .await
            .unwrap();
    let task = tasks.get_or_create(&id("e")).await.unwrap();
    append(&task, 1, 3).await;
    let task = sealed(&tasks, &id("e")).await;
    assert_eq!((task.details().status, follow_all(&task, 1).await.0), (TaskStatus::Lost, 3));
    let late = task.append(batch_of(LineBatch::new(), 4..=4)).await;
    assert!(matches!(late, Err(TasksError::Ended(_))), "{late:?}");
    tasks.start(facts("e")).await.unwrap();
    assert_eq!(task.details().status, TaskStatus::Lost, "a sealed log does not come to life again");
    tasks.close().await;
}

fn facts(task: &str) -> TaskDescription {
    TaskDescription {
        id: id(task),
        session: "s".into(),
        command: vec!["make".into()],
        host: None,
        labels: [("k".into(), "v".into())].into(),
        started: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_survive_a_lost_store_and_are_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let done = tasks.get_or_create(&id("done")).await.unwrap();
    append(&done, 1, 2_000).await;
    done.end(EndRequest { exit_code: Some(3), ..EndRequest::default() }).await.unwrap();
    let artifact = sealed(&tasks, &id("done")).await.details().artifact;
    let open_one = tasks.get_or_create(&id("open")).await.unwrap();
    append(&open_one, 1, 9_000).await;
    let file = folder.path().join("archive/open.ndjson.zst.open");
    tokio::time::timeout(Duration::from_secs(20), async {
        while zstd::decode_all(std::fs::read(&file).unwrap_or_default().as_slice()).map_or(0, |rows| rows.len()) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is never archived");
    tasks.close().await;
    drop((tasks, done, open_one));
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();

    let tasks = open(folder.path()).await;
    let query = tasktail::tasks::ListQuery { limit: 9, ..Default::default() };
    assert_eq!(tasks.list(&query).await.unwrap().tasks.len(), 2);
    let done = sealed(&tasks, &id("done")).await;
    let told = done.details();
    assert_eq!((told.status, told.exit_code, told.lines), (TaskStatus::Completed, None, 2_000));
    assert!(
        told.artifact == artifact && told.bytes == (1..=2_000).map(|n| format!("line {n}\n").len() as u64).sum::<u64>()
    );
    assert_eq!(follow_all(&done, 1).await.0, 2_000);
    assert!(matches!(done.append(batch_of(LineBatch::new(), 1..=1)).await, Err(TasksError::Ended(_))));
    let (task, _) = tasks.start(facts("open")).await.unwrap();
    let last = task.details().last_line;
    assert!(last > 1_000 && task.details().trimmed_lines == 0);
    append(&task, last + 1, last + 50).await;
    tasks.close().await;
    drop((tasks, task, done));

    let tasks = open(folder.path()).await;
    let task = tasks.get(&id("open")).await.unwrap().unwrap();
    task.end(EndRequest::default()).await.unwrap();
    assert_eq!(follow_all(&task, 1).await.0, last + 50, "new lines go on behind the archive's, also after a restart");
    let task = sealed(&tasks, &id("open")).await;
    assert_eq!(follow_all(&task, 1).await.0, last + 50);
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_left_beside_its_sealed_archive_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let task = tasks.get_or_create(&id("t")).await.unwrap();
    append(&task, 1, 10).await;
    task.end(EndRequest::default()).await.unwrap();
    sealed(&tasks, &id("t")).await;
    tasks.close().await;
    drop((tasks, task));
    let name = id("t").stream_key();
    let journal = Journal::open(&folder.path().join("journal"), Durability::Commit).unwrap();
    assert!(journal.names().unwrap().is_empty());
    let stream = journal.stream_or_new(name.as_bytes()).unwrap();
    journal.append(&stream, batch_of(LineBatch::new(), 1..=10), None).await.unwrap().await.unwrap();
    journal.close().await;
    drop((journal, stream));

    let tasks = open(folder.path()).await;
    assert_eq!(follow_all(&tasks.get(&id("t")).await.unwrap().unwrap(), 1).await.0, 10);
    tasks.close().await;
    drop(tasks);
    let journal = Journal::open(&folder.path().join("journal"), Durability::Commit).unwrap();
    assert!(journal.names().unwrap().is_empty(), "it takes no space any more");
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_newest_first_and_paged_and_removal_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    for n in 0..7 {
        let task = tasks.get_or_create(&id(&format!("t{n}"))).await.unwrap();
        append(&task, 1, 1).await;
        if n % 2 == 0 {
            task.end(EndRequest::default()).await.unwrap();
            sealed(&tasks, task.id()).await;
        }
    }
    let mut seen = Vec::new();
    let mut query = tasktail::tasks::ListQuery { limit: 3, ..Default::default() };
    loop {
        let page = tasks.list(&query).await.unwrap();
        seen.extend(page.tasks.iter().map(|task| task.created));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted_by(|a, b| a >= b));
    let running = tasktail::tasks::ListQuery {
        limit: 9,
        status: Some(tasktail::model::StatusFilter::Is(TaskStatus::Running)),
        ..Default::default()
    };
    assert_eq!(tasks.list(&running).await.unwrap().tasks.len(), 3);
    for n in ["t0", "t1"] {
        assert!(tasks.remove(&id(n)).await.unwrap());
        assert!(!tasks.remove(&id(n)).await.unwrap());
        assert!(tasks.get(&id(n)).await.unwrap().is_none());
    }
    assert!(!folder.path().join("archive/t0.ndjson.zst").exists());
    let anew = tasks.get_or_create(&id("t0")).await.unwrap();
    append(&anew, 1, 2).await;
    assert_eq!(anew.details().lines, 2, "line numbers of a removed task's successor begin at 1");
    tasks.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_removes_the_oldest_finished_tasks_and_no_running_one() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let running = tasks.get_or_create(&id("running")).await.unwrap();
    append(&running, 1, 1).await;
    for n in 0..5 {
        let task = tasks.get_or_create(&id(&format!("t{n}"))).await.unwrap();
        append(&task, 1, 1_000).await;
        task.end(EndRequest::default()).await.unwrap();
        sealed(&tasks, task.id()).await;
    }
    tasks.close().await;
    drop((running, tasks));
    for (retention, kept) in [
        (Limits { retention_age: Some(Duration::from_secs(3600)), ..Limits::default() }, 5),
        (Limits { retention_count: Some(3), ..Limits::default() }, 3),
        (Limits { retention_bytes: Some(1), ..Limits::default() }, 0),
    ] {
        let tasks = Tasks::open(folder.path(), with(retention.clone())).await.unwrap();
        let mut changes = tasks.changes();
        while tasks.stats().tasks != kept + 1 {
            tokio::time::timeout(Duration::from_secs(10), changes.changed())
                .await
                .expect("retention does nothing")
                .unwrap();
        }
        let all = tasktail::tasks::ListQuery { limit: 10, ..Default::default() };
        let left = tasks.list(&all).await.unwrap().tasks;
        let newest = (5 - kept..5).rev().map(|n| format!("t{n}")).chain(["running".to_owned()]);
        assert!(left.iter().map(|task| task.id.to_string()).eq(newest), "{retention:?}");
        let files = std::fs::read_dir(folder.path().join("archive")).unwrap().count();
        assert_eq!(files as u64, kept, "the archives of the others are gone");
        tasks.close().await;
    }
}
