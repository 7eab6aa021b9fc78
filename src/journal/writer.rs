//! The one writer: numbers, packs, inserts, makes durable, publishes, answers. In this order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::append::{Appended, Batch};
use super::head::Head;
use super::stream::Stream;
use super::trim::Trim;
use super::{Counters, Durability, JournalError, SYNC_INTERVAL, compact};
use crate::model::Timestamp;
use crate::store::Store;

/// Bytes that may wait to be written; whoever appends more waits.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one group commit; more wait for the next.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A reply, given with what became of the commit.
type Answer = Box<dyn FnOnce(Option<&JournalError>) + Send>;
type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Append { stream: Arc<Stream>, batch: Batch, trim: Option<Trim>, room: Room, reply: Reply<Appended> },
    Trim { stream: Arc<Stream>, trim: Trim, reply: Reply<u64> },
    Remove { stream: Arc<Stream>, reply: Reply<()> },
    Expire { stream: Arc<Stream>, at: Option<Timestamp>, reply: Reply<()> },
    Compact { stream: Arc<Stream>, reply: Reply<u64> },
    PutTask { id: Box<[u8]>, record: Option<Vec<u8>>, reply: Reply<()> },
    Stop { reply: oneshot::Sender<()> },
}

/// The way to the writer. Appends are bounded by bytes; the other commands are small and few.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
}

/// Room in the queue, given back when dropped: after the commit, or unused.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Queue {
    pub(super) fn start(store: Arc<Store>, durability: Durability, counters: Arc<Counters>) -> Self {
        let (sender, commands) = mpsc::channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let writer = Writer {
            store,
            durability,
            counters,
            heads: HashMap::new(),
            touched: Vec::new(),
            answers: Vec::new(),
            written: 0,
            rooms: Vec::new(),
            unsynced_since: None,
        };
        let thread = std::thread::Builder::new().name("journal-writer".into());
        if let Err(error) = thread.spawn(move || writer.run(&commands)) {
            tracing::error!(%error, "the journal's writer could not be started");
        }
        Self { sender, room }
    }

    /// A writer that is gone drops the command, and with it the reply: the caller reads `Closed`.
    pub(super) fn send(&self, command: Command) {
        if self.sender.send(command).is_err() {
            tracing::debug!("a command came after the journal was closed");
        }
    }

    pub(super) async fn make_room(&self, bytes: usize) -> Result<Room, JournalError> {
        let permits = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let permit = self.room.clone().acquire_many_owned(permits).await.map_err(|_| JournalError::Closed)?;
        Ok(Room { _permit: permit })
    }

    pub(super) fn queued_bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.room.available_permits().min(QUEUE_BYTES_MAX)
    }
}

struct Writer {
    store: Arc<Store>,
    durability: Durability,
    counters: Arc<Counters>,
    /// Streams written to; dropped with the stream.
    heads: HashMap<u64, Head>,
    /// Streams of this commit.
    touched: Vec<u64>,
    /// Replies of this commit, given after it.
    answers: Vec<Answer>,
    /// Bytes of this commit, and their room in the queue.
    written: usize,
    rooms: Vec<Room>,
    /// Under [`Durability::Interval`]: since when something waits for a sync.
    unsynced_since: Option<Instant>,
}

