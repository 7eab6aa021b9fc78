//! The queue of a task's writes. They run one after another, in the order in which they were queued.
//!
//! A write that fails because Redis is not available is repeated, since a repeated script changes nothing: lines are
//! known by their session and number. Lines without a number get one in a session of this server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use ulid::Ulid;

use super::super::{AppendedLines, LineBatch, TasksError};
use crate::home::{AppendReply, EndReply, Engine, EngineError, PatchReply, SharedBatch, SharedLine, TaskState};
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
    /// It ended the task, whose last line is this one.
    Ended(u64),
    /// Another end came first.
    Before(Box<TaskState>),
}

/// The queue of one task. Its runner starts with the first write and ends with the queue.
#[derive(Debug)]
pub(super) struct WriteQueue {
    engine: Engine,
    id: TaskId,
    birth: u64,
    capacity: Arc<Semaphore>,
    sender: Mutex<Option<mpsc::UnboundedSender<Write>>>,
}

#[derive(Debug)]
enum Write {
    Append(QueuedLines),
    Patch { fields: Fields, reply: oneshot::Sender<Result<(), TasksError>> },
    /// Announces a worker of this server for a time, or withdraws it.
    Worker(Option<Duration>),
    End { fields: Fields, session: Option<(String, u64)>, reply: oneshot::Sender<Result<EndWritten, TasksError>> },
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

impl WriteQueue {
    pub(super) fn new(engine: Engine, id: TaskId, birth: u64) -> Self {
        let capacity = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Self { engine, id, birth, capacity, sender: Mutex::default() }
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

    /// Announces a worker of this server for a time, or withdraws it.
    pub(super) fn announce_worker(&self, time: Option<Duration>) {
        self.send(Write::Worker(time));
    }

    fn send(&self, write: Write) {
        let mut sender = self.sender.lock();
        let queue = sender.get_or_insert_with(|| {
            let (sender, writes) = mpsc::unbounded_channel();
            let session = format!("server:{}", Ulid::generate());
            let runner = Runner { engine: self.engine.clone(), id: self.id.clone(), birth: self.birth, session, sent: 0 };
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
    /// Session of the lines without a number.
    session: String,
    /// Last number in it.
    sent: u64,
}

impl Runner {
    async fn run(mut self, mut writes: mpsc::UnboundedReceiver<Write>) {
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
    async fn append(&mut self, lines: QueuedLines, writes: &mut mpsc::UnboundedReceiver<Write>) -> Option<Write> {
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
        if !is_numbered {
            batch.session = Some((self.session.clone(), self.sent + 1));
            self.sent += batch.numbered();
        }
        let done = self.store(&batch).await.map(|stored| AppendedLines {
            acked_seq: stored.acked_seq.filter(|_| is_numbered),
            ..stored
        });
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

    async fn store(&self, batch: &SharedBatch) -> Result<AppendedLines, TasksError> {
        let reply = self.repeat("append lines", || self.engine.append(&self.id, self.birth, batch)).await?;
        match reply {
            AppendReply::Stored { first_line, last_line, last_id, count, acked_seq } => {
                let epoch = Epoch { incarnation: self.birth, generation: self.engine.epoch(&self.id) };
                Ok(AppendedLines { first_line, last_line, last_id, count, dropped: 0, acked_seq, epoch })
            }
            AppendReply::Ended { acked_seq } => match batch.last_seq().filter(|last| acked_seq >= *last) {
                Some(_) => Ok(AppendedLines {
                    first_line: 0,
                    last_line: 0,
                    last_id: crate::model::EntryId::MIN,
                    count: 0,
                    dropped: 0,
                    acked_seq: Some(acked_seq),
                    epoch: Epoch { incarnation: self.birth, generation: self.engine.epoch(&self.id) },
                }),
                None => Err(TasksError::Ended(self.id.clone())),
            },
            AppendReply::Removed => Err(TasksError::Removed(self.id.clone())),
            AppendReply::Full => Err(unavailable("the lines of this task wait for the object store")),
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
            Some(time) => self.engine.attach(&self.id, self.birth, time).await,
            None => self.engine.detach(&self.id, self.birth).await,
        };
        if let Err(error) = done {
            tracing::debug!(task = %self.id, %error, "failed to announce a worker");
        }
    }

    async fn end(&self, fields: &Fields, session: Option<(String, u64)>) -> Result<EndWritten, TasksError> {
        let end = || self.engine.end(&self.id, self.birth, fields, session.as_ref());
        match self.repeat("end a task", end).await? {
            EndReply::Ended { last_line } => Ok(EndWritten::Ended(last_line)),
            EndReply::AlreadyEnded(state) => Ok(EndWritten::Before(Box::new(state))),
            EndReply::Removed => Err(TasksError::Removed(self.id.clone())),
        }
    }

    /// Runs a script, again after a pause while Redis is not available, and while the task has no room.
    async fn repeat<T: Reply, F: Future<Output = Result<T, EngineError>>>(
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
                Err(error) if error.is_retryable() && may_repeat => {
                    tracing::debug!(task = %self.id, %error, "failed to {doing}; will retry");
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

/// A reply that may ask for another attempt.
trait Reply {
    /// Reports whether another attempt would have the same reply.
    fn is_final(&self) -> bool {
        true
    }
}

impl Reply for PatchReply {}
impl Reply for EndReply {}
impl Reply for AppendReply {
    fn is_final(&self) -> bool {
        !matches!(self, AppendReply::Full)
    }
}

/// Reports whether `more` continues the numbers of a batch.
fn continues(batch: &SharedBatch, more: &SharedBatch) -> bool {
    let (Some((session, _)), Some(last), Some((other, first))) = (&batch.session, batch.last_seq(), &more.session) else {
        return false;
    };
    session == other && last + 1 == *first && !more.ends_session && more.over_limit.is_none()
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
        let (body, numbering) = entry.map_err(TasksError::from)?;
        let EntryBody::Line(line) = body else { continue };
        lines.push(SharedLine {
            channel: line.channel,
            timestamp: line.timestamp,
            text: line.text.into_owned(),
            partial: line.partial,
            lossy: line.lossy,
            numbering: match numbering {
                LineNumbering::Next => crate::home::LineNumbering::Next,
                LineNumbering::Continuation => crate::home::LineNumbering::Continuation,
                LineNumbering::Unnumbered => crate::home::LineNumbering::Unnumbered,
            },
        });
    }
    Ok(SharedBatch {
        session: batch.session().map(|(name, first)| (name.to_owned(), first)),
        ends_session: batch.ends_session(),
        over_limit: batch.exceeded_limit().map(str::to_owned),
        lines,
    })
}
