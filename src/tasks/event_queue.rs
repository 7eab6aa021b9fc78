//! Tasks whose output contains events, for the reader that adds these events to their runs.
//!
//! All other tasks pay only for one search in the bytes of each append. A marked task is handed over once.
//! Until its reader has read it to the end, the end of the task waits for a short time ([`EVENTS_WAIT`]),
//! and its seal waits without a limit: after a kill the task is still open and can be read again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use memchr::memmem::Finder;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::end::EndRequest;
use super::registry::Tasks;
use super::task::TaskHandle;
use super::{LineBatch, PageLimits, TasksError};
use crate::model::{Channel, LineText, Timestamp};

/// The token that precedes an event in a text.
const TOKEN: &[u8] = b"LB_EVENT";
/// The label for how a task's lines are read: `off`, they hold no events; `lines`, each line is an event.
pub const EVENTS_LABEL: &str = "events";
/// Maximum time that the end of a task waits for its events to be in their run.
const EVENTS_WAIT: Duration = Duration::from_secs(3);

/// The progress of reading a task's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum EventPhase {
    /// No event was found.
    NoEvents = 0,
    /// The task is queued or has a reader, which is not at its end.
    Reading = 1,
    /// The reader stopped before the end; after the next start the task is read again.
    Interrupted = 2,
    /// All its events are in their run.
    Complete = 3,
    /// The task was open at the start and has not been scanned: sealed now, it never would be.
    Unscanned = 4,
}

/// The [`EventPhase`] of a task.
#[derive(Debug, Default)]
pub(super) struct EventState(AtomicU8);

impl EventState {
    fn get(&self) -> EventPhase {
        match self.0.load(Ordering::Acquire) {
            1 => EventPhase::Reading,
            2 => EventPhase::Interrupted,
            3 => EventPhase::Complete,
            4 => EventPhase::Unscanned,
            _ => EventPhase::NoEvents,
        }
    }

