//! Rate limits of a task. A sender that can retry is rejected; excess lines of a worker are dropped and
//! replaced by one marker line on the channel `internal`.
//!
//! ```text
//! lines pass ── rate exceeded ──> throttled: lines are dropped and counted ── half a second ──> one marker line, lines pass
//! ```
//! While throttled nothing passes; otherwise every line that just fits would sit between two markers. A
//! dropped line with a number is acked once its marker is durable. If it is sent again it is recognized
//! as a repeat and not counted twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::TasksError;
use super::task::TaskHandle;
use crate::journal::{AppendAck, JournalError, LineBatch, Stream};
use crate::model::limits::{Limit, Limits};
use crate::model::rate::{RateLimits, RateUnit, TokenBuckets};
use crate::model::{Channel, GapMarker, LineText, TaskId, Timestamp};

/// Shortest time for which a task is throttled.
const THROTTLE_MIN: Duration = Duration::from_millis(500);
/// Longest time for which a task is throttled: acks wait for it.
const THROTTLE_MAX: Duration = Duration::from_secs(5);

/// The outcome of appending a marker line.
pub(super) type AppendResult = Result<AppendAck, JournalError>;

/// Resolves when the marker line that replaces dropped lines is durable.
pub(super) type MarkerTicket = oneshot::Receiver<AppendResult>;

/// Limits the lines and bytes per second of a task.
#[derive(Debug)]
pub(super) struct RateLimiter {
    meter: TokenBuckets,
    throttled: Option<Throttled>,
}

#[derive(Debug)]
struct Throttled {
    reached: RateUnit,
    limit: String,
    until: Instant,
    dropped: Vec<UnreportedDrops>,
}

/// Dropped lines of one session, or without one, that no marker line reports yet.
#[derive(Debug)]
struct UnreportedDrops {
    /// Session name, and the number after its last dropped line.
    session: Option<(String, u64)>,
    lines: u64,
    waiting: Vec<oneshot::Sender<AppendResult>>,
}

/// Lines dropped from a batch.
pub(super) struct DroppedLines {
    pub(super) lines: u64,
    pub(super) marker: MarkerTicket,
    pub(super) reached: RateUnit,
    /// End of the throttling, if these lines started it.
    pub(super) throttled_until: Option<Instant>,
}

/// Lines rejected for exceeding the rate.
pub(super) struct RateLimited {
    pub(super) lines: u64,
    pub(super) reached: RateUnit,
    limit: String,
    retry_after: Duration,
}

impl RateLimited {
    /// Returns the error for the sender.
    pub(super) fn error(&self, task: &TaskId) -> TasksError {
        let (task, limit, retry_after) = (task.clone(), self.limit.clone(), self.retry_after);
        TasksError::RateLimited { task, limit, retry_after }
    }
}

impl RateLimiter {
    /// Returns a limiter for these limits, or `None` if they are unlimited.
    pub(super) fn new(limits: &Limits) -> Option<Box<Self>> {
        let rates = RateLimits { lines: limits.task_lines_per_second_max, bytes: limits.task_bytes_per_second_max };
        rates.buckets(Instant::now()).map(|meter| Box::new(Self { meter, throttled: None }))
    }

    /// Reports whether lines were dropped that no marker line reports yet.
    pub(super) fn has_unreported_drops(&self) -> bool {
        self.throttled.is_some()
    }

    /// Truncates a batch to the lines within the rate and drops the rest. `known` is the last durable
    /// number of its session.
    pub(super) fn drop_excess(&mut self, batch: &mut LineBatch, known: u64) -> Option<DroppedLines> {
        let now = Instant::now();
        let passing = self.passing(batch, known, now);
        let lines = batch.lines().count() - passing;
        if lines == 0 {
            return None;
        }
        let session = batch.last_seq().map(|(session, last)| (session.to_owned(), last + 1));
        batch.truncate(passing);
        let is_start = self.throttled.is_none();
        let (reached, limit) = self.meter.limiting_rate(now);
        let until = now + self.meter.wait(now).clamp(THROTTLE_MIN, THROTTLE_MAX);
        let throttled = self.throttled.get_or_insert(Throttled { reached, limit, until, dropped: Vec::new() });
        let lines = lines as u64;
        let marker = throttled.add(session, lines);
        let throttled_until = is_start.then_some(throttled.until);
        Some(DroppedLines { lines, marker, reached: throttled.reached, throttled_until })
    }

    /// Truncates a batch to the lines within the rate and rejects the rest: its sender should retry them.
    pub(super) fn reject_excess(&mut self, batch: &mut LineBatch, known: u64) -> Option<RateLimited> {
        let now = Instant::now();
        let passing = self.passing(batch, known, now);
        let lines = (batch.lines().count() - passing) as u64;
        batch.truncate(passing);
        (lines > 0).then(|| self.rejection(lines, now))
    }

