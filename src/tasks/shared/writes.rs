//! The queue of a task's writes. They run one after another, in the order in which they were queued.
//!
//! A write that fails because Redis is not available is repeated, since a repeated script changes nothing: lines are
//! known by their session and number, which the engine gives to lines without one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::super::{AppendedLines, LineBatch, TasksError};
use crate::home::redis::{
    EndReply, PatchReply, SharedAck, SharedBatch, SharedLine, SharedNumbering, SharedTask, StoreReply,
};
use crate::home::{Engine, EngineError};
use crate::journal::LineNumbering;
use crate::model::{EntryBody, Epoch, TaskId};

/// Maximum bytes of lines that wait in one task's queue; more appends wait.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum lines that are sent together.
const GROUP_LINES_MAX: usize = 2_000;
/// Longest time for which a write is repeated while Redis is not available.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Pauses between two attempts.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Resolves when the lines are stored.
pub(in crate::tasks) type AppendReceiver = oneshot::Receiver<Result<AppendedLines, TasksError>>;
type AppendSender = oneshot::Sender<Result<AppendedLines, TasksError>>;

/// Fields of a record with their values as JSON.
pub(super) type Fields = Vec<(String, String)>;

/// The outcome of an end.
#[derive(Debug)]
pub(super) enum EndWritten {
    /// It ended the task.
    Ended,
    /// Another end came first.
    Before(Box<SharedTask>),
}

/// The queue of one task. Its runner starts with the first write and ends with the queue.
#[derive(Debug)]
pub(super) struct TaskWriteQueue {
    engine: Engine,
    id: TaskId,
    birth: u64,
    capacity: Arc<Semaphore>,
    sender: Mutex<Option<mpsc::UnboundedSender<Write>>>,
    resumed: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
enum Write {
    Append(QueuedLines),
    Patch {
        fields: Fields,
        reply: oneshot::Sender<Result<(), TasksError>>,
    },
    /// Announces a worker of this server for a time, or withdraws it.
    Worker(Option<Duration>),
    End {
        fields: Fields,
        session: Option<(String, u64)>,
        reply: oneshot::Sender<Result<EndWritten, TasksError>>,
    },
}

#[derive(Debug)]
struct QueuedLines {
    batch: SharedBatch,
    reply: AppendSender,
    _permit: OwnedSemaphorePermit,
}

/// Room in the queue.
#[derive(Debug)]
pub(in crate::tasks) struct WritePermit(OwnedSemaphorePermit);

impl TaskWriteQueue {
    pub(super) fn new(engine: Engine, id: TaskId, birth: u64) -> Self {
        let capacity = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Self { engine, id, birth, capacity, sender: Mutex::default(), resumed: Arc::default() }
    }

    /// Waits for room for `bytes`.
    ///
    /// # Errors
    /// There is none within the time for which a write is repeated.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<WritePermit, TasksError> {
        let permits = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        match timeout(RETRY_MAX, self.capacity.clone().acquire_many_owned(permits)).await {
            Ok(permit) => Ok(WritePermit(permit.map_err(|_| TasksError::Closed)?)),
            Err(_) => Err(unavailable("the lines before these are not stored yet")),
        }
    }

    /// Returns a permit without room, for lines too few to count.
    pub(super) fn empty_permit(&self) -> Result<WritePermit, TasksError> {
        let permit = self.capacity.clone().try_acquire_many_owned(0).map_err(|_| TasksError::Closed)?;
        Ok(WritePermit(permit))
    }

    /// Queues the lines of a batch.
    pub(super) fn append(&self, batch: SharedBatch, permit: WritePermit) -> AppendReceiver {
        let (reply, receiver) = oneshot::channel();
        self.send(Write::Append(QueuedLines { batch, reply, _permit: permit.0 }));
        receiver
    }

    /// Queues changed fields of the record.
    pub(super) fn patch(&self, fields: Fields) -> oneshot::Receiver<Result<(), TasksError>> {
        let (reply, receiver) = oneshot::channel();
        match fields.is_empty() {
            // The caller may have stopped waiting.
            true => drop(reply.send(Ok(()))),
            false => self.send(Write::Patch { fields, reply }),
        }
        receiver
    }

    /// Ends the task with these fields, after the writes before.
    pub(super) async fn end(&self, fields: Fields, session: Option<(String, u64)>) -> Result<EndWritten, TasksError> {
        let (reply, receiver) = oneshot::channel();
        self.send(Write::End { fields, session, reply });
        receiver.await.map_err(|_| TasksError::Closed)?
    }

    /// Notes that a session was told its last stored number. Numbers missing before its next lines are lost.
    pub(super) fn resume(&self, session: &str) {
        let mut resumed = self.resumed.lock();
        if !resumed.iter().any(|name| name == session) {
            resumed.push(session.to_owned());
        }
    }

