//! Lines into a task, and its end behind them.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::gate::Told;
use super::record::TaskRecord;
use super::task::TaskHandle;
use super::{LineBatch, TasksError, keeper};
use crate::journal::{self, JournalError, Stream};
use crate::model::{EntryId, Epoch, ReportedTotals, TaskStatus, Timestamp};

/// Lines over the live window that an append lets pass before it waits for the archive.
const BACKLOG_LINES_MAX: u64 = 500_000;
/// How long an append waits for the archive to catch up before it is refused.
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(10);

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// What the command returned.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was ended from outside.
    pub aborted: bool,
    /// When; now, if not said.
    pub at: Option<Timestamp>,
    /// The session that says so, and the number of its message.
    pub session: Option<(String, u64)>,
    /// How many lines it had, and what they add up to.
    pub reported: ReportedTotals,
}

/// What became of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// The task has ended by it.
    Ended,
    /// The same message was taken before.
    Repeated,
    /// Another end came first, and stays.
    AlreadyEnded,
}

/// What became of appended lines. The line numbers are 0 if all of them were there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Line number of the first.
    pub first_line: u64,
    /// Line number of the last.
    pub last_line: u64,
    /// Entry id of the last.
    pub last_id: EntryId,
    /// Lines added.
    pub count: u64,
    /// Lines that were over a limit: dropped, and told by one line.
    pub over: u64,
    /// The session's last durable number.
    pub acked_seq: Option<u64>,
    /// The log they are in.
    pub epoch: Epoch,
}

/// Resolves when the lines are durable.
#[derive(Debug)]
pub struct Ticket {
    kind: TicketKind,
    epoch: Epoch,
}

#[derive(Debug)]
enum TicketKind {
    Queued(journal::CommitTicket),
    /// Every line was there before the end.
    Repeat(u64),
    /// The first lines are queued, the others over a limit: they are told, later, in one line.
    Over(Box<OverTicket>),
}

/// The last lines of a batch, which were not taken.
#[derive(Debug)]
pub struct Untaken {
    /// How many.
    pub lines: usize,
    /// Why, and when they may come again.
    pub error: TasksError,
}

#[derive(Debug)]
struct OverTicket {
    /// What became of the lines that were taken, once it is known.
    taken: Result<journal::AppendAck, journal::CommitTicket>,
    told: Told,
    lines: u64,
}

impl Future for Ticket {
    type Output = Result<Appended, TasksError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let epoch = self.epoch;
        let done = match &mut self.kind {
            TicketKind::Queued(ticket) => match Pin::new(ticket).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(done) => done,
            },
            TicketKind::Over(over) => match over.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(done) => done,
            },
            TicketKind::Repeat(seq) => {
                Ok(journal::AppendAck { acked_seq: Some(*seq), ..journal::AppendAck::default() })
            }
        };
        Poll::Ready(done.map_err(TasksError::from).map(|done| Appended {
            first_line: done.first_line,
            last_line: done.last_line,
            last_id: done.last_id,
            count: done.count,
            acked_seq: done.acked_seq,
            over: match &self.kind {
                TicketKind::Over(over) => over.lines,
                _ => 0,
            },
            epoch,
        }))
    }
}

impl OverTicket {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<journal::AppendAck, JournalError>> {
        if let Err(ticket) = &mut self.taken {
            match Pin::new(ticket).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(done)) => self.taken = Ok(done),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        let told = match Pin::new(&mut self.told).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(told) => told.unwrap_or(Err(JournalError::Closed))?,
        };
        let taken = self.taken.as_ref().copied().unwrap_or_default();
        Poll::Ready(Ok(journal::AppendAck { acked_seq: told.acked_seq.max(taken.acked_seq), ..taken }))
    }
}

/// Whether an end was begun.
enum Begun {
    /// The record as it will be.
    With(Box<TaskRecord>),
    /// It has ended already.
    Not(EndOutcome),
    /// Dropped lines are still to be told of.
    OwesWord,
    /// Another end is on its way: whether this is the same one is known when that is durable.
    UnderWay,
}

/// What becomes of lines that are over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenOver {
    /// They are dropped, and told.
    Drop,
    /// They are not taken, and whoever sends them is told when to come again.
    Refuse,
    /// They are the server's own: no limit holds for them.
    Take,
}

impl TaskHandle {
    /// Queues lines in order, after a wait for room; the ticket resolves when they are durable. What is
    /// over the task's limit is dropped, and told by a line in its place.
    pub async fn append(&self, batch: LineBatch) -> Result<Ticket, TasksError> {
        Ok(self.append_as(batch, WhenOver::Drop).await?.0)
    }

