//! A task behind a key of the Redis port: it comes with its first entry, ends with its key, and is
//! opened again by a later entry; what leaves the key stays in the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tasktail::model::limits::Limits;
use tasktail::model::{ByteStr, Channel, EntryFields, EntryId, LineText, Task, TaskId, TaskStatus, Timestamp};
use tasktail::tasks::keys::{IdRange, KeyReader, NewId, Transaction, Trim};
use tasktail::tasks::{EndRequest, LineBatch, PageLimits, TaskHandle, Tasks, TasksError, TasksOptions};
use tokio::sync::oneshot;

const KEY: &[u8] = b"task:logs:42";
const DEADLINE: Duration = Duration::from_secs(20);

async fn open(folder: &Path) -> Tasks {
    Tasks::open(
        folder,
        TasksOptions { limits: Limits { live_window_lines: 1_000, ..Limits::default() }, ..TasksOptions::default() },
    )
    .await
    .unwrap()
}

async fn task(tasks: &Tasks) -> TaskHandle {
    tasks.get(&"42".parse::<TaskId>().unwrap()).await.unwrap().expect("the task is there")
}

async fn run<T: Send + 'static>(tasks: &Tasks, job: impl FnOnce(&mut Transaction<'_>) -> T + Send + 'static) -> T {
    let room = tasks.reserve(1).await.unwrap();
    let (reply, answer) = oneshot::channel();
    tasks.submit(room, move |keys| {
        let done = job(keys);
        Box::new(move |failed| {
            assert!(failed.is_none());
            reply.send(done).ok();
        })
    });
    tokio::time::timeout(DEADLINE, answer).await.expect("the job hangs").unwrap()
}

fn fields(n: u64) -> EntryFields<'static> {
    let text = |text: String| ByteStr(text.into_bytes().into());
    let field = |name: &'static str| ByteStr::from(name);
    vec![(field("line"), text(format!("line {n}"))), (field("stream"), text("stderr".to_owned()))]
}

/// Adds lines as XADD does, with `MAXLEN ~ 100` behind each.
async fn add(tasks: &Tasks, numbers: std::ops::RangeInclusive<u64>) -> Result<(), TasksError> {
    let task = Arc::new(tasks.key_task(KEY).await?.expect("a task's key"));
    let admitted = Arc::clone(&task);
    run(tasks, move |keys| {
        for n in numbers {
            admitted.admit(10)?;
            keys.add(KEY, NewId::Auto, fields(n)).unwrap();
            keys.trim(KEY, Trim::AboutMaxLen(100, 0)).unwrap();
        }
        Ok::<(), TasksError>(())
    })
    .await?;
    task.mark_active();
    Ok(())
}

/// What the log holds, by its numbers.
async fn log(tasks: &Tasks) -> Vec<u64> {
    let (task, mut found, mut next) = (task(tasks).await, Vec::new(), 1);
    loop {
        let page = task.read(next, PageLimits::default()).await.unwrap();
        let Some(last) = page.lines.last() else { return found };
        next = last.n + 1;
        found.extend(page.lines.iter().map(|line| line.line.trim_start_matches("line ").parse::<u64>().unwrap_or(0)));
    }
}

