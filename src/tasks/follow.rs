//! Following a task: history, then live, in one loop.
//!
//! A follower's position is a line number. It reads the log itself each time, and wake-ups carry no data.
//! A slow follower reads later; no queue grows for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::log::LogPage;
use super::partial::PartialReader;
use super::shared::SharedHandle;
use super::task::TaskHandle;
use super::{PageLimits, TasksError};
use crate::journal::{TailEvent, TailReader};
use crate::model::{Cursor, Epoch, PartialLine, Task, TaskStatus};

/// Maximum recent pages shared by the followers of one task: about one second.
const SHARED_PAGES: usize = 64;
/// Maximum bytes of text in the shared pages.
const SHARED_BYTES: usize = 1024 * 1024;
/// Time that each follower adds to the gathering of lines for a page.
const PACE_PER_FOLLOWER: Duration = Duration::from_micros(20);
/// Maximum gathering time; below [`PACE_MIN`] lines are not gathered.
const PACE_MAX: Duration = Duration::from_millis(20);
const PACE_MIN: Duration = Duration::from_millis(1);

/// Minimum time between two partial lines for one viewer.
const PARTIAL_PACE: Duration = Duration::from_millis(100);

/// The start position of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowStart {
    /// At this line.
    From(u64),
    /// This many lines before the end.
    Tail(u64),
    /// After this cursor.
    After(Cursor),
}

/// An event of a follower. The first is `Open`, the last is `End`.
#[derive(Clone, Debug)]
pub enum FollowEvent {
    /// The start of the stream, with the current state of the task.
    Open {
        /// Task details.
        task: Task,
        /// Epoch of the log.
        epoch: Epoch,
        /// First readable line; 0 if none.
        first_line: u64,
        /// Last readable line; 0 if none.
        last_line: u64,
    },
    /// Lines, a gap, or both; the gap precedes the lines.
    Page(Arc<LogPage>),
    /// The current unterminated line of a channel, until the next page; an empty text removes it.
    Partial(PartialLine),
    /// Changed details.
    Status(Task),
    /// The cursor belonged to another log or was ahead of this one; reading restarts at the first line.
    Reset {
        /// Epoch of the current log.
        epoch: Epoch,
        /// Reason, for people.
        reason: String,
    },
    /// The end of the log.
    End {
        /// Final task details.
        task: Task,
        /// Position after the last line.
        cursor: Cursor,
    },
}

/// A reader that follows one task.
#[derive(Debug)]
pub struct TaskFollower {
    task: TaskHandle,
    next: u64,
    reset: Option<String>,
    phase: FollowPhase,
    changed: watch::Receiver<u64>,
    /// TailReader of the journal; `None` once the archive holds everything.
    tail: Option<TailReader>,
    /// Status and worker presence as last returned.
    reported: (TaskStatus, bool),
    /// Reads the partial lines, if they are wanted.
    partials: Option<PartialReader>,
    /// Earliest time of the next partial line.
    partial_due: Instant,
    /// Number of times that the log had lost lines; see [`TaskFollower::restart_if_truncated`].
    truncations: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FollowPhase {
    Opening,
    Reading,
    Ended,
}

impl TaskHandle {
    /// Returns a follower of the task that starts at `start`.
    pub fn follow(&self, start: FollowStart) -> TaskFollower {
        let changed = self.inner.changed.subscribe();
        let (_, last) = self.readable();
        let mut reset = None;
        let next = match start {
            FollowStart::From(line) => line.max(1),
            FollowStart::Tail(lines) => last.saturating_sub(lines) + 1,
            FollowStart::After(cursor) if cursor.epoch.incarnation != self.epoch().incarnation => {
                reset = Some("the cursor belongs to another log of this name".to_owned());
                1
            }
            FollowStart::After(cursor) if cursor.n > last => {
                reset = Some(format!("the cursor is at line {} and the log ends at line {last}", cursor.n));
                1
            }
            FollowStart::After(cursor) => cursor.n + 1,
        };
        self.inner.followers.fetch_add(1, Ordering::AcqRel);
        let reported = self.live_status();
        let tail = self.stream().map(|stream| TailReader::new(self.journal(), &stream, next));
        let (task, phase, partial_due) = (self.clone(), FollowPhase::Opening, Instant::now());
        let truncations = task.truncations().0;
        TaskFollower { task, next, reset, phase, changed, tail, reported, partials: None, partial_due, truncations }
    }

