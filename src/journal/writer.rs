//! The one writer: numbers, packs, inserts, makes durable, publishes, answers. In this order.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::append::{Appended, Batch};
use super::head::Cx;
use super::head::Head;
use super::keys::{Job, Keys, mark_dirty};
use super::stream::Stream;
use super::trim::Trim;
use super::waiting::{Waitings, Why};
use super::{Counters, Durability, JournalError, SYNC_INTERVAL, Streams, compact};
use crate::model::Timestamp;
use crate::store::Store;

/// Bytes that may wait to be written; whoever appends more waits.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one group commit; more wait for the next.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A reply, given with what became of the commit.
pub type Answer = Box<dyn FnOnce(Option<&JournalError>) + Send>;
type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Append { stream: Arc<Stream>, batch: Batch, trim: Option<Trim>, room: Room, reply: Reply<Appended> },
    Trim { stream: Arc<Stream>, trim: Trim, reply: Reply<u64> },
    Remove { stream: Arc<Stream>, reply: Reply<()> },
    Expire { stream: Arc<Stream>, at: Option<Timestamp>, reply: Reply<()> },
    Compact { stream: Arc<Stream>, reply: Reply<u64> },
    Job { job: Job, room: Room },
    GiveUp { client: u64, why: Why },
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
    pub(super) fn start(
        store: Arc<Store>,
        durability: Durability,
        counters: Arc<Counters>,
        streams: Arc<Streams>,
    ) -> Self {
        let (sender, commands) = mpsc::channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let writer = Writer {
            store,
            durability,
            counters,
            streams,
            encoded: Vec::new(),
            recent: None,
            heads: HashMap::new(),
            touched: Vec::new(),
            changed: false,
            watched: HashMap::new(),
            waiting: Waitings::default(),
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

pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    durability: Durability,
    counters: Arc<Counters>,
    pub(super) streams: Arc<Streams>,
    /// Where the entry that is being added is encoded.
    pub(super) encoded: Vec<u8>,
    /// The name and the number of the stream that was found last.
    recent: Option<(Box<[u8]>, u64)>,
    /// Streams written to; dropped with the stream.
    pub(super) heads: HashMap<u64, Head>,
    /// Streams of this commit.
    touched: Vec<u64>,
    /// Whether there is anything to commit.
    changed: bool,
    /// By key, what is set with its next change (Redis: WATCH).
    pub(super) watched: HashMap<Box<[u8]>, Vec<Weak<AtomicBool>>>,
    pub(super) waiting: Waitings,
    /// Replies of this commit, given after it.
    pub(super) answers: Vec<Answer>,
    /// Bytes of this commit, and their room in the queue.
    pub(super) written: usize,
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
                // The store is let go before the answer: whoever asked may open it again at once.
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
                self.settle();
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
                self.changed = true;
                let settled = self.heads.get(&stream.number).is_none_or(Head::is_settled);
                let done = if settled { compact::compact(&self.store, &stream) } else { Ok(0) };
                self.answer(reply, done);
            }
            Command::Job { job, room } => {
                self.rooms.push(room);
                let answer = (job.0)(&mut Keys { writer: self, now: Timestamp::now() });
                self.answers.push(answer);
                self.settle();
            }
            Command::GiveUp { client, why } => {
                Keys { writer: self, now: Timestamp::now() }.unblock(client, why);
            }
            Command::PutTask { id, record, reply } => {
                self.changed = true;
                let done = self.close_blocks().and_then(|()| Ok(self.store.put_task(&id, record.as_deref())?));
                self.answer(reply, done);
            }
            Command::Stop { .. } => {}
        }
    }

    /// Serves those who wait for what was changed.
    fn settle(&mut self) {
        if self.waiting.len() > 0 {
            Keys { writer: self, now: Timestamp::now() }.settle();
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

    fn head(&mut self, stream: &Arc<Stream>) -> Result<(&mut Head, Cx<'_>), JournalError> {
        if stream.tip().removed {
            return Err(JournalError::Removed);
        }
        let now = Timestamp::now();
        let head = self.heads.entry(stream.number).or_insert_with(|| Head::new(stream));
        if head.stream.kept && head.tip.exists && head.is_expired(now) {
            head.hide(now);
        }
        if !head.touched {
            head.touched = true;
            self.touched.push(stream.number);
        }
        Ok((head, Cx { store: &self.store, counters: &self.counters, now }))
    }

    /// The number of the stream of this name; one whose time has run out goes.
    pub(super) fn find(&mut self, name: &[u8], now: Timestamp) -> Result<Option<u64>, JournalError> {
        if let Some(number) = self.recent(name)
            && let Some(head) = self.heads.get(&number)
            && !head.is_expired(now)
        {
            return Ok(Some(number));
        }
        let found = self.look_up(name, now)?;
        self.recent = found.map(|number| (name.into(), number));
        Ok(found)
    }

    /// The number found last, if it was of this name: commands of one key come in runs.
    fn recent(&self, name: &[u8]) -> Option<u64> {
        self.recent.as_ref().filter(|(recent, _)| **recent == *name).map(|(_, number)| *number)
    }

    fn look_up(&mut self, name: &[u8], now: Timestamp) -> Result<Option<u64>, JournalError> {
        let Some(stream) = self.streams.find(&self.store, name)? else { return Ok(None) };
        if stream.tip().removed {
            return Ok(None);
        }
        let head = self.heads.entry(stream.number).or_insert_with(|| Head::new(&stream));
        if head.tip.exists && head.is_expired(now) {
            self.remove_key(&stream)?;
            self.touch(name);
        }
        Ok(self.heads.contains_key(&stream.number).then_some(stream.number))
    }

    /// Begins a stream of this name.
    pub(super) fn begin(&mut self, name: &[u8]) -> Result<u64, JournalError> {
        let stream = self.streams.begin(&self.store, name)?;
        self.heads.insert(stream.number, Head::new(&stream));
        self.recent = Some((name.into(), stream.number));
        Ok(stream.number)
    }

    /// What is known of a stream, and what a change of it needs.
    pub(super) fn known_head(&mut self, number: u64, now: Timestamp) -> Option<(&mut Head, Cx<'_>)> {
        let head = self.heads.get_mut(&number)?;
        Some((head, Cx { store: &self.store, counters: &self.counters, now }))
    }

    /// A key was changed: it is part of this commit, and whoever watches it or waits for it is to know.
    pub(super) fn touch(&mut self, name: &[u8]) {
        self.include(name);
        self.tell(name);
    }

    /// A key is part of this commit.
    pub(super) fn include(&mut self, name: &[u8]) {
        self.changed = true;
        let number = self.recent(name).or_else(|| self.streams.at_hand(name).map(|stream| stream.number));
        if let Some(number) = number
            && let Some(head) = self.heads.get_mut(&number)
            && !head.touched
        {
            head.touched = true;
            self.touched.push(number);
        }
    }

    fn tell(&mut self, name: &[u8]) {
        if !self.watched.is_empty()
            && let Some(watchers) = self.watched.remove(name)
        {
            mark_dirty(watchers);
        }
        if self.waiting.len() > 0 {
            self.waiting.changed(name);
        }
    }

    fn append(&mut self, stream: &Arc<Stream>, batch: &Batch, trim: Option<Trim>) -> Result<Appended, JournalError> {
        if let Some(error) = &batch.failed {
            return Err(error.clone());
        }
        let (head, cx) = self.head(stream)?;
        let done = head.append(&cx, batch)?;
        if let Some(trim) = trim {
            head.trim(&cx, trim)?;
        }
        self.tell(&stream.name);
        Ok(done)
    }

    fn trim(&mut self, stream: &Arc<Stream>, trim: Trim) -> Result<u64, JournalError> {
        let (head, cx) = self.head(stream)?;
        head.trim(&cx, trim)
    }

    /// Removes a key. A stream whose lines are kept elsewhere stays, without it.
    pub(super) fn remove_key(&mut self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        if !stream.kept {
            return self.remove(stream);
        }
        let (head, cx) = self.head(stream)?;
        head.hide(cx.now);
        Ok(())
    }

    fn remove(&mut self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        self.changed = true;
        self.recent = None;
        self.heads.remove(&stream.number);
        stream.tip.send_modify(|tip| tip.removed = true);
        self.store.remove_stream(&stream.name, stream.number)?;
        // Not before: who looks the name up meanwhile must not load it from the store again.
        self.streams.forget(stream);
        self.tell(&stream.name);
        Ok(())
    }

    fn expire(&mut self, stream: &Arc<Stream>, at: Option<Timestamp>) -> Result<(), JournalError> {
        let (head, _) = self.head(stream)?;
        *head.stream.expires.write() = at;
        head.record_due = true;
        Ok(())
    }

    /// Every write of this commit is in the store; what follows must not become durable before it.
    fn close_blocks(&mut self) -> Result<(), JournalError> {
        let cx = Cx { store: &self.store, counters: &self.counters, now: Timestamp::now() };
        for number in &self.touched {
            if let Some(head) = self.heads.get_mut(number) {
                head.settle(&cx)?;
            }
        }
        Ok(())
    }

    /// Commits, publishes, answers.
    fn finish(&mut self) {
        if self.changed || !self.touched.is_empty() {
            self.commit();
        } else {
            self.answers.drain(..).for_each(|answer| answer(None));
        }
        self.rooms.clear();
        self.written = 0;
    }

    fn commit(&mut self) {
        self.changed = false;
        let committed = self.close_blocks().and_then(|()| match self.durability {
            Durability::Commit => Ok(self.store.commit()?),
            Durability::Interval => {
                self.unsynced_since.get_or_insert_with(Instant::now);
                Ok(self.store.flush()?)
            }
        });
        Counters::add(&self.counters.commits, 1);
        let mut gone = Vec::new();
        for number in self.touched.drain(..) {
            let Some(head) = self.heads.get_mut(&number) else { continue };
            if committed.is_ok() {
                gone.extend(head.publish(&self.counters).into_iter().map(|row| (number, row)));
            } else {
                // What was not made durable was never seen; the next append begins at the last tip.
                self.heads.remove(&number);
            }
        }
        let failed = committed.err();
        for answer in self.answers.drain(..) {
            answer(failed.as_ref());
        }
        // After they were taken from the readers' sight; a kill before leaves them to the next opening.
        for (number, row) in gone {
            if let Err(error) = self.store.remove_block(number, row.first, row.bytes as usize) {
                tracing::warn!(%error, "a trimmed block could not be removed; the next opening does it");
            }
        }
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