    /// Announces a worker of this server for a time, or withdraws it.
    pub(super) fn announce_worker(&self, time: Option<Duration>) {
        self.send(Write::Worker(time));
    }

    fn send(&self, write: Write) {
        let mut sender = self.sender.lock();
        let queue = sender.get_or_insert_with(|| {
            let (sender, writes) = mpsc::unbounded_channel();
            let (engine, id, resumed) = (self.engine.clone(), self.id.clone(), self.resumed.clone());
            let runner = Runner { engine, id, birth: self.birth, resumed };
            tokio::spawn(runner.run(writes));
            sender
        });
        if queue.send(write).is_err() {
            tracing::debug!(task = %self.id, "a write came after the end of its queue");
        }
    }
}

/// Runs the writes of a task.
struct Runner {
    engine: Engine,
    id: TaskId,
    birth: u64,
    /// Sessions whose next lines are the first after their start.
    resumed: Arc<Mutex<Vec<String>>>,
}

impl Runner {
    async fn run(self, mut writes: mpsc::UnboundedReceiver<Write>) {
        let mut next = None;
        loop {
            let write = match next.take() {
                Some(write) => write,
                None => match writes.recv().await {
                    Some(write) => write,
                    None => return,
                },
            };
            match write {
                Write::Append(lines) => next = self.append(lines, &mut writes).await,
                Write::Patch { fields, reply } => {
                    let done = self.patch(&fields).await;
                    reply.send(done).ok();
                }
                Write::Worker(time) => self.announce_worker(time).await,
                Write::End { fields, session, reply } => {
                    let done = self.end(&fields, session).await;
                    reply.send(done).ok();
                }
            }
        }
    }

    /// Appends lines, together with those that follow in the queue and continue their numbers. Returns the write after
    /// them.
    async fn append(&self, lines: QueuedLines, writes: &mut mpsc::UnboundedReceiver<Write>) -> Option<Write> {
        let QueuedLines { mut batch, reply, _permit } = lines;
        let (mut waiting, mut next) = (vec![(reply, batch.lines.len() as u64, _permit)], None);
        let is_numbered = batch.session.is_some();
        while is_numbered && batch.lines.len() < GROUP_LINES_MAX {
            match writes.try_recv() {
                Ok(Write::Append(more)) if continues(&batch, &more.batch) => {
                    waiting.push((more.reply, more.batch.lines.len() as u64, more._permit));
                    batch.lines.extend(more.batch.lines);
                }
                Ok(write) => {
                    next = Some(write);
                    break;
                }
                Err(_) => break,
            }
        }
        batch.resumes = self.takes_resumed(&batch);
        let done = self.store(&batch).await;
        let mut count = done.as_ref().map_or(0, |stored| stored.count);
        for (reply, lines, _) in waiting {
            // Repeats are at the front: the last lines are the new ones.
            let own = count.min(lines);
            count -= own;
            let part = done.clone().map(|stored| AppendedLines { count: own, ..stored });
            reply.send(part).ok();
        }
        next
    }

    /// Reports whether a batch is the first of a session that has just started or resumed.
    fn takes_resumed(&self, batch: &SharedBatch) -> bool {
        let mut resumed = self.resumed.lock();
        let Some((session, _)) = &batch.session else { return false };
        let at = resumed.iter().position(|name| name == session);
        at.map(|at| resumed.swap_remove(at)).is_some()
    }

    fn appended(&self, ack: SharedAck) -> AppendedLines {
        let SharedAck { first_line, last_line, last_id, count, acked_seq } = ack;
        // The ticket sets the epoch.
        let epoch = Epoch { incarnation: self.birth, generation: 0 };
        AppendedLines { first_line, last_line, last_id, count, dropped: 0, acked_seq, epoch }
    }

    async fn store(&self, batch: &SharedBatch) -> Result<AppendedLines, TasksError> {
        let reply = self.repeat("append lines", || self.engine.append(&self.id, self.birth, batch.clone())).await?;
        match reply {
            StoreReply::Stored(ack) => Ok(self.appended(ack)),
            StoreReply::Ended { acked_seq } if acked_seq.is_some() && acked_seq >= last_seq(batch) => {
                // All of them were stored before the end.
                Ok(self.appended(SharedAck { acked_seq, ..SharedAck::default() }))
            }
            StoreReply::Ended { .. } => Err(TasksError::Ended(self.id.clone())),
            StoreReply::Removed => Err(TasksError::Removed(self.id.clone())),
            StoreReply::Full { .. } => Err(unavailable("the lines of this task wait for the object store")),
            StoreReply::Behind { acked_seq } => Err(behind(acked_seq)),
        }
    }

