use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use futures::poll;

use super::*;
use crate::model::{ByteStr, Channel, EntryFields, LineText};
use crate::tasks::keys::{NewId, Transaction};
use crate::tasks::{LineBatch, PageLimits, TaskDescription, Tasks, TasksOptions};

const KEY: &[u8] = b"task:logs:42";
const DEADLINE: Duration = Duration::from_secs(20);

async fn open(folder: &Path) -> Tasks {
    Tasks::open(folder, TasksOptions::default()).await.unwrap()
}

/// Nothing is committed until the sender is dropped.
async fn pause_commits(tasks: &Tasks) -> mpsc::Sender<()> {
    let permit = tasks.reserve(1).await.unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (pausing, paused) = oneshot::channel();
    tasks.submit(permit, move |_| {
        pausing.send(()).unwrap();
        released.recv().unwrap_err();
        Box::new(|_| {})
    });
    paused.await.unwrap();
    release
}

async fn transact<T: Send + 'static>(
    tasks: &Tasks,
    work: impl FnOnce(&mut Transaction<'_>) -> T + Send + 'static,
) -> T {
    let permit = tasks.reserve(1).await.unwrap();
    let (reply, done) = oneshot::channel();
    tasks.submit(permit, move |keys| {
        let done = work(keys);
        Box::new(move |failed| {
            assert!(failed.is_none());
            reply.send(done).ok();
        })
    });
    done.await.unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("the state is reached");
}

/// Lines with the numbers `first` to `last` of session `s`.
fn numbered(first: u64, last: u64) -> LineBatch {
    let mut batch = LineBatch::with_session("s", first);
    for n in first..=last {
        let (timestamp, channel) = (Timestamp::now(), Channel::Stdout);
        batch.push(&LineText { timestamp, channel, text: format!("line {n}").into(), ..LineText::default() });
    }
    batch
}

async fn texts(task: &TaskHandle) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), 1);
    loop {
        let page = task.read(next, PageLimits::default()).await.unwrap();
        let Some(last) = page.lines.last() else { return found };
        next = last.n + 1;
        found.extend(page.lines.iter().map(|line| line.line.to_string()));
    }
}

fn description() -> TaskDescription {
    let (command, labels) = (Vec::new(), std::collections::BTreeMap::new());
    TaskDescription { id: "42".parse().unwrap(), session: "s".to_owned(), command, host: None, labels, started: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_sent_again_during_the_end_are_acknowledged_once_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let (task, _) = tasks.start(description()).await.unwrap();
    let paused = pause_commits(&tasks).await;
    let first = task.append(numbered(1, 3)).await.unwrap();
    let end = EndRequest { session: Some(SessionSeq::new("s", 4)), ..EndRequest::default() };
    let ending = tokio::spawn({
        let task = task.clone();
        async move { task.end(end).await }
    });
    until(|| task.inner.state.lock().ending).await;
    let (mut again, mut late) = (Box::pin(task.append(numbered(1, 3))), Box::pin(task.append(numbered(3, 6))));
    let mut reconnect = Box::pin(tasks.start(description()));
    assert!(poll!(&mut again).is_pending(), "not decided while the end is not durable");
    assert!(poll!(&mut late).is_pending());
    assert!(poll!(&mut reconnect).is_pending());
    drop(paused);
    assert_eq!(first.await.unwrap().acked_seq, Some(3));
    assert_eq!(ending.await.unwrap().unwrap(), EndOutcome::Ended);
    let again = again.await.unwrap().await.unwrap();
    assert_eq!((again.count, again.acked_seq), (0, Some(4)));
    assert!(matches!(late.await, Err(TasksError::Ended(_))), "a line that came after the end is new");
    assert_eq!(reconnect.await.unwrap().1, 4, "a worker that reconnects has nothing to send");
    assert_eq!(texts(&task).await, ["line 1", "line 2", "line 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_wait_for_a_seal_that_does_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    let task = tasks.get_or_create(&"42".parse().unwrap()).await.unwrap();
    let held = task.hold_appends(|_| true).expect("the task is open");
    let mut append = Box::pin(task.append(numbered(1, 2)));
    assert!(poll!(&mut append).is_pending());
    assert!(task.hold_appends(|_| true).is_none(), "held once");
    drop(held);
    assert_eq!(append.await.unwrap().await.unwrap().count, 2);
    assert_eq!(texts(&task).await, ["line 1", "line 2"]);
}

async fn add_entry(tasks: &Tasks, text: &'static str) {
    let writer = tasks.key_task(KEY).await.unwrap().expect("the key is that of a task");
    let added = transact(tasks, move |keys| {
        writer.admit(10)?;
        let fields: EntryFields<'_> = vec![(ByteStr::from("line"), ByteStr::from(text))];
        keys.add(KEY, NewId::Auto, fields).unwrap();
        Ok::<_, TasksError>(writer)
    });
    added.await.unwrap().mark_active();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_during_the_end_of_a_deleted_key_opens_the_task_anew() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path()).await;
    add_entry(&tasks, "before").await;
    let task = tasks.get(&"42".parse().unwrap()).await.unwrap().unwrap();
    let held = tasks.key_task(KEY).await.unwrap();
    transact(&tasks, |keys| assert!(keys.remove(KEY).unwrap())).await;
    let paused = pause_commits(&tasks).await;
    drop(held);
    let ending = tokio::spawn({
        let task = task.clone();
        async move { task.end_with_key().await }
    });
    until(|| task.inner.state.lock().ending).await;
    let mut writer = Box::pin(tasks.key_task(KEY));
    assert!(poll!(&mut writer).is_pending());
    drop(paused);
    ending.await.unwrap().unwrap();
    let writer = timeout(DEADLINE, writer).await.unwrap().unwrap().unwrap();
    let reopened = tasks.get(&"42".parse().unwrap()).await.unwrap().unwrap();
    assert!(reopened.is_key_deleted(), "the entry is not there yet");
    reopened.end_with_key().await.unwrap();
    assert!(reopened.hold_appends(|_| true).is_none());
    writer.admit(10).expect("the key's writer keeps the task open");
    add_entry(&tasks, "after").await;
    drop(writer);
    reopened.end_with_key().await.unwrap();
    assert!(!reopened.has_ended(), "the key exists");
    assert_eq!(texts(&reopened).await, ["before", "after"]);
}
