//! Appending lines to a task.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::maintenance::{ARCHIVE_STEP_LINES, MaintenanceRequest};
use super::rate_limit::{DroppedLines, MarkerTicket};
use super::shared::{AppendReceiver, WritePermit};
use super::task::{TaskHandle, TaskState};
use super::{LineBatch, TasksError};
use crate::journal::{self, QueuePermit, Stream};
use crate::model::{EntryId, Epoch, TaskStatus};

/// The outcome of an append. The line numbers are 0 if all lines were repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedLines {
    /// Line number of the first line.
    pub first_line: u64,
    /// Line number of the last line.
    pub last_line: u64,
    /// Entry id of the last line.
    pub last_id: EntryId,
    /// Lines added.
    pub count: u64,
    /// Lines that exceeded a limit and were replaced by a marker line.
    pub dropped: u64,
    /// Last durable number of the session.
    pub acked_seq: Option<u64>,
    /// Epoch of the log that holds the lines.
    pub epoch: Epoch,
}

/// Resolves when the lines are durable.
#[derive(Debug)]
pub struct LineTicket {
    kind: TicketKind,
    epoch: Epoch,
}

#[derive(Debug)]
enum TicketKind {
    Queued(journal::CommitTicket),
    /// Queued for the store that several servers share.
    Shared(AppendReceiver),
    /// Every line was stored before the end; holds the last number of its session.
    Repeat(u64),
    /// The first lines are queued. The others were dropped, and a later marker line reports them.
    RateLimited(Box<RateLimitedTicket>),
}

/// The last lines of a batch, which were rejected.
#[derive(Debug)]
pub struct RejectedLines {
    /// Number of lines.
    pub lines: usize,
    /// The reason, and when to retry.
    pub error: TasksError,
}

#[derive(Debug)]
struct RateLimitedTicket {
    accepted: AcceptedLines,
    marker: MarkerTicket,
    lines: u64,
}

/// The lines of a batch that were within the rate.
#[derive(Debug)]
enum AcceptedLines {
    Queued(journal::CommitTicket),
    Shared(AppendReceiver),
    /// They are durable, or there were none.
    Stored(journal::AppendAck),
}

impl Future for LineTicket {
    type Output = Result<AppendedLines, TasksError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let epoch = self.epoch;
        let done = match &mut self.kind {
            TicketKind::Queued(ticket) => match Pin::new(ticket).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(done) => done.map_err(TasksError::from),
            },
            TicketKind::RateLimited(ticket) => match ticket.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(done) => done,
            },
            TicketKind::Shared(receiver) => {
                let done = Pin::new(receiver).poll(cx).map(|done| done.unwrap_or(Err(TasksError::Closed)));
                return done.map_ok(|lines| AppendedLines { epoch, ..lines });
            }
            TicketKind::Repeat(seq) => {
                Ok(journal::AppendAck { acked_seq: Some(*seq), ..journal::AppendAck::default() })
            }
        };
        Poll::Ready(done.map(|done| AppendedLines {
            first_line: done.first_line,
            last_line: done.last_line,
            last_id: done.last_id,
            count: done.count,
            acked_seq: done.acked_seq,
            dropped: match &self.kind {
                TicketKind::RateLimited(ticket) => ticket.lines,
                _ => 0,
            },
            epoch,
        }))
    }
}

impl RateLimitedTicket {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<journal::AppendAck, TasksError>> {
        let stored = match &mut self.accepted {
            AcceptedLines::Stored(stored) => *stored,
            AcceptedLines::Queued(ticket) => match Pin::new(ticket).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(stored)) => {
                    self.accepted = AcceptedLines::Stored(stored);
                    stored
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            },
            AcceptedLines::Shared(receiver) => match Pin::new(receiver).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(done) => {
                    let stored = journal::AppendAck::from(done.unwrap_or(Err(TasksError::Closed))?);
                    self.accepted = AcceptedLines::Stored(stored);
                    stored
                }
            },
        };
        let marker = match Pin::new(&mut self.marker).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(marker) => marker.unwrap_or(Err(journal::JournalError::Closed))?,
        };
        Poll::Ready(Ok(journal::AppendAck { acked_seq: marker.acked_seq.max(stored.acked_seq), ..stored }))
    }
}

/// The treatment of lines that exceed the rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OverLimitPolicy {
    /// They are dropped and replaced by a marker line.
    Drop,
    /// They are rejected, and their sender is asked to retry.
    Reject,
    /// They are accepted: the server's own lines have no limit.
    Accept,
}

/// Room for lines in the queue that they go to.
enum AppendPermit {
    Local(QueuePermit),
    Shared(WritePermit),
}