    /// Returns the number of times that the log has lost lines in a failover of the shared store, and its last line then.
    fn truncations(&self) -> (u64, u64) {
        self.inner.shared.as_ref().map_or((0, 0), SharedHandle::truncated)
    }

    /// Returns the status, and whether a worker is attached.
    pub fn live_status(&self) -> (TaskStatus, bool) {
        (self.with_record(|record| record.status), self.has_worker())
    }

    /// Returns the page from this line on. At the live tail the first follower reads it and all others share it.
    async fn shared_page(&self, from: u64) -> Result<Arc<LogPage>, TasksError> {
        if from <= self.archived_through() {
            return self.read(from, PageLimits::default()).await;
        }
        let mut shared = self.inner.pages.lock();
        if let Some(page) = shared.get(from) {
            return Ok(page);
        }
        let page = Arc::new(self.read_now(from, PageLimits::default())?);
        if !page.is_empty() && self.inner.followers.load(Ordering::Acquire) > 1 {
            shared.push(from, page.clone());
        }
        Ok(page)
    }

    /// Returns when the next page at the live tail may be read; `None` means now. With many followers, lines
    /// are gathered so that one page serves all. An existing page is returned without waiting.
    fn page_due(&self, from: u64) -> Option<Instant> {
        let followers = u32::try_from(self.inner.followers.load(Ordering::Acquire)).unwrap_or(u32::MAX);
        let pace = PACE_PER_FOLLOWER.saturating_mul(followers).min(PACE_MAX);
        if pace < PACE_MIN || self.readable().1 >= from + PageLimits::default().lines as u64 {
            return None;
        }
        let shared = self.inner.pages.lock();
        let due = shared.last_read? + pace;
        (shared.get(from).is_none() && Instant::now() < due).then_some(due)
    }
}

/// Recent pages shared by the followers of one task.
#[derive(Debug, Default)]
pub(super) struct SharedPages {
    /// Pages by their first line, oldest first; at most [`SHARED_PAGES`] and [`SHARED_BYTES`].
    recent: VecDeque<(u64, Arc<LogPage>)>,
    bytes: usize,
    last_read: Option<Instant>,
}

impl SharedPages {
    fn get(&self, from: u64) -> Option<Arc<LogPage>> {
        self.recent.iter().find(|(at, _)| *at == from).map(|(_, page)| page.clone())
    }

    fn push(&mut self, from: u64, page: Arc<LogPage>) {
        self.bytes += page.text_bytes();
        self.recent.push_back((from, page));
        while self.recent.len() > SHARED_PAGES || (self.bytes > SHARED_BYTES && self.recent.len() > 1) {
            let Some((_, oldest)) = self.recent.pop_front() else { break };
            self.bytes -= oldest.text_bytes();
        }
        self.last_read = Some(Instant::now());
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Drop for TaskFollower {
    fn drop(&mut self) {
        if self.task.inner.followers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.task.inner.pages.lock().clear();
            self.task.archive().drop_cache();
        }
    }
}

impl TaskFollower {
    /// Adds the current unterminated lines to the events, if `wanted`.
    #[must_use]
    pub fn with_partials(mut self, wanted: bool) -> Self {
        self.partials = wanted.then(|| self.task.inner.partials.subscribe());
        self
    }

