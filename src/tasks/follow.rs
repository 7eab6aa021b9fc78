//! Following a task: history, then live, in one loop.
//!
//! The follower's place is a line number; the truth is read from the log each time; what wakes it
//! carries nothing. A slow follower reads later, and no queue grows for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::log::LogPage;
use super::task::TaskHandle;
use super::{PageLimits, TasksError};
use crate::journal::{TailEvent, TailReader};
use crate::model::{Cursor, Epoch, Task, TaskStatus};

/// Recent pages that followers of one task share: about a second of them.
const SHARED_PAGES: usize = 64;
/// Bytes of text in them.
const SHARED_BYTES: usize = 1024 * 1024;
/// What one more follower adds to the time in which lines are gathered for a page.
const PACE_PER_FOLLOWER: Duration = Duration::from_micros(20);
/// Gathering is at most this long, and begins to be worth it at [`PACE_MIN`].
const PACE_MAX: Duration = Duration::from_millis(20);
const PACE_MIN: Duration = Duration::from_millis(1);

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this line.
    From(u64),
    /// So many lines before the end.
    Tail(u64),
    /// Behind this cursor.
    After(Cursor),
}

/// What a follower is told, in this order: `Open`, then any of the others, then `End`.
#[derive(Clone, Debug)]
pub enum FollowEvent {
    /// The task as it is.
    Open {
        /// Its facts.
        task: Task,
        /// The log that is read.
        epoch: Epoch,
        /// The first line that can be read; 0 if none.
        first_line: u64,
        /// The last line that can be read; 0 if none.
        last_line: u64,
    },
    /// Lines, or a gap, or both: the gap is before the lines.
    Page(Arc<LogPage>),
    /// The facts have changed.
    Status(Task),
    /// The cursor was of another log or ahead of this one; reading begins at the first line.
    Reset {
        /// The log that is read now.
        epoch: Epoch,
        /// In words.
        reason: String,
    },
    /// Nothing more will come.
    End {
        /// The facts at the end.
        task: Task,
        /// Behind the last line.
        cursor: Cursor,
    },
}

/// One reader of one task.
#[derive(Debug)]
pub struct Follower {
    task: TaskHandle,
    next: u64,
    reset: Option<String>,
    phase: Phase,
    changed: watch::Receiver<u64>,
    /// The journal's end; none once the archive holds everything.
    tail: Option<TailReader>,
    told: (TaskStatus, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Reading,
    Ended,
}

impl TaskHandle {
    /// Follows the task from a place on.
    pub fn follow(&self, start: Start) -> Follower {
        let changed = self.inner.changed.subscribe();
        let (_, last) = self.readable();
        let mut reset = None;
        let next = match start {
            Start::From(line) => line.max(1),
            Start::Tail(lines) => last.saturating_sub(lines) + 1,
            Start::After(cursor) if cursor.epoch.incarnation != self.epoch().incarnation => {
                reset = Some("the cursor belongs to another log of this name".to_owned());
                1
            }
            Start::After(cursor) if cursor.n > last => {
                reset = Some(format!("the cursor is at line {} and the log ends at line {last}", cursor.n));
                1
            }
            Start::After(cursor) => cursor.n + 1,
        };
        self.inner.followers.fetch_add(1, Ordering::AcqRel);
        let told = self.told();
        let tail = self.stream().map(|stream| TailReader::new(self.journal(), &stream, next));
        Follower { task: self.clone(), next, reset, phase: Phase::Opening, changed, tail, told }
    }

    fn told(&self) -> (TaskStatus, bool) {
        (self.with_record(|record| record.status), self.has_worker())
    }

    /// A page from this line on. At the live end all followers share it: the first to come reads it.
    async fn shared_page(&self, from: u64) -> Result<Arc<LogPage>, TasksError> {
        if from <= self.archived_through() {
            return self.read(from, PageLimits::default()).await;
        }
        let mut shared = self.inner.pages.lock();
        if let Some(page) = shared.at(from) {
            return Ok(page);
        }
        let page = Arc::new(self.read_now(from, PageLimits::default())?);
        if !page.is_empty() && self.inner.followers.load(Ordering::Acquire) > 1 {
            shared.put(from, page.clone());
        }
        Ok(page)
    }