impl From<AppendedLines> for journal::AppendAck {
    fn from(lines: AppendedLines) -> Self {
        let AppendedLines { first_line, last_line, last_id, count, acked_seq, .. } = lines;
        Self { first_line, last_line, last_id, count, acked_seq }
    }
}

/// The outcome of [`TaskHandle::admit`].
enum Admission {
    /// It does. `resumed` if the task was not running before.
    Open { resumed: bool },
    /// Known once the end that is being committed is durable or has failed.
    Ending,
    /// Every line was stored before the end; holds the last number of their session.
    Repeat(u64),
}

/// Lines of a batch that exceeded the rate.
enum ExcessLines {
    None,
    Dropped(DroppedLines),
    Rejected(RejectedLines),
}

impl TaskHandle {
    /// Queues lines in order once the queue has room; the ticket resolves when they are durable. Lines that
    /// exceed the task's limit are dropped and replaced by a marker line.
    pub async fn append(&self, batch: LineBatch) -> Result<LineTicket, TasksError> {
        Ok(self.append_with(batch, OverLimitPolicy::Drop).await?.0)
    }

    /// Appends like [`TaskHandle::append`] for a sender that can retry: lines that exceed the limit are
    /// rejected. Returns them, if any.
    pub async fn append_or_reject(&self, batch: LineBatch) -> Result<(LineTicket, Option<RejectedLines>), TasksError> {
        self.append_with(batch, OverLimitPolicy::Reject).await
    }

    /// Appends lines of the server itself, which no limit applies to.
    pub(super) async fn append_unlimited(&self, batch: LineBatch) -> Result<LineTicket, TasksError> {
        Ok(self.append_with(batch, OverLimitPolicy::Accept).await?.0)
    }

    async fn append_with(
        &self,
        mut batch: LineBatch,
        policy: OverLimitPolicy,
    ) -> Result<(LineTicket, Option<RejectedLines>), TasksError> {
        loop {
            self.inner.journal.check_can_grow()?;
            if policy != OverLimitPolicy::Accept {
                self.has_budget()?;
            }
            self.wait_for_archive().await?;
            let permit = self.reserve(batch.bytes()).await?;
            let epoch = self.epoch();
            match self.admit(&batch)? {
                Admission::Repeat(seq) => return Ok((LineTicket { kind: TicketKind::Repeat(seq), epoch }, None)),
                Admission::Ending => {
                    // The end needs room in the queue as well.
                    drop(permit);
                    self.wait_end_decided().await?;
                    continue;
                }
                Admission::Open { resumed: true } => {
                    drop(self.queue_record()?);
                    self.notify();
                }
                Admission::Open { resumed: false } => {}
            }
            self.heartbeat();
            self.detect_events(batch.encoded());
            self.inner.partials.end_lines(&batch);
            if let Some((kind, rejected)) = self.queue_lines(&mut batch, policy, permit)? {
                return Ok((LineTicket { kind, epoch }, rejected));
            }
        }
    }

    /// Queues the lines of an admitted batch that are within the rate, or returns `None` if the task is no longer
    /// running.
    fn queue_lines(
        &self,
        batch: &mut LineBatch,
        policy: OverLimitPolicy,
        permit: AppendPermit,
    ) -> Result<Option<(TicketKind, Option<RejectedLines>)>, TasksError> {
        let mut state = self.inner.state.lock();
        let is_running = !state.ending && !state.record.is_closed() && state.record.status == TaskStatus::Running;
        let Some(stream) = self.stream().filter(|_| is_running) else { return Ok(None) };
        // Limited under the same lock as queued: a marker line follows the lines that were accepted.
        let excess = self.limit_rate(&mut state, &stream, batch, policy)?;
        let all_dropped = batch.is_empty() && matches!(excess, ExcessLines::Dropped(_));
        let accepted = match all_dropped {
            true => AcceptedLines::Stored(journal::AppendAck::default()),
            false => {
                let lines = std::mem::take(batch);
                self.enqueue(&stream, lines, permit)?
            }
        };
        drop(state);
        self.archive_if_due(&stream);
        let (dropped, rejected) = match excess {
            ExcessLines::None => (None, None),
            ExcessLines::Dropped(dropped) => (Some(dropped), None),
            ExcessLines::Rejected(rejected) => (None, Some(rejected)),
        };
        Ok(Some((self.ticket_kind(accepted, dropped), rejected)))
    }