impl Writer {
    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        loop {
            let wait = self.unsynced_since.map_or(IDLE, |since| SYNC_INTERVAL.saturating_sub(since.elapsed()));
            let first = match commands.recv_timeout(wait) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.sync_if_due(true),
            };
            let mut stop = None;
            let mut next = first;
            while let Some(command) = next {
                match command {
                    Command::Stop { reply } => {
                        stop = Some(reply);
                        break;
                    }
                    command => self.take(command),
                }
                next = if self.written < COMMIT_BYTES_MAX { commands.try_recv().ok() } else { None };
            }
            self.finish();
            self.sync_if_due(stop.is_some());
            if let Some(reply) = stop {
                // The store is let go of first: whoever hears of the end may open it again.
                drop(self);
                // Whoever asked may have stopped waiting.
                return reply.send(()).unwrap_or_default();
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Append { stream, batch, trim, room, reply } => {
                self.written += batch.bytes();
                self.rooms.push(room);
                let done = self.append(&stream, &batch, trim);
                self.answer(reply, done);
            }
            Command::Trim { stream, trim, reply } => {
                let done = self.trim(&stream, trim);
                self.answer(reply, done);
            }
            Command::Remove { stream, reply } => {
                let done = self.remove(&stream);
                self.answer(reply, done);
            }
            Command::Expire { stream, at, reply } => {
                let done = self.expire(&stream, at);
                self.answer(reply, done);
            }
            Command::Compact { stream, reply } => {
                let done = compact::compact(&self.store, &stream);
                self.answer(reply, done);
            }
            Command::PutTask { id, record, reply } => {
                let done = self.close_blocks().and_then(|()| Ok(self.store.put_task(&id, record.as_deref())?));
                self.answer(reply, done);
            }
            Command::Stop { .. } => {}
        }
    }

    /// Keeps a reply until the commit: then it is what was done, or why it is not durable.
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, done: Result<T, JournalError>) {
        self.answers.push(Box::new(move |failed: Option<&JournalError>| {
            let done = match failed {
                Some(error) => done.and(Err(error.clone())),
                None => done,
            };
            // Whoever asked may have gone.
            reply.send(done).ok();
        }));
    }

    fn head(&mut self, stream: &Arc<Stream>) -> Result<&mut Head, JournalError> {
        let tip = stream.tip();
        if tip.removed {
            return Err(JournalError::Removed);
        }
        let head = self.heads.entry(stream.number).or_insert_with(|| Head::new(stream));
        if !head.touched {
            head.touched = true;
            self.touched.push(stream.number);
        }
        Ok(head)
    }

    fn append(&mut self, stream: &Arc<Stream>, batch: &Batch, trim: Option<Trim>) -> Result<Appended, JournalError> {
        if let Some(error) = &batch.failed {
            return Err(error.clone());
        }
        let (store, counters) = (self.store.clone(), self.counters.clone());
        let head = self.head(stream)?;
        if !head.stored {
            store.put_stream(&stream.name, &head.record())?;
            head.stored = true;
        }
        let done = head.append(&store, &counters, batch)?;
        if let Some(trim) = trim {
            self.trim(stream, trim)?;
        }
        Ok(done)
    }

    fn trim(&mut self, stream: &Arc<Stream>, trim: Trim) -> Result<u64, JournalError> {
        let store = self.store.clone();
        let head = self.head(stream)?;
        head.trim(&store, trim)
    }

    fn remove(&mut self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        self.heads.remove(&stream.number);
        stream.tip.send_modify(|tip| tip.removed = true);
        Ok(self.store.remove_stream(&stream.name, stream.number)?)
    }

    fn expire(&mut self, stream: &Arc<Stream>, at: Option<Timestamp>) -> Result<(), JournalError> {
        let store = self.store.clone();
        let head = self.head(stream)?;
        *head.stream.expires.write() = at;
        store.put_stream(&stream.name, &head.record())?;
        head.stored = true;
        Ok(())
    }

    /// Every write of this commit is in the store; what follows must not become durable before it.
    fn close_blocks(&mut self) -> Result<(), JournalError> {
        for number in &self.touched {
            if let Some(head) = self.heads.get_mut(number) {
                head.close_block(&self.store)?;
            }
        }
        Ok(())
    }

    /// Commits, publishes, answers.
    fn finish(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let committed = self.close_blocks().and_then(|()| match self.durability {
            Durability::Commit => Ok(self.store.commit()?),
            Durability::Interval => {
                self.unsynced_since.get_or_insert_with(Instant::now);
                Ok(self.store.flush()?)
            }
        });
        Counters::add(&self.counters.commits, 1);
        for number in self.touched.drain(..) {
            let Some(head) = self.heads.get_mut(&number) else { continue };
            if committed.is_ok() {
                head.publish(&self.counters);
            } else {
                // What was not made durable was never seen; the next append begins at the last tip.
                self.heads.remove(&number);
            }
        }
        let failed = committed.err();
        for answer in self.answers.drain(..) {
            answer(failed.as_ref());
        }
        self.rooms.clear();
        self.written = 0;
        self.heads.retain(|_, head| Arc::strong_count(&head.stream) > 1);
    }

    fn sync_if_due(&mut self, now: bool) {
        let Some(since) = self.unsynced_since else { return };
        if now || since.elapsed() >= SYNC_INTERVAL {
            self.unsynced_since = None;
            if let Err(error) = self.store.commit() {
                tracing::error!(%error, "a sync failed");
            }
        }
    }
}

/// How long the writer waits when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);
