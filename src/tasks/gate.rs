//! What comes faster than a task may get. A sender that can be told to come again is refused; what a
//! worker sends is dropped, and told in its place by one `internal` line.
//!
//! ```text
//! lines pass ── the rate is reached ──> closed: lines are dropped and counted ── half a second ──> one line tells, lines pass
//! ```
//! While it is closed nothing passes, or each line that just fits would stand between two such lines. A
//! numbered line that was dropped is acked once the line that tells of it is durable; sent again it is
//! known, and does not count twice.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::TasksError;
use super::task::TaskHandle;
use crate::journal::{AppendAck, JournalError, LineBatch};
use crate::model::limits::{Limit, Limits};
use crate::model::rate::{RateLimits, RateUnit, TokenBuckets};
use crate::model::{Channel, GapMarker, LineText, TaskId, Timestamp};

/// How long it stays closed at least.
const CLOSED_MIN: Duration = Duration::from_millis(500);
/// How long at most: acks wait for it.
const CLOSED_MAX: Duration = Duration::from_secs(5);

/// Resolves when the line that tells of dropped ones is durable.
pub(super) type Told = oneshot::Receiver<Result<AppendAck, JournalError>>;

/// Holds a task to its rates.
#[derive(Debug)]
pub(super) struct Gate {
    meter: TokenBuckets,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    reached: RateUnit,
    limit: String,
    until: Instant,
    dropped: Vec<Dropped>,
}

/// Lines of one session, or of none, that are still to be told of.
#[derive(Debug)]
struct Dropped {
    /// Its name, and the number behind the last of them.
    session: Option<(String, u64)>,
    lines: u64,
    waiting: Vec<oneshot::Sender<Result<AppendAck, JournalError>>>,
}

/// Lines that were dropped.
pub(super) struct Over {
    pub(super) lines: u64,
    pub(super) told: Told,
    pub(super) reached: RateUnit,
    /// Set if it was closed by these.
    pub(super) closed_until: Option<Instant>,
}

/// Lines that were not taken.
pub(super) struct Refused {
    pub(super) lines: u64,
    pub(super) reached: RateUnit,
    limit: String,
    retry_after: Duration,
}

impl Refused {
    pub(super) fn error(&self, task: &TaskId) -> TasksError {
        let (task, limit, retry_after) = (task.clone(), self.limit.clone(), self.retry_after);
        TasksError::RateLimited { task, limit, retry_after }
    }
}

impl Gate {
    /// One that holds to these limits, if there is anything to hold to.
    pub(super) fn new(limits: &Limits) -> Option<Box<Self>> {
        let rates = RateLimits { lines: limits.task_lines_per_second_max, bytes: limits.task_bytes_per_second_max };
        rates.buckets(Instant::now()).map(|meter| Box::new(Self { meter, closed: None }))
    }

    /// Whether dropped lines are still to be told of.
    pub(super) fn owes_word(&self) -> bool {
        self.closed.is_some()
    }

    /// Cuts a batch to what may pass; `known` is the last durable number of its session.
    pub(super) fn drop_over(&mut self, batch: &mut LineBatch, known: u64) -> Option<Over> {
        let now = Instant::now();
        let passing = self.passing(batch, known, now);
        let lines = batch.lines().count() - passing;
        if lines == 0 {
            return None;
        }
        let session = batch.last_seq().map(|(session, last)| (session.to_owned(), last + 1));
        batch.truncate(passing);
        let closes = self.closed.is_none();
        let (reached, limit) = self.meter.limiting_rate(now);
        let until = now + self.meter.wait(now).clamp(CLOSED_MIN, CLOSED_MAX);
        let closed = self.closed.get_or_insert(Closed { reached, limit, until, dropped: Vec::new() });
        let lines = lines as u64;
        let told = closed.add(session, lines);
        Some(Over { lines, told, reached: closed.reached, closed_until: closes.then_some(closed.until) })
    }

    /// Cuts a batch to what may pass; what was cut is to come again.
    pub(super) fn refuse_over(&mut self, batch: &mut LineBatch, known: u64) -> Option<Refused> {
        let now = Instant::now();
        let passing = self.passing(batch, known, now);
        let lines = (batch.lines().count() - passing) as u64;
        batch.truncate(passing);
        (lines > 0).then(|| self.refused(lines, now))
    }

