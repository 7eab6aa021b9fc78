//! Tasks whose output holds events, for whoever brings these into their runs.
//!
//! The only cost for all other tasks is one search in the bytes of what is appended. A task that
//! was marked is handed over once. Until whoever took it has read it to its end, its end waits a
//! little ([`EVENTS_WAIT`]), and its seal waits for good: so after a kill it is found open and can be read again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use memchr::memmem::Finder;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::registry::Tasks;
use super::task::TaskHandle;
use super::write::End;
use super::{LineBatch, PageLimits, TasksError};
use crate::model::{Channel, LineText, Timestamp};

/// What stands before an event in a text.
const TOKEN: &[u8] = b"LB_EVENT";
/// The label by which a task says what its lines are: `off`, they hold no events; `lines`, each is one.
pub const EVENTS_LABEL: &str = "events";
/// How long the end of a task waits for its events to be in their run.
const EVENTS_WAIT: Duration = Duration::from_secs(3);

/// A task nobody has to look at.
const PLAIN: u8 = 0;
/// It is handed over, and its reader is not at its end.
const MARKED: u8 = 1;
/// Its reader went before its end; after the next opening it is read again.
const LEFT: u8 = 2;
/// All its events are in their run.
const DONE: u8 = 3;
/// It was open when the store was, and nobody has looked yet whether it holds events: sealed now, it
/// would never be looked at.
const UNSEEN: u8 = 4;

/// What a task knows of its events.
#[derive(Debug, Default)]
pub(super) struct Events(AtomicU8);

/// Tasks that wait to be taken.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Each task once. Held for a moment.
    tasks: Mutex<Vec<TaskHandle>>,
    /// Moves when one was added; carries nothing.
    added: watch::Sender<u64>,
    /// Somebody takes them; else they are not gathered.
    listening: AtomicBool,
}

impl Waiting {
    /// `listening` says that somebody is to come for the tasks.
    pub(super) fn new(listening: bool) -> Self {
        Self { tasks: Mutex::default(), added: watch::Sender::new(0), listening: AtomicBool::new(listening) }
    }
}

/// Gives tasks whose output holds events, each once.
#[derive(Debug)]
pub struct EventfulTasks {
    tasks: Tasks,
    added: watch::Receiver<u64>,
}

/// Held by whoever reads a task's events. Dropped, the reading was cut short.
#[derive(Debug)]
pub struct EventsGuard(TaskHandle);

impl EventsGuard {
    /// All events of the task are in their run.
    pub fn done(self) {
        self.0.inner.events.0.store(DONE, Ordering::Release);
    }
}

impl Drop for EventsGuard {
    fn drop(&mut self) {
        let events = &self.0.inner.events.0;
        events.compare_exchange(MARKED, LEFT, Ordering::AcqRel, Ordering::Acquire).ok();
        self.0.inner.changed.send_modify(|version| *version += 1);
    }
}

