//! The one writer: numbers, packs, inserts, makes durable, publishes, answers. In this order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::append::{Appended, Batch};
use super::stream::{BlockRef, Stream, Tip, touch_session};
use super::trim::Trim;
use super::{Counters, Durability, JournalError, SYNC_INTERVAL, compact};
use crate::model::{Channel, EntryBody, EntryId, GapReason, LineText, Mark, Timestamp};
use crate::store::block::{self, BlockBuilder};
use crate::store::{Store, StoreError, StreamRecord};

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

/// What the writer knows of a stream beyond what is published.
struct Head {
    stream: Arc<Stream>,
    tip: Tip,
    sessions: Vec<(String, u64)>,
    /// The block that is being filled in this commit.
    open: Option<BlockBuilder>,
    /// Blocks of this commit, not yet published.
    fresh: Vec<BlockRef>,
    /// The session of the batch that is being taken, and the last number of it that is packed.
    packing: Option<(String, u64)>,
    /// Its record is in the store.
    stored: bool,
    touched: bool,
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
        let head = self.heads.entry(stream.number).or_insert_with(|| Head {
            stream: stream.clone(),
            tip,
            sessions: stream.sessions(),
            open: None,
            fresh: Vec::new(),
            packing: None,
            stored: tip.last_line > 0 || stream.expires().is_some(),
            touched: false,
        });
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
        // The record says where the stream ends: the entries must be there before it.
        head.close_block(&store)?;
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

impl Head {
    fn append(&mut self, store: &Store, counters: &Counters, batch: &Batch) -> Result<Appended, JournalError> {
        let now_ms = Timestamp::now().as_millis();
        let before = self.tip.last_line;
        let mut repeats = 0;
        let mut seq = batch.session.as_ref().map(|session| session.first_seq);
        let known = batch.session.as_ref().map_or(0, |session| self.seen(&session.name));
        if let Some(first) = seq.filter(|first| *first > known + 1 && !batch.is_empty()) {
            self.push_mark(store, counters, now_ms, first - known - 1)?;
        }
        self.packing = batch.session.as_ref().map(|session| (session.name.clone(), known));
        let mut start = 0;
        let mut taken = true;
        for item in &batch.items {
            if let Some(next) = seq.as_mut().filter(|_| item.numbered) {
                taken = *next > known;
                *next += 1;
            }
            let body = &batch.encoded[start..item.end];
            start = item.end;
            if !taken {
                repeats += 1;
                continue;
            }
            self.push(store, counters, now_ms, body)?;
            self.tip.total_bytes += item.text_bytes;
            self.tip.total_skipped += item.skipped;
            if let (Some((_, packed)), Some(next)) = (self.packing.as_mut(), seq) {
                *packed = next - 1;
            }
        }
        Counters::add(&counters.repeats, repeats);
        if let Some((session, last)) = self.packing.take() {
            touch_session(&mut self.sessions, &session, last);
            if let Some(open) = self.open.as_mut() {
                open.note_session(&session, last);
            }
        }
        let count = self.tip.last_line - before;
        let (first_line, last_line) = if count == 0 { (0, 0) } else { (before + 1, self.tip.last_line) };
        let acked_seq = batch.session.as_ref().map(|session| self.seen(&session.name));
        Ok(Appended { first_line, last_line, last_id: self.tip.last_id, count, acked_seq })
    }

    fn seen(&self, session: &str) -> u64 {
        self.sessions.iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    /// A line that stands for numbers which never came.
    fn push_mark(&mut self, store: &Store, counters: &Counters, now_ms: u64, count: u64) -> Result<(), JournalError> {
        let text = Mark { reason: GapReason::LostInTransit, count }.to_string();
        let text_bytes = text.len() as u64 + 1;
        let timestamp = Timestamp::from_millis(now_ms);
        let line = LineText { timestamp, channel: Channel::Internal, partial: false, lossy: false, text: text.into() };
        let mut body = Vec::new();
        block::encode_body(&mut body, &EntryBody::Line(line))?;
        self.push(store, counters, now_ms, &body)?;
        self.tip.total_bytes += text_bytes;
        Ok(())
    }

    fn push(&mut self, store: &Store, counters: &Counters, now_ms: u64, body: &[u8]) -> Result<(), JournalError> {
        let id = self.tip.last_id.following(now_ms).ok_or(JournalError::Exhausted)?;
        if self.open.as_ref().is_some_and(|open| !open.has_room(body.len())) {
            self.close_block(store)?;
        }
        let line = self.tip.last_line + 1;
        let open = self.open.get_or_insert_with(|| {
            Counters::add(&counters.blocks, 1);
            BlockBuilder::new(id, line)
        });
        open.push(id, body)?;
        self.tip.last_id = id;
        self.tip.last_line = line;
        Ok(())
    }

    /// Puts the open block into the store. Each block notes the numbers of its own lines: a kill
    /// may come between two blocks of one batch, and the resend must not double the first.
    fn close_block(&mut self, store: &Store) -> Result<(), JournalError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if let Some((session, packed)) = &self.packing {
            open.note_session(session, *packed);
        }
        let first = open.first();
        let (header, bytes) = open.finish(self.tip.total_bytes, self.tip.total_skipped)?;
        store.put_block(self.stream.number, first, &bytes)?;
        self.fresh.push(BlockRef {
            first,
            last: header.last_id,
            first_line: header.first_line,
            count: header.count,
            bytes: header.bytes,
        });
        Ok(())
    }