    /// Takes one line of so many bytes, or says when it may come again.
    pub(super) fn refuse(&mut self, bytes: u64) -> Option<Refused> {
        let now = Instant::now();
        let passes = self.closed.is_none() && self.meter.try_acquire(1, bytes, now);
        (!passes).then(|| self.refused(1, now))
    }

    fn refused(&mut self, lines: u64, now: Instant) -> Refused {
        let (reached, limit) = self.meter.limiting_rate(now);
        let closed = self.closed.as_ref().map(|closed| closed.until.saturating_duration_since(now));
        // A second's worth is worth coming for.
        let retry_after = self.meter.wait(now).max(closed.unwrap_or_default()) + Duration::from_secs(1);
        Refused { lines, reached, limit, retry_after }
    }

    /// How many lines of a batch pass. Repeats do; they are dropped later, and cost nothing.
    fn passing(&mut self, batch: &LineBatch, known: u64, now: Instant) -> usize {
        let count = batch.lines().count();
        let repeats = batch.last_seq().map_or(0, |(_, last)| {
            let first = (last + 1).saturating_sub(count as u64);
            usize::try_from((known + 1).saturating_sub(first)).unwrap_or(count).min(count)
        });
        if self.closed.is_some() {
            return repeats;
        }
        let meter = &mut self.meter;
        repeats + batch.lines().skip(repeats).take_while(|bytes| meter.try_acquire(1, *bytes, now)).count()
    }
}

impl Closed {
    fn add(&mut self, session: Option<(String, u64)>, lines: u64) -> Told {
        let (sender, told) = oneshot::channel();
        let name = |session: &Option<(String, u64)>| session.as_ref().map(|(name, _)| name.clone());
        let wanted = name(&session);
        match self.dropped.iter_mut().find(|dropped| name(&dropped.session) == wanted) {
            Some(dropped) => {
                if let (Some((_, known)), Some((_, next))) = (&mut dropped.session, session) {
                    *known = next.max(*known);
                }
                dropped.lines += lines;
                dropped.waiting.push(sender);
            }
            None => self.dropped.push(Dropped { session, lines, waiting: vec![sender] }),
        }
        told
    }
}

impl Dropped {
    /// The line that tells of them. How many of the numbered ones are new only the writer knows.
    fn told(&self, limit: &str) -> LineBatch {
        match &self.session {
            Some((session, next)) => LineBatch::over_limit(session, *next, limit),
            None => {
                let mut batch = LineBatch::new();
                batch.push(&LineText {
                    timestamp: Timestamp::now(),
                    channel: Channel::Internal,
                    text: GapMarker::over(self.lines, limit).into(),
                    ..LineText::default()
                });
                batch
            }
        }
    }
}

impl TaskHandle {
    pub(super) fn count_over(&self, reached: RateUnit, lines: u64) {
        if let Some(tasks) = self.registry() {
            let limit = match reached {
                RateUnit::Lines => Limit::task_lines_per_second_max,
                RateUnit::Bytes => Limit::task_bytes_per_second_max,
            };
            tasks.inner.options.hits.add(limit, lines);
        }
    }

    /// Tells of the lines dropped until then; at once if the store closes before.
    pub(super) fn tell_dropped_at(&self, until: Instant) {
        let Some(tasks) = self.registry() else { return };
        let (task, closing) = (self.clone(), tasks.inner.closing.clone());
        tasks.inner.tracker.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = closing.cancelled() => {}
            }
            task.tell_dropped().await;
        });
    }

    /// Tells of dropped lines, and lets lines pass again behind that.
    pub(super) async fn tell_dropped(&self) {
        let mut telling = Vec::new();
        {
            let mut state = self.inner.state.lock();
            let Some(closed) = state.gate.as_mut().and_then(|gate| gate.closed.take()) else { return };
            // Removed, or sealed: then nobody is told, and whoever waits learns that by the reply that never comes.
            let Some(stream) = self.stream().filter(|_| !state.removed) else { return };
            for dropped in closed.dropped {
                match self.journal().append_small(&stream, dropped.told(&closed.limit)) {
                    Ok(ticket) => telling.push((ticket, dropped.waiting)),
                    Err(error) => tracing::warn!(task = %self.id(), %error, "dropped lines could not be told of"),
                }
            }
        }
        for (ticket, waiting) in telling {
            let done = ticket.await;
            for sender in waiting {
                // Whoever sent them may have gone.
                sender.send(done.clone()).ok();
            }
        }
    }
}