    /// Waits for the next event; returns `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<FollowEvent>, TasksError> {
        match self.phase {
            FollowPhase::Ended => return Ok(None),
            FollowPhase::Opening => {
                self.phase = FollowPhase::Reading;
                let (first_line, last_line) = self.task.readable();
                return Ok(Some(FollowEvent::Open {
                    task: self.task.details(),
                    epoch: self.task.epoch(),
                    first_line,
                    last_line,
                }));
            }
            FollowPhase::Reading => {}
        }
        if let Some(reason) = self.reset.take() {
            return Ok(Some(FollowEvent::Reset { epoch: self.task.epoch(), reason }));
        }
        loop {
            // Marked before the read: any later change wakes the wait below.
            self.changed.mark_unchanged();
            if let Some(reset) = self.restart_if_truncated() {
                return Ok(Some(reset));
            }
            let has_ended = self.has_ended();
            if let Some(due) = self.task.page_due(self.next) {
                tokio::time::sleep_until(due).await;
            }
            let page = self.task.shared_page(self.next).await?;
            if !page.is_empty() {
                self.next = page.next;
                if let Some(partials) = &mut self.partials {
                    partials.forget();
                }
                return Ok(Some(FollowEvent::Page(page)));
            }
            if has_ended {
                self.phase = FollowPhase::Ended;
                let (task, cursor) = (self.task.details(), self.task.cursor_at(self.next - 1));
                return Ok(Some(FollowEvent::End { task, cursor }));
            }
            let current = self.task.live_status();
            if current != self.reported {
                self.reported = current;
                return Ok(Some(FollowEvent::Status(self.task.details())));
            }
            if let Some(line) = self.next_partial() {
                return Ok(Some(FollowEvent::Partial(line)));
            }
            self.wait().await;
        }
    }

    /// Moves to the end of the log if a failover of the shared store has lost lines, and returns the event that reports it
    /// to a reader of the lost ones. The same lines, sent again, follow.
    fn restart_if_truncated(&mut self) -> Option<FollowEvent> {
        let (truncations, last_line) = self.task.truncations();
        if truncations == self.truncations {
            return None;
        }
        self.truncations = truncations;
        // The stream that the reader waits for was replaced.
        self.tail = self.task.stream().map(|stream| TailReader::new(self.task.journal(), &stream, self.next));
        if self.next <= last_line + 1 {
            return None;
        }
        let reason = format!("a failover lost the lines after {last_line}; those that their worker has follow again");
        self.next = last_line + 1;
        Some(FollowEvent::Reset { epoch: self.task.epoch(), reason })
    }

    /// Returns a partial line that was not returned yet, if one is due.
    fn next_partial(&mut self) -> Option<PartialLine> {
        if Instant::now() < self.partial_due {
            return None;
        }
        let line = self.partials.as_mut()?.next(&self.task.inner.partials)?;
        self.partial_due = Instant::now() + PARTIAL_PACE;
        Some(line)
    }

    /// Reports whether no line can follow. It is checked before the log is read: a task that has ended by then
    /// has stored all its lines, and [`TaskFollower::next`] reaches its end without waiting.
    pub fn has_ended(&self) -> bool {
        self.task.is_sealed() || self.task.with_record(|record| record.status.is_final())
    }

    /// Waits until the log grows or the details change.
    async fn wait(&mut self) {
        let (next, due) = (self.next, self.partial_due);
        let partial = async {
            match &mut self.partials {
                // A change before the due time is found when the time has come.
                Some(_) if Instant::now() < due => tokio::time::sleep_until(due).await,
                Some(partials) => partials.changed().await,
                None => std::future::pending().await,
            }
        };
        let woken = async {
            match &mut self.tail {
                Some(tail) => {
                    tail.seek(next);
                    tail.wait().await
                }
                None => std::future::pending().await,
            }
        };
        let removed = tokio::select! {
            woken = woken => woken == TailEvent::Removed,
            // The sender cannot be dropped: this follower holds the task.
            _ = self.changed.changed() => false,
            () = partial => false,
        };
        if removed {
            // A removed journal never grows; from now on only the details can change.
            self.tail = None;
        }
    }
}