    /// Acquires one line of `bytes` bytes.
    pub(super) fn try_acquire(&mut self, bytes: u64) -> Result<(), RateLimited> {
        let now = Instant::now();
        let passes = self.throttled.is_none() && self.meter.try_acquire(1, bytes, now);
        if passes { Ok(()) } else { Err(self.rejection(1, now)) }
    }

    fn rejection(&mut self, lines: u64, now: Instant) -> RateLimited {
        let (reached, limit) = self.meter.limiting_rate(now);
        let throttled = self.throttled.as_ref().map(|throttled| throttled.until.saturating_duration_since(now));
        // One more second, so that a retry has a second's worth of lines to send.
        let retry_after = self.meter.wait(now).max(throttled.unwrap_or_default()) + Duration::from_secs(1);
        RateLimited { lines, reached, limit, retry_after }
    }

    /// Returns how many leading lines of a batch are within the rate. Repeats always are: they are dropped
    /// later and cost nothing.
    fn passing(&mut self, batch: &LineBatch, known: u64, now: Instant) -> usize {
        let count = batch.lines().count();
        let repeats = batch.last_seq().map_or(0, |(_, last)| {
            let first = (last + 1).saturating_sub(count as u64);
            usize::try_from((known + 1).saturating_sub(first)).unwrap_or(count).min(count)
        });
        if self.throttled.is_some() {
            return repeats;
        }
        let meter = &mut self.meter;
        repeats + batch.lines().skip(repeats).take_while(|bytes| meter.try_acquire(1, *bytes, now)).count()
    }
}

impl Throttled {
    /// Counts dropped lines. Returns the ticket of the marker that will report them.
    fn add(&mut self, session: Option<(String, u64)>, lines: u64) -> MarkerTicket {
        let (sender, marker) = oneshot::channel();
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
            None => self.dropped.push(UnreportedDrops { session, lines, waiting: vec![sender] }),
        }
        marker
    }
}

impl UnreportedDrops {
    /// Returns the batch with their marker line. Only the writer knows how many of the numbered lines are new.
    fn marker(&self, limit: &str) -> LineBatch {
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
    /// Counts lines that exceeded a rate.
    pub(super) fn count_excess(&self, reached: RateUnit, lines: u64) {
        if let Some(tasks) = self.registry() {
            let limit = match reached {
                RateUnit::Lines => Limit::task_lines_per_second_max,
                RateUnit::Bytes => Limit::task_bytes_per_second_max,
            };
            tasks.inner.options.hits.add(limit, lines);
        }
    }

    /// Schedules [`TaskHandle::report_drops`] at `until`, or earlier if the store closes.
    pub(super) fn report_drops_at(&self, until: Instant) {
        let Some(tasks) = self.registry() else { return };
        let (task, closing) = (self.clone(), tasks.inner.closing.clone());
        tasks.inner.tracker.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = closing.cancelled() => {}
            }
            task.report_drops().await;
        });
    }

    /// Queues a marker line.
    fn append_marker(
        &self,
        stream: &Arc<Stream>,
        marker: LineBatch,
    ) -> Result<BoxFuture<'static, AppendResult>, TasksError> {
        if self.inner.shared.is_some() {
            let stored = self.append_marker_shared(&marker)?;
            return Ok(Box::pin(async move {
                let done = stored.await.unwrap_or(Err(TasksError::Closed));
                done.map(AppendAck::from).map_err(|_| JournalError::Closed)
            }));
        }
        Ok(Box::pin(self.journal().append_small(stream, marker)?))
    }

    /// Appends the marker lines of dropped lines and lets lines pass again.
    pub(super) async fn report_drops(&self) {
        let mut pending = Vec::new();
        {
            let mut state = self.inner.state.lock();
            let limiter = state.rate_limiter.as_mut();
            let Some(throttled) = limiter.and_then(|limiter| limiter.throttled.take()) else { return };
            // Removed or sealed: the dropped senders of the markers end every wait.
            let Some(stream) = self.stream().filter(|_| !state.removed) else { return };
            for dropped in throttled.dropped {
                match self.append_marker(&stream, dropped.marker(&throttled.limit)) {
                    Ok(ticket) => pending.push((ticket, dropped.waiting)),
                    Err(error) => tracing::warn!(task = %self.id(), %error, "could not report dropped lines"),
                }
            }
        }
        for (ticket, waiting) in pending {
            let done = ticket.await;
            for sender in waiting {
                // The sender of the lines may have disconnected.
                sender.send(done.clone()).ok();
            }
        }
    }
}