    /// Waits for room in the queue.
    async fn reserve(&self, bytes: usize) -> Result<AppendPermit, TasksError> {
        match &self.inner.shared {
            Some(shared) => shared.reserve(bytes).await.map(AppendPermit::Shared),
            None => Ok(AppendPermit::Local(self.inner.journal.reserve(bytes).await?)),
        }
    }

    /// Queues lines, for this server's journal or for the store that several servers share.
    fn enqueue(
        &self,
        stream: &Arc<Stream>,
        lines: LineBatch,
        permit: AppendPermit,
    ) -> Result<AcceptedLines, TasksError> {
        match permit {
            AppendPermit::Local(permit) => {
                Ok(AcceptedLines::Queued(self.inner.journal.append_reserved(stream, lines, None, permit)))
            }
            AppendPermit::Shared(permit) => self.append_shared(&lines, permit).map(AcceptedLines::Shared),
        }
    }

    /// Checks whether the task accepts a batch, and sets it running if so.
    fn admit(&self, batch: &LineBatch) -> Result<Admission, TasksError> {
        let mut state = self.inner.state.lock();
        if state.removed {
            return Err(TasksError::Removed(self.id().clone()));
        }
        if state.ending {
            return Ok(Admission::Ending);
        }
        if state.record.is_closed() {
            let ended = || TasksError::Ended(self.id().clone());
            let (session, last) = batch.last_seq().ok_or_else(ended)?;
            let seen = state.record.seq_of(session);
            return if last <= seen { Ok(Admission::Repeat(seen)) } else { Err(ended()) };
        }
        (state.pending_end, state.record.ended) = (None, None);
        let before = std::mem::replace(&mut state.record.status, TaskStatus::Running);
        Ok(Admission::Open { resumed: before != TaskStatus::Running })
    }

    /// Truncates a batch to the lines within the rate limit.
    ///
    /// # Errors
    /// Every line was rejected.
    fn limit_rate(
        &self,
        state: &mut TaskState,
        stream: &Stream,
        batch: &mut LineBatch,
        policy: OverLimitPolicy,
    ) -> Result<ExcessLines, TasksError> {
        let Some(limiter) = &mut state.rate_limiter else { return Ok(ExcessLines::None) };
        if policy == OverLimitPolicy::Accept {
            return Ok(ExcessLines::None);
        }
        let known = batch.last_seq().map_or(0, |(session, _)| stream.acked_seq(session));
        if policy == OverLimitPolicy::Drop {
            return Ok(limiter.drop_excess(batch, known).map_or(ExcessLines::None, ExcessLines::Dropped));
        }
        let Some(limited) = limiter.reject_excess(batch, known) else { return Ok(ExcessLines::None) };
        self.count_excess(limited.reached, limited.lines);
        let error = limited.error(self.id());
        if batch.is_empty() {
            return Err(error);
        }
        let lines = usize::try_from(limited.lines).unwrap_or(usize::MAX);
        Ok(ExcessLines::Rejected(RejectedLines { lines, error }))
    }

    /// Returns the kind of a batch's ticket, and schedules the marker line of its dropped lines.
    fn ticket_kind(&self, accepted: AcceptedLines, dropped: Option<DroppedLines>) -> TicketKind {
        let Some(dropped) = dropped else {
            return match accepted {
                AcceptedLines::Queued(ticket) => TicketKind::Queued(ticket),
                AcceptedLines::Shared(receiver) => TicketKind::Shared(receiver),
                AcceptedLines::Stored(_) => TicketKind::Repeat(0),
            };
        };
        self.count_excess(dropped.reached, dropped.lines);
        if let Some(until) = dropped.throttled_until {
            self.report_drops_at(until);
        }
        let (marker, lines) = (dropped.marker, dropped.lines);
        TicketKind::RateLimited(Box::new(RateLimitedTicket { accepted, marker, lines }))
    }

    /// Requests the archiving of lines beyond the live window, if there are enough of them.
    pub(super) fn archive_if_due(&self, stream: &Stream) {
        let over = stream.tip().len().saturating_sub(self.inner.window_lines);
        if over > ARCHIVE_STEP_LINES && !self.inner.archiving.swap(true, Ordering::AcqRel) {
            self.request_maintenance(MaintenanceRequest::Archive(self.clone()));
        }
    }

    /// Sends a request to the maintenance loop.
    pub(super) fn request_maintenance(&self, request: MaintenanceRequest) {
        // A loop that has stopped has closed the store already; one that lags finds the task in its next sweep.
        if let Some(tasks) = self.registry()
            && let Err(error) = tasks.inner.maintenance.try_send(request)
            && let MaintenanceRequest::Archive(task) = error.into_inner()
        {
            task.inner.archiving.store(false, Ordering::Release);
        }
    }
}