    fn trim(&mut self, store: &Store, trim: Trim) -> Result<u64, JournalError> {
        self.close_block(store)?;
        let published = self.stream.blocks.read();
        let rows = || published.iter().chain(&self.fresh).copied();
        let before = self.tip.first_line;
        let whole = |keep_from: u64| {
            rows().map(|row| row.last_line() + 1).take_while(|end| *end <= keep_from).last().unwrap_or(before)
        };
        let by_id = |id: EntryId| {
            rows().take_while(|row| row.last < id).map(|row| row.last_line() + 1).last().unwrap_or(before)
        };
        let keep_from = match trim {
            Trim::MaxLen(max) => (self.tip.last_line + 1).saturating_sub(max),
            Trim::AboutMaxLen(max) => whole((self.tip.last_line + 1).saturating_sub(max)),
            Trim::ThroughLine(line) => line.min(self.tip.last_line) + 1,
            Trim::AboutMinId(id) => by_id(id),
            Trim::MinId(id) => {
                let from = by_id(id);
                let cut = rows().find(|row| row.first < id && row.last >= id);
                cut.map_or(Ok(from), |row| first_line_from(store, self.stream.number, row, id))?
            }
        };
        drop(published);
        if keep_from <= before {
            return Ok(0);
        }
        self.tip.first_line = keep_from;
        // The watermark and the sessions of what goes are written before anything goes.
        store.put_stream(&self.stream.name, &self.record())?;
        let mut gone = Vec::new();
        {
            let mut blocks = self.stream.blocks.write();
            while let Some(row) = blocks.front().filter(|row| row.last_line() < keep_from).copied() {
                blocks.pop_front();
                gone.push(row);
            }
        }
        let stale = self.fresh.iter().take_while(|row| row.last_line() < keep_from).count();
        gone.extend(self.fresh.drain(..stale));
        // Shown at once, so that no reader looks for a block that is about to go.
        self.stream.tip.send_modify(|tip| tip.first_line = keep_from);
        for row in gone {
            store.remove_block(self.stream.number, row.first, row.bytes as usize)?;
        }
        Ok(keep_from - before)
    }

    fn record(&self) -> StreamRecord {
        StreamRecord {
            number: self.stream.number,
            birth: self.stream.birth(),
            last_id: self.tip.last_id,
            last_line: self.tip.last_line,
            first_line: self.tip.first_line,
            total_bytes: self.tip.total_bytes,
            total_skipped: self.tip.total_skipped,
            sessions: self.sessions.clone(),
            expires_ms: self.stream.expires().map(Timestamp::as_millis),
        }
    }

    fn publish(&mut self, counters: &Counters) {
        self.touched = false;
        Counters::add(&counters.entries, self.tip.last_line - self.stream.tip().last_line);
        self.stream.blocks.write().extend(self.fresh.drain(..));
        self.stream.sessions.lock().clone_from(&self.sessions);
        let tip = self.tip;
        self.stream.tip.send_if_modified(|published| {
            let moved = *published != tip;
            *published = Tip { removed: published.removed, ..tip };
            moved
        });
    }
}

/// The line number of the first entry of a block whose id is not below `id`.
fn first_line_from(store: &Store, number: u64, row: BlockRef, id: EntryId) -> Result<u64, JournalError> {
    let mut found = row.last_line() + 1;
    let gone = || StoreError::Damaged { at: format!("block {}", row.first), what: "it is not there".into() };
    let value = store.block(number, row.first, row.bytes as usize)?.ok_or_else(gone)?;
    block::decode(row.first, &value, |entry| {
        if entry.id >= id {
            found = entry.n;
        }
        entry.id < id
    })?;
    Ok(found)
}