impl EventfulTasks {
    /// The next one; waits for it. Cancel-safe.
    pub async fn next(&mut self) -> (TaskHandle, EventsGuard) {
        loop {
            self.added.mark_unchanged();
            if let Some(task) = self.tasks.inner.eventful.tasks.lock().pop() {
                return (task.clone(), EventsGuard(task));
            }
            if self.added.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for EventfulTasks {
    /// Nobody takes tasks any more: none is to wait for it.
    fn drop(&mut self) {
        let eventful = &self.tasks.inner.eventful;
        eventful.listening.store(false, Ordering::Release);
        let left = std::mem::take(&mut *eventful.tasks.lock());
        left.into_iter().map(EventsGuard).for_each(drop);
    }
}

impl Tasks {
    /// From now on tasks with events are gathered. To be asked for once; tasks that are there already
    /// are looked at with [`TaskHandle::look_for_events`].
    pub fn eventful(&self) -> EventfulTasks {
        self.inner.eventful.listening.store(true, Ordering::Release);
        EventfulTasks { tasks: self.clone(), added: self.inner.eventful.added.subscribe() }
    }

    /// Tasks that are not sealed.
    pub fn open_tasks(&self) -> Vec<TaskHandle> {
        self.inner.open.lock().values().cloned().collect()
    }
}

impl TaskHandle {
    /// What a label says.
    pub fn label(&self, name: &str) -> Option<String> {
        self.with_record(|record| record.labels.get(name).cloned())
    }

    /// The store has just been opened, and somebody is to look at the task.
    pub(super) fn is_to_be_looked_at(&self) {
        self.inner.events.0.store(UNSEEN, Ordering::Release);
    }

    /// Whether it is not known yet that it holds events.
    fn is_unmarked(&self) -> bool {
        matches!(self.inner.events.0.load(Ordering::Acquire), PLAIN | UNSEEN)
    }

    /// Marks the task if these bytes, which are being appended, hold an event.
    pub(super) fn note_events(&self, bytes: &[u8]) {
        static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(TOKEN));
        // An end that was announced and did not come: the task goes on.
        let is_read = self.inner.events.0.load(Ordering::Acquire) == DONE;
        if (is_read || self.is_unmarked()) && FINDER.find(bytes).is_some() {
            self.mark();
        }
    }

    /// The label that says so may have come: each line is an event.
    pub(super) fn note_label(&self) {
        if self.label(EVENTS_LABEL).as_deref() == Some("lines") {
            self.mark();
        }
    }

    fn mark(&self) {
        let Some(tasks) = self.registry() else { return };
        let eventful = &tasks.inner.eventful;
        if !eventful.listening.load(Ordering::Acquire) || self.label(EVENTS_LABEL).as_deref() == Some("off") {
            return;
        }
        let events = &self.inner.events.0;
        let mark = |from| events.compare_exchange(from, MARKED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if mark(PLAIN) || mark(UNSEEN) || mark(DONE) {
            eventful.tasks.lock().push(self.clone());
            eventful.added.send_modify(|version| *version += 1);
        }
    }

    /// Reads what is there of the log and marks the task if it holds events: for one that was open
    /// when the store was.
    pub async fn look_for_events(&self) -> Result<(), TasksError> {
        self.note_label();
        let mut next = 1;
        while self.is_unmarked() {
            let page = self.read(next, PageLimits::default()).await?;
            if page.is_empty() {
                break;
            }
            page.lines.iter().for_each(|line| self.note_events(line.line.as_bytes()));
            next = page.next;
            tokio::task::yield_now().await;
        }
        // Marked meanwhile, it stays so.
        self.inner.events.0.compare_exchange(UNSEEN, PLAIN, Ordering::AcqRel, Ordering::Acquire).ok();
        Ok(())
    }

    /// Whether its events are still to be brought into their run, or were not all, or it is not known
    /// whether it has any.
    pub(super) fn owes_events(&self) -> bool {
        matches!(self.inner.events.0.load(Ordering::Acquire), MARKED | LEFT | UNSEEN)
    }

    /// Whether somebody reads its events.
    pub(super) fn has_event_reader(&self) -> bool {
        self.inner.events.0.load(Ordering::Acquire) == MARKED
    }

    /// Moves with every change of the facts but the growth of the log, and when the end is near.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// How the task is about to end: its last line is there, and the end waits for its events.
    pub fn closing(&self) -> Option<End> {
        self.inner.state.lock().closing.clone()
    }

    /// Tells whoever reads the events that no more lines come.
    pub(super) fn announce_end(&self, end: End) {
        self.inner.state.lock().closing = Some(end);
        self.inner.changed.send_modify(|version| *version += 1);
    }

    /// The end is about to be: whoever reads the events reads the rest and is waited for.
    pub(super) async fn close_events(&self, end: End) {
        if !self.has_event_reader() {
            return;
        }
        let mut changes = self.changes();
        self.announce_end(end);
        let read = changes.wait_for(|_| !self.has_event_reader());
        if tokio::time::timeout(EVENTS_WAIT, read).await.is_err() {
            tracing::warn!(task = %self.id(), "a task ends before all its events are in their run; the rest follows");
        }
        self.inner.state.lock().closing = None;
    }

    /// Puts lines of the server's own into the log, also while the end is near. They are no sign of
    /// life of the task.
    ///
    /// # Errors
    /// The task has ended or is gone, or the store takes no writes.
    pub async fn note(&self, texts: &[String]) -> Result<(), TasksError> {
        let mut batch = LineBatch::new();
        for text in texts {
            let text = text.as_str().into();
            batch.push(&LineText {
                timestamp: Timestamp::now(),
                channel: Channel::Internal,
                text,
                ..LineText::default()
            });
        }
        let room = self.inner.journal.reserve(batch.bytes()).await?;
        let ticket = {
            let state = self.inner.state.lock();
            let open = !state.removed && !state.record.takes_no_more() && (!state.ending || state.closing.is_some());
            let stream = self.stream().filter(|_| open);
            let stream = stream.ok_or_else(|| TasksError::Ended(self.id().clone()))?;
            self.inner.journal.append_reserved(&stream, batch, None, room)
        };
        ticket.await?;
        Ok(())
    }
}