async fn until(tasks: &Tasks, what: &str, is: impl Fn(&Task) -> bool) -> Task {
    let waited = async {
        let mut changes = tasks.changes();
        loop {
            changes.mark_unchanged();
            let facts = task(tasks).await.details();
            if is(&facts) {
                return facts;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn remove_key(tasks: &Tasks) -> bool {
    run(tasks, |keys| keys.remove(KEY).unwrap()).await
}

#[tokio::test]
async fn a_task_ends_with_its_key_and_an_entry_opens_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    add(&tasks, 1..=3_000).await.unwrap();
    let facts = task(&tasks).await.details();
    assert_eq!((facts.status, facts.lines, facts.artifact), (TaskStatus::Running, 3_000, None));
    let len = tasks.snapshot().metadata(KEY).unwrap().unwrap().len;
    assert!((100..200).contains(&len), "{len}");
    assert_eq!(log(&tasks).await, (1..=3_000).collect::<Vec<_>>());

    assert!(remove_key(&tasks).await);
    assert!(tasks.snapshot().metadata(KEY).unwrap().is_none());
    let facts = until(&tasks, "it is sealed", |task| task.artifact.is_some()).await;
    assert_eq!((facts.status, facts.exit_code), (TaskStatus::Completed, None));
    assert_eq!(log(&tasks).await, (1..=3_000).collect::<Vec<_>>());

    add(&tasks, 3_001..=3_010).await.unwrap();
    let facts = task(&tasks).await.details();
    assert_eq!((facts.status, facts.lines, facts.artifact), (TaskStatus::Running, 3_010, None));
    assert_eq!(tasks.snapshot().metadata(KEY).unwrap().unwrap().len, 10);
    assert_eq!(log(&tasks).await, (1..=3_010).collect::<Vec<_>>());
    tasks.close().await;
    drop(tasks);

    let tasks = open(folder.path()).await;
    assert_eq!(log(&tasks).await, (1..=3_010).collect::<Vec<_>>());
    assert!(remove_key(&tasks).await);
    until(&tasks, "it is sealed again", |task| task.artifact.is_some()).await;
    assert_eq!(log(&tasks).await, (1..=3_010).collect::<Vec<_>>());
    tasks.close().await;
}

#[tokio::test]
async fn a_task_with_an_announced_end_rejects_entries() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    add(&tasks, 1..=2).await.unwrap();
    task(&tasks).await.end(EndRequest { exit_code: Some(3), ..EndRequest::default() }).await.unwrap();
    assert!(matches!(add(&tasks, 3..=3).await, Err(TasksError::Ended(_))));
    until(&tasks, "it is sealed", |task| task.artifact.is_some()).await;
    assert!(matches!(add(&tasks, 3..=3).await, Err(TasksError::Ended(_))));
    assert!(tasks.snapshot().metadata(KEY).unwrap().is_none());
    assert_eq!(log(&tasks).await, [1, 2]);
    tasks.close().await;
}

#[tokio::test]
async fn an_expired_key_ends_its_task_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    add(&tasks, 1..=5).await.unwrap();
    run(&tasks, |keys| {
        let soon = Timestamp::from_millis(keys.now().as_millis() + 50);
        assert!(keys.expire(KEY, Some(soon)).unwrap());
    })
    .await;
    let facts = until(&tasks, "it is sealed", |task| task.artifact.is_some()).await;
    assert_eq!(facts.status, TaskStatus::Lost);
    assert!(tasks.snapshot().metadata(KEY).unwrap().is_none());
    assert_eq!(log(&tasks).await, [1, 2, 3, 4, 5]);
    add(&tasks, 6..=6).await.unwrap();
    assert_eq!(log(&tasks).await, [1, 2, 3, 4, 5, 6]);
    tasks.close().await;
}

#[tokio::test]
async fn deleting_the_key_of_a_task_with_a_worker_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let id = "42".parse::<TaskId>().unwrap();
    let handle = tasks.get_or_create(&id).await.unwrap();
    let guard = handle.attach();
    let append = async |n: u64| {
        let mut batch = LineBatch::new();
        let text = format!("line {n}").into();
        let timestamp = Timestamp::now();
        batch.push(&LineText { timestamp, channel: Channel::Stdout, partial: false, lossy: false, text });
        handle.append(batch).await.unwrap().await.unwrap();
    };
    append(1).await;
    let all = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: 10, reverse: false };
    let mut found = Vec::new();
    tasks
        .snapshot()
        .range(KEY, all, &mut |entry| {
            found.extend(entry.body.to_fields().iter().map(|(name, value)| format!("{name}={value}")));
        })
        .unwrap();
    assert_eq!((found[0].as_str(), found[2].as_str()), ("line=line 1", "stream=stdout"));
    assert!(remove_key(&tasks).await);
    append(2).await;
    assert_eq!(tasks.snapshot().metadata(KEY).unwrap().unwrap().len, 1);
    assert_eq!(task(&tasks).await.details().status, TaskStatus::Running);
    assert_eq!(log(&tasks).await, [1, 2]);
    drop(guard);
    tasks.close().await;
}