    /// The same for a sender that can be told to come again: of what is over the limit nothing is taken.
    /// Answers why, if it was not all.
    pub async fn append_or_refuse(&self, batch: LineBatch) -> Result<(Ticket, Option<Untaken>), TasksError> {
        self.append_as(batch, WhenOver::Refuse).await
    }

    /// Lines of the server's own, for which no limit holds.
    pub(super) async fn append_own(&self, batch: LineBatch) -> Result<Ticket, TasksError> {
        Ok(self.append_as(batch, WhenOver::Take).await?.0)
    }

    async fn append_as(
        &self,
        mut batch: LineBatch,
        when_over: WhenOver,
    ) -> Result<(Ticket, Option<Untaken>), TasksError> {
        self.inner.journal.check_can_grow()?;
        if when_over != WhenOver::Take {
            self.has_budget()?;
        }
        self.wait_for_archive().await?;
        let room = self.inner.journal.reserve(batch.bytes()).await?;
        let epoch = self.epoch();
        let resumed = {
            let mut state = self.inner.state.lock();
            if state.removed {
                return Err(TasksError::Removed(self.id().clone()));
            }
            if state.record.takes_no_more() || state.ending {
                // While the end is on its way the record does not know of the last lines yet.
                let stored = |session: &str| self.stream().map_or(0, |stream| stream.acked_seq(session));
                let seen = batch.last_seq().map(|(session, last)| {
                    let seen = state.record.seq_of(session).max(if state.ending { stored(session) } else { 0 });
                    (seen, last)
                });
                return match seen {
                    Some((seen, last)) if last <= seen => Ok((Ticket { kind: TicketKind::Repeat(seen), epoch }, None)),
                    _ => Err(TasksError::Ended(self.id().clone())),
                };
            }
            (state.closing, state.record.ended) = (None, None);
            std::mem::replace(&mut state.record.status, TaskStatus::Running) != TaskStatus::Running
        };
        if resumed {
            drop(self.queue_record()?);
            self.notify();
        }
        self.heartbeat();
        self.note_events(batch.encoded());
        let mut state = self.inner.state.lock();
        let Some(stream) = self.stream().filter(|_| !state.ending && !state.record.status.is_final()) else {
            return Err(TasksError::Ended(self.id().clone()));
        };
        // Under the lock under which it is queued: what is told comes behind what was taken.
        let (mut told, mut refused) = (None, None);
        if let Some(gate) = state.gate.as_mut().filter(|_| when_over != WhenOver::Take) {
            let known = batch.last_seq().map_or(0, |(session, _)| stream.acked_seq(session));
            if when_over == WhenOver::Drop {
                told = gate.drop_over(&mut batch, known);
            } else if let Some(over) = gate.refuse_over(&mut batch, known) {
                self.count_over(over.reached, over.lines);
                let error = over.error(self.id());
                if batch.is_empty() {
                    return Err(error);
                }
                refused = Some(Untaken { lines: usize::try_from(over.lines).unwrap_or(usize::MAX), error });
            }
        }
        let taken = if batch.is_empty() && told.is_some() {
            Ok(journal::AppendAck::default())
        } else {
            Err(self.inner.journal.append_reserved(&stream, batch, None, room))
        };
        drop(state);
        self.archive_if_due(&stream);
        let kind = match (told, taken) {
            (Some(over), taken) => {
                self.count_over(over.reached, over.lines);
                if let Some(until) = over.closed_until {
                    self.tell_dropped_at(until);
                }
                TicketKind::Over(Box::new(OverTicket { taken, told: over.told, lines: over.lines }))
            }
            (None, Err(ticket)) => TicketKind::Queued(ticket),
            (None, Ok(_)) => TicketKind::Repeat(0),
        };
        Ok((Ticket { kind, epoch }, refused))
    }

    /// Lines that are over the window go to the archive; this asks the keeper to see to it.
    pub(super) fn archive_if_due(&self, stream: &Stream) {
        let over = stream.tip().len().saturating_sub(self.inner.window_lines);
        if over > keeper::ARCHIVE_STEP_LINES && !self.inner.archiving.swap(true, Ordering::AcqRel) {
            self.wake(keeper::Wake::Archive(self.clone()));
        }
    }

    pub(super) fn wake(&self, wake: keeper::Wake) {
        // A keeper that is gone has closed the store already; one that is behind finds the task by itself.
        if let Some(tasks) = self.registry()
            && let Err(error) = tasks.inner.wake.try_send(wake)
            && let keeper::Wake::Archive(task) = error.into_inner()
        {
            task.inner.archiving.store(false, Ordering::Release);
        }
    }