    async fn patch(&self, fields: &Fields) -> Result<(), TasksError> {
        match self.repeat("write a record", || self.engine.patch(&self.id, self.birth, fields)).await? {
            PatchReply::Patched => Ok(()),
            PatchReply::Removed => Err(TasksError::Removed(self.id.clone())),
        }
    }

    async fn announce_worker(&self, time: Option<Duration>) {
        let done = match time {
            Some(time) => self.engine.attach(&self.id, self.birth, millis(time)).await,
            None => self.engine.detach(&self.id, self.birth).await,
        };
        if let Err(error) = done {
            tracing::debug!(task = %self.id, %error, "failed to announce a worker");
        }
    }

    async fn end(&self, fields: &Fields, session: Option<(String, u64)>) -> Result<EndWritten, TasksError> {
        let end = || self.engine.end(&self.id, self.birth, fields, session.clone());
        match self.repeat("end a task", end).await? {
            EndReply::Ended { .. } => Ok(EndWritten::Ended),
            EndReply::AlreadyEnded(state) => Ok(EndWritten::Before(state)),
            EndReply::Removed => Err(TasksError::Removed(self.id.clone())),
            EndReply::Behind { acked_seq } => Err(behind(acked_seq)),
        }
    }

    /// Runs a script, again after a pause while Redis is not available, and while the task has no room.
    async fn repeat<T: RetriedReply, F: Future<Output = Result<T, EngineError>>>(
        &self,
        doing: &str,
        script: impl Fn() -> F,
    ) -> Result<T, TasksError> {
        let (started, mut pause) = (Instant::now(), RETRY_PAUSE_MIN);
        loop {
            let done = script().await;
            let may_repeat = started.elapsed() < RETRY_MAX;
            match done {
                Ok(reply) if reply.is_final() || !may_repeat => return Ok(reply),
                Ok(_) => {}
                Err(error) if error.is_temporary() && may_repeat => {
                    tracing::debug!(task = %self.id, %error, "failed to {doing}; will retry");
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

/// Returns the error for lines that Redis cannot store before earlier ones of their session, which it has lost. The
/// worker is asked to connect again, and continues after the last line that is stored.
fn behind(acked_seq: Option<u64>) -> TasksError {
    unavailable(&format!("the shared store has the lines up to {} of this session", acked_seq.unwrap_or(0)))
}

/// A reply that may ask for another attempt.
trait RetriedReply {
    /// Reports whether another attempt would have the same reply.
    fn is_final(&self) -> bool {
        true
    }
}

impl RetriedReply for PatchReply {}
impl RetriedReply for EndReply {}
impl RetriedReply for StoreReply {
    fn is_final(&self) -> bool {
        !matches!(self, StoreReply::Full { .. })
    }
}

/// Reports whether `more` continues the numbers of a batch.
fn continues(batch: &SharedBatch, more: &SharedBatch) -> bool {
    let (Some((session, _)), Some(last), Some((other, first))) = (&batch.session, last_seq(batch), &more.session)
    else {
        return false;
    };
    session == other && last + 1 == *first && !more.ends_session && more.over_limit.is_none()
}

/// Returns the number of the last line, if the lines are numbered.
fn last_seq(batch: &SharedBatch) -> Option<u64> {
    let numbered = batch.lines.iter().filter(|line| line.numbering == SharedNumbering::Next).count() as u64;
    batch.session.as_ref().map(|(_, first)| (first + numbered).saturating_sub(1))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable(why: &str) -> TasksError {
    TasksError::ReadOnly(format!("{why}; see the server's log and /readyz"))
}

/// Returns a batch in the form that the engine takes.
///
/// # Errors
/// An entry of it cannot be encoded.
pub(super) fn shared_batch(batch: &LineBatch) -> Result<SharedBatch, TasksError> {
    let mut lines = Vec::with_capacity(batch.len());
    for entry in batch.entries() {
        let (body, numbering, skipped) = entry.map_err(TasksError::from)?;
        let EntryBody::Line(line) = body else { continue };
        lines.push(SharedLine {
            channel: line.channel,
            timestamp: line.timestamp.to_string(),
            text: line.text.into_owned().into_bytes(),
            partial: line.partial,
            lossy: line.lossy,
            skipped,
            numbering: match numbering {
                LineNumbering::Next => SharedNumbering::Next,
                LineNumbering::Continuation => SharedNumbering::Continuation,
                LineNumbering::Unnumbered => SharedNumbering::Unnumbered,
            },
        });
    }
    Ok(SharedBatch {
        session: batch.session().map(|(name, first)| (name.to_owned(), first)),
        ends_session: batch.ends_session(),
        over_limit: batch.exceeded_limit().map(str::to_owned),
        resumes: false,
        lines,
    })
}