    fn set(&self, phase: EventPhase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    /// Moves from one phase to another. Reports whether it was in the first.
    fn advance(&self, from: EventPhase, to: EventPhase) -> bool {
        self.0.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Marked tasks that wait for a reader.
#[derive(Debug)]
pub(super) struct EventQueue {
    /// Each task at most once. Locked only briefly.
    tasks: Mutex<Vec<TaskHandle>>,
    /// Changes when a task was added; its value has no meaning.
    added: watch::Sender<u64>,
    /// Set while there is a consumer; otherwise no task is queued.
    listening: AtomicBool,
}

impl EventQueue {
    /// Returns an empty queue. `listening` if a consumer will subscribe.
    pub(super) fn new(listening: bool) -> Self {
        Self { tasks: Mutex::default(), added: watch::Sender::new(0), listening: AtomicBool::new(listening) }
    }
}

/// Yields each task whose output contains events, once.
#[derive(Debug)]
pub struct TasksWithEvents {
    tasks: Tasks,
    added: watch::Receiver<u64>,
}

/// Held by the reader of a task's events. Dropping it marks the reading as interrupted.
#[derive(Debug)]
pub struct EventsGuard(TaskHandle);

impl EventsGuard {
    /// Records that all events of the task are in their run.
    pub fn finish(self) {
        self.0.inner.events.set(EventPhase::Complete);
    }
}

impl Drop for EventsGuard {
    fn drop(&mut self) {
        self.0.inner.events.advance(EventPhase::Reading, EventPhase::Interrupted);
        self.0.inner.changed.send_modify(|version| *version += 1);
    }
}

impl TasksWithEvents {
    /// Waits for the next task. Cancel-safe.
    pub async fn next(&mut self) -> (TaskHandle, EventsGuard) {
        loop {
            self.added.mark_unchanged();
            if let Some(task) = self.tasks.inner.event_queue.tasks.lock().pop() {
                return (task.clone(), EventsGuard(task));
            }
            if self.added.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for TasksWithEvents {
    /// Stops queueing, and releases the queued tasks so that their ends do not wait.
    fn drop(&mut self) {
        let queue = &self.tasks.inner.event_queue;
        queue.listening.store(false, Ordering::Release);
        let queued = std::mem::take(&mut *queue.tasks.lock());
        queued.into_iter().map(EventsGuard).for_each(drop);
    }
}

impl Tasks {
    /// Starts to queue tasks with events. Call it once; tasks that are open already are scanned with
    /// [`TaskHandle::scan_for_events`].
    pub fn tasks_with_events(&self) -> TasksWithEvents {
        self.inner.event_queue.listening.store(true, Ordering::Release);
        TasksWithEvents { tasks: self.clone(), added: self.inner.event_queue.added.subscribe() }
    }

    /// Returns the tasks that are not sealed.
    pub fn open_tasks(&self) -> Vec<TaskHandle> {
        self.inner.open.lock().values().cloned().collect()
    }
}

impl TaskHandle {
    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<String> {
        self.with_record(|record| record.labels.get(name).cloned())
    }

    /// Marks a task that was open at the start as not scanned yet.
    pub(super) fn set_unscanned(&self) {
        self.inner.events.set(EventPhase::Unscanned);
    }

    /// Reports whether no event has been found so far.
    fn is_unmarked(&self) -> bool {
        matches!(self.inner.events.get(), EventPhase::NoEvents | EventPhase::Unscanned)
    }

    /// Marks the task if `bytes`, which are being appended, contain an event.
    pub(super) fn detect_events(&self, bytes: &[u8]) {
        static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(TOKEN));
        // Complete, and lines follow: its end was announced but never stored.
        let is_read = self.inner.events.get() == EventPhase::Complete;
        if (is_read || self.is_unmarked()) && FINDER.find(bytes).is_some() {
            self.mark_events();
        }
    }

    /// Marks the task if its label declares each line to be an event.
    pub(super) fn detect_events_label(&self) {
        if self.label(EVENTS_LABEL).as_deref() == Some("lines") {
            self.mark_events();
        }
    }

    fn mark_events(&self) {
        let Some(tasks) = self.registry() else { return };
        let queue = &tasks.inner.event_queue;
        if !queue.listening.load(Ordering::Acquire) || self.label(EVENTS_LABEL).as_deref() == Some("off") {
            return;
        }
        let unread = [EventPhase::NoEvents, EventPhase::Unscanned, EventPhase::Complete];
        if unread.into_iter().any(|from| self.inner.events.advance(from, EventPhase::Reading)) {
            queue.tasks.lock().push(self.clone());
            queue.added.send_modify(|version| *version += 1);
        }
    }

    /// Reads the existing log and marks the task if it contains events. For tasks that were open at the
    /// start.
    pub async fn scan_for_events(&self) -> Result<(), TasksError> {
        self.detect_events_label();
        let mut next = 1;
        while self.is_unmarked() {
            let page = self.read(next, PageLimits::default()).await?;
            if page.is_empty() {
                break;
            }
            page.lines.iter().for_each(|line| self.detect_events(line.line.as_bytes()));
            next = page.next;
            tokio::task::yield_now().await;
        }
        // Does nothing if an append has marked it meanwhile.
        self.inner.events.advance(EventPhase::Unscanned, EventPhase::NoEvents);
        Ok(())
    }

    /// Reports whether the task has, or may have, events that are not in their run.
    pub(super) fn has_pending_events(&self) -> bool {
        matches!(self.inner.events.get(), EventPhase::Reading | EventPhase::Interrupted | EventPhase::Unscanned)
    }

    /// Reports whether a reader is reading its events.
    pub(super) fn has_event_reader(&self) -> bool {
        self.inner.events.get() == EventPhase::Reading
    }

    /// Returns a receiver that changes with the task's details, except for the growth of its log, and when
    /// its end is announced.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Returns the announced end: the last line is stored, and the end waits for the task's events.
    pub fn pending_end(&self) -> Option<EndRequest> {
        self.inner.state.lock().pending_end.clone()
    }

    /// Announces to the reader of the events that no line will follow.
    pub(super) fn announce_end(&self, end: EndRequest) {
        self.inner.state.lock().pending_end = Some(end);
        self.inner.changed.send_modify(|version| *version += 1);
    }

    /// Announces the end and waits until the reader of the events has read the rest.
    pub(super) async fn close_events(&self, end: EndRequest) {
        if !self.has_event_reader() {
            return;
        }
        let mut changes = self.changes();
        self.announce_end(end);
        let read = changes.wait_for(|_| !self.has_event_reader());
        if tokio::time::timeout(EVENTS_WAIT, read).await.is_err() {
            tracing::warn!(task = %self.id(), "task ended before all its events were in their run; the rest will follow");
        }
        self.inner.state.lock().pending_end = None;
    }

    /// Appends lines of the server itself, also while the end is announced. They do not count as a
    /// heartbeat of the task.
    ///
    /// # Errors
    /// The task has ended or was removed, or the store is not writable.
    pub async fn append_internal(&self, texts: &[String]) -> Result<(), TasksError> {
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
        let permit = self.inner.journal.reserve(batch.bytes()).await?;
        let ticket = {
            let state = self.inner.state.lock();
            let is_open = !state.removed && !state.record.is_closed() && (!state.ending || state.pending_end.is_some());
            let stream = self.stream().filter(|_| is_open);
            let stream = stream.ok_or_else(|| TasksError::Ended(self.id().clone()))?;
            self.inner.journal.append_reserved(&stream, batch, None, permit)
        };
        ticket.await?;
        Ok(())
    }
}