    /// Nothing is trimmed before it is archived, so an archive that lags makes appends wait.
    pub(super) async fn wait_for_archive(&self) -> Result<(), TasksError> {
        let Some(stream) = self.stream() else { return Ok(()) };
        let full = |len: u64| len > self.inner.window_lines + BACKLOG_LINES_MAX;
        if !full(stream.tip().len()) {
            return Ok(());
        }
        let mut tip = stream.watch();
        let room = tip.wait_for(|tip| tip.removed || !full(tip.len()));
        match tokio::time::timeout(BACKLOG_TIMEOUT, room).await {
            Ok(_) => Ok(()),
            Err(_) => Err(TasksError::ReadOnly(format!("the archive of task {} does not keep up", self.id()))),
        }
    }

    /// Ends the task behind every line appended before. The first end stays.
    pub async fn end(&self, end: End) -> Result<EndOutcome, TasksError> {
        let mut changed = self.inner.changed.subscribe();
        let next = loop {
            // Lines that were dropped are told of before the end.
            self.tell_dropped().await;
            // Marked before the look: what comes after it wakes the wait.
            changed.mark_unchanged();
            match self.begin_end(&end)? {
                Begun::With(next) => break *next,
                Begun::Not(outcome) => return Ok(outcome),
                Begun::OwesWord => {}
                Begun::UnderWay => {
                    let waited = tokio::time::timeout(BACKLOG_TIMEOUT, changed.changed()).await;
                    let waited = waited.map_err(|_| JournalError::Unconfirmed(BACKLOG_TIMEOUT))?;
                    waited.map_err(|_| TasksError::Closed)?;
                }
            }
        };
        // The caller may go away; an end that was begun is carried through.
        let (task, (reply, done)) = (self.clone(), oneshot::channel());
        let end = End { at: next.ended, ..end };
        tokio::spawn(async move {
            reply.send(task.finish_end(next, end).await).ok();
        });
        done.await.map_err(|_| TasksError::Closed)??;
        Ok(EndOutcome::Ended)
    }

    fn begin_end(&self, end: &End) -> Result<Begun, TasksError> {
        let mut state = self.inner.state.lock();
        if state.gate.as_ref().is_some_and(|gate| gate.owes_word()) {
            return Ok(Begun::OwesWord);
        }
        if state.removed {
            return Err(TasksError::Removed(self.id().clone()));
        }
        if state.ending {
            return Ok(Begun::UnderWay);
        }
        if state.record.status.is_final() {
            let repeated = end.session.as_ref().is_some_and(|(session, seq)| state.record.seq_of(session) >= *seq);
            return Ok(Begun::Not(if repeated { EndOutcome::Repeated } else { EndOutcome::AlreadyEnded }));
        }
        state.ending = true;
        let mut next = state.record.clone();
        next.status = if end.aborted { TaskStatus::Aborted } else { TaskStatus::Completed };
        (next.exit_code, next.signal) = (end.exit_code, end.signal);
        next.ended = Some(end.at.unwrap_or_else(Timestamp::now));
        Ok(Begun::With(Box::new(next)))
    }

    async fn finish_end(&self, mut next: TaskRecord, end: End) -> Result<(), TasksError> {
        // Queued behind the last lines: answered, their numbers are known.
        let drained = match self.stream() {
            Some(stream) => {
                self.inner.journal.trim(&stream, journal::Trim::ThroughLine(0)).await.map(|_| stream.sessions())
            }
            None => Ok(Vec::new()),
        };
        let (session, said) = (end.session.clone(), end.reported);
        self.close_events(end).await;
        let compared = match drained {
            Ok(sessions) => self.compare(session.clone(), said).await.map(|integrity| (sessions, integrity)),
            Err(error) => Err(error.into()),
        };
        let done = match compared {
            Ok((sessions, integrity)) => {
                next.sessions = sessions;
                next.integrity = Some(integrity);
                if let Some((session, seq)) = session {
                    next.sessions.retain(|(name, _)| *name != session);
                    next.sessions.push((session, seq));
                }
                let queued = {
                    let mut state = self.inner.state.lock();
                    state.end_queued = Some(Box::new(next.clone()));
                    self.queue(&state, &next)
                };
                match queued {
                    Ok(durable) => durable.await.map_err(TasksError::from),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        {
            let mut state = self.inner.state.lock();
            (state.ending, state.end_queued) = (false, None);
            if done.is_ok() {
                state.record = next;
            }
        }
        self.notify();
        done?;
        self.wake(keeper::Wake::Seal(self.clone()));
        Ok(())
    }
}