    /// When the next page at the live end may be made, if not at once: with many followers, lines
    /// are gathered so that one page serves all. A page that was made already is never waited for.
    fn page_due(&self, from: u64) -> Option<Instant> {
        let followers = u32::try_from(self.inner.followers.load(Ordering::Acquire)).unwrap_or(u32::MAX);
        let pace = PACE_PER_FOLLOWER.saturating_mul(followers).min(PACE_MAX);
        if pace < PACE_MIN || self.readable().1 >= from + PageLimits::default().lines as u64 {
            return None;
        }
        let shared = self.inner.pages.lock();
        let due = shared.made? + pace;
        (shared.at(from).is_none() && Instant::now() < due).then_some(due)
    }
}

/// Pages that followers of one task share.
#[derive(Debug, Default)]
pub(super) struct SharedPages {
    /// By their first line, oldest first; at most [`SHARED_PAGES`] and [`SHARED_BYTES`].
    recent: VecDeque<(u64, Arc<LogPage>)>,
    bytes: usize,
    made: Option<Instant>,
}

impl SharedPages {
    fn at(&self, from: u64) -> Option<Arc<LogPage>> {
        self.recent.iter().find(|(at, _)| *at == from).map(|(_, page)| page.clone())
    }

    fn put(&mut self, from: u64, page: Arc<LogPage>) {
        self.bytes += page.text_bytes();
        self.recent.push_back((from, page));
        while self.recent.len() > SHARED_PAGES || (self.bytes > SHARED_BYTES && self.recent.len() > 1) {
            let Some((_, oldest)) = self.recent.pop_front() else { break };
            self.bytes -= oldest.text_bytes();
        }
        self.made = Some(Instant::now());
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.task.inner.followers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.task.inner.pages.lock().clear();
            self.task.archive().drop_cache();
        }
    }
}

impl Follower {
    /// Waits for the next thing to tell; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<FollowEvent>, TasksError> {
        match self.phase {
            Phase::Ended => return Ok(None),
            Phase::Opening => {
                self.phase = Phase::Reading;
                let (first_line, last_line) = self.task.readable();
                return Ok(Some(FollowEvent::Open {
                    task: self.task.facts(),
                    epoch: self.task.epoch(),
                    first_line,
                    last_line,
                }));
            }
            Phase::Reading => {}
        }
        if let Some(reason) = self.reset.take() {
            return Ok(Some(FollowEvent::Reset { epoch: self.task.epoch(), reason }));
        }
        loop {
            // Registered before the look: whatever comes after it wakes the wait below.
            self.changed.mark_unchanged();
            let over = self.is_over();
            if let Some(due) = self.task.page_due(self.next) {
                tokio::time::sleep_until(due).await;
            }
            let page = self.task.shared_page(self.next).await?;
            if !page.is_empty() {
                self.next = page.next;
                return Ok(Some(FollowEvent::Page(page)));
            }
            if over {
                self.phase = Phase::Ended;
                let (task, cursor) = (self.task.facts(), self.task.cursor_at(self.next - 1));
                return Ok(Some(FollowEvent::End { task, cursor }));
            }
            let told = self.task.told();
            if told != self.told {
                self.told = told;
                return Ok(Some(FollowEvent::Status(self.task.facts())));
            }
            self.wait().await;
        }
    }

    /// Whether no line can follow. Looked at before the log is read: what is over then has all its
    /// lines there, and [`Follower::next`] comes to its end without a wait.
    pub fn is_over(&self) -> bool {
        self.task.is_sealed() || self.task.with_record(|record| record.status.is_final())
    }

    async fn wait(&mut self) {
        let next = self.next;
        let woken = async {
            match &mut self.tail {
                Some(tail) => {
                    tail.seek(next);
                    tail.wait().await
                }
                None => std::future::pending().await,
            }
        };
        let gone = tokio::select! {
            woken = woken => woken == TailEvent::Removed,
            // The sender lives as long as the task, which this follower holds.
            _ = self.changed.changed() => false,
        };
        if gone {
            // A removed journal never grows: from here on only the facts can change.
            self.tail = None;
        }
    }
}
