//! Streams by name, as Redis' commands see them.
//!
//! A *job* is a run of commands that the writer carries out one after another, with nothing in
//! between: it sees its own writes and those of every job before it, and its answer is given once
//! all of them are as durable as the journal promises. That is how XADD, MULTI and blocking reads
//! get Redis' order without a lock. Readers that want nothing but what is published use
//! [`Snapshot`]; the commands are the same by [`KeyReader`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::head::{Cx, Head};
use super::queue::{Command, QueuePermit};
use super::set_id::{SetIdArgs, SetIdError};
use super::waiting::{BlockedClient, WakeReason};
use super::writer::{CommitCallback, Writer};
use super::{IdRange, Journal, JournalError, Stream, StreamInfo, Trim};
use crate::model::{ClockReading, Entry, EntryBody, EntryFields, EntryId, Origin, Timestamp};
use crate::store::block;

/// What is asked of a key most often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    /// Entries (Redis: XLEN).
    pub len: u64,
    /// The greatest id ever added.
    pub last_id: EntryId,
    /// When the key is gone.
    pub expires: Option<Timestamp>,
}

/// Which id a new entry gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: the time, or the next after the last one.
    Auto,
    /// `ms-*`: the next in that millisecond.
    AutoSeq(u64),
    /// This one.
    Exact(EntryId),
}

/// Why an entry was not added.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AddError {
    /// Redis: `ERR The ID specified in XADD is equal or smaller than the target stream top item`.
    #[error("the id is not above the last one")]
    NotAbove,
    /// Redis: `ERR The stream has exhausted the last possible ID, unable to add more items`.
    #[error("the stream has exhausted the last possible id")]
    Exhausted,
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Looking at keys, without a change.
pub trait KeyReader {
    /// The time of the command, by which keys expire.
    fn now(&self) -> Timestamp;
    /// The facts of a key, if there is one and its time has not run out.
    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError>;
    /// Calls `each` with the entries of a range; answers how many, 0 where there is no key.
    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError>;
    /// The names of all keys, in their order.
    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError>;
}

/// What is published: for reads that need no place among the writes.
#[derive(Debug)]
pub struct Snapshot<'a> {
    journal: &'a Journal,
    now: Timestamp,
}

/// All keys as they are at this point of a job.
pub struct Transaction<'w> {
    pub(super) writer: &'w mut Writer,
    pub(super) now: ClockReading,
}

impl Journal {
    /// The published keys, as they are now.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { journal: self, now: self.clock().now() }
    }

    /// Queues a job behind everything that was queued before. What it gives back is called after the
    /// commit, with the error if there was none. One job runs at a time, on the writer's thread or on the
    /// caller's: it must not wait for anything, and the caller must not hold a lock that it wants.
    pub fn submit(&self, room: QueuePermit, job: impl FnOnce(&mut Transaction<'_>) -> CommitCallback + Send + 'static) {
        self.inner.queue.run(Command::Job { job: Job(Box::new(job)), room });
    }

    /// Ends the waits of a client that gave up; see [`Keys::unblock`].
    pub fn unblock(&self, client: u64, why: WakeReason) {
        self.inner.queue.send(Command::Unblock { client, why });
    }
}

/// What the writer is to run.
pub(super) struct Job(pub(super) Box<dyn FnOnce(&mut Transaction<'_>) -> CommitCallback + Send>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl KeyReader for Snapshot<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
        Ok(self.stream(name)?.map(|stream| metadata_of(&stream)))
    }

    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
        match self.stream(name)?.map(|stream| self.journal.visit_range(&stream, range, each)) {
            None | Some(Err(JournalError::Removed)) => Ok(0),
            Some(found) => found,
        }
    }

    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
        self.journal.inner.streams.names(&self.journal.inner.store, self.now, |stream| stream.tip().exists)
    }
}

impl Snapshot<'_> {
    fn stream(&self, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        let stream = self.journal.stream(name)?;
        Ok(stream.filter(|stream| stream.tip().exists && !stream.is_expired(self.now)))
    }
}

fn metadata_of(stream: &Stream) -> KeyMetadata {
    let tip = stream.tip();
    KeyMetadata { len: tip.shown_len, last_id: tip.last_id, expires: stream.expires() }
}

impl KeyReader for Transaction<'_> {
    fn now(&self) -> Timestamp {
        self.now.time
    }

    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
        Ok(self.head(name)?.map(|(head, _)| KeyMetadata {
            len: head.tip.shown_len,
            last_id: head.tip.last_id,
            expires: head.stream.expires(),
        }))
    }

    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
        self.head(name)?.map_or(Ok(0), |(head, cx)| head.range(&cx, range, each))
    }

    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
        let heads = &self.writer.heads;
        let exists = |stream: &Stream| heads.get(&stream.number).map_or(stream.tip().exists, |head| head.tip.exists);
        self.writer.streams.names(&self.writer.store, self.now.time, exists)
    }
}

impl Transaction<'_> {
    /// Takes the time anew: at the beginning of each command that is not inside MULTI.
    pub fn update_time(&mut self) {
        self.now = self.writer.clock.read();
    }

    /// Adds an entry; the key comes into being with it. Fields are not empty.
    pub fn add(&mut self, name: &[u8], id: NewId, fields: EntryFields<'_>) -> Result<EntryId, AddError> {
        let mut encoded = std::mem::take(&mut self.writer.encoded);
        encoded.clear();
        let done = self.add_encoded(name, id, &EntryBody::Fields(fields), &mut encoded);
        self.writer.encoded = encoded;
        done
    }

    fn add_encoded(
        &mut self,
        name: &[u8],
        id: NewId,
        body: &EntryBody<'_>,
        encoded: &mut Vec<u8>,
    ) -> Result<EntryId, AddError> {
        self.writer.check_can_grow()?;
        let now_ms = self.now.stamp.as_millis();
        let (head, cx) = self.head_or_new(name)?;
        let last = if head.tip.exists || head.stream.kept { head.tip.last_id } else { EntryId::MIN };
        if last == EntryId::MAX {
            return Err(AddError::Exhausted);
        }
        let id = match id {
            NewId::Auto => last.following(now_ms).ok_or(AddError::Exhausted)?,
            NewId::AutoSeq(ms) if ms == last.ms => last.next().filter(|id| id.ms == ms).ok_or(AddError::NotAbove)?,
            NewId::AutoSeq(ms) => EntryId::new(ms, 0),
            NewId::Exact(id) => id,
        };
        if id <= last {
            return Err(AddError::NotAbove);
        }
        block::encode_body(encoded, body).map_err(JournalError::from)?;
        head.push(&cx, id, encoded, Some(body), Origin::Unnumbered)?;
        head.tip.total_bytes += body.text_bytes();
        self.writer.written += encoded.len();
        self.touch(name);
        Ok(id)
    }

    /// Makes an empty key, if there is none (Redis: XGROUP CREATE MKSTREAM).
    pub fn create(&mut self, name: &[u8]) -> Result<(), JournalError> {
        self.writer.check_can_grow()?;
        let (head, cx) = self.head_or_new(name)?;
        if !head.tip.exists {
            head.create(&cx)?;
            self.touch(name);
        }
        Ok(())
    }

    /// Trims a key; answers how many entries went (Redis: XTRIM).
    pub fn trim(&mut self, name: &[u8], trim: Trim) -> Result<u64, JournalError> {
        let gone = self.head(name)?.map_or(Ok(0), |(head, cx)| head.trim(&cx, trim))?;
        if gone > 0 {
            self.touch(name);
        }
        Ok(gone)
    }

    /// Deletes entries; answers how many were there (Redis: XDEL).
    pub fn delete(&mut self, name: &[u8], ids: &[EntryId]) -> Result<u64, JournalError> {
        let gone = self.head(name)?.map_or(Ok(0), |(head, cx)| head.delete(&cx, ids))?;
        if gone > 0 {
            self.touch(name);
        }
        Ok(gone)
    }

    /// Sets where a key goes on (Redis: XSETID); `None` where there is no key.
    pub fn set_id(&mut self, name: &[u8], tip: SetIdArgs) -> Result<Option<Result<(), SetIdError>>, JournalError> {
        let Some((head, cx)) = self.head(name)? else { return Ok(None) };
        let done = head.set_id(&cx, tip)?;
        if done.is_ok() {
            // Redis marks nobody who watches.
            self.include(name);
        }
        Ok(Some(done))
    }

    /// What there is to say of a key (Redis: XINFO STREAM).
    pub fn info(&mut self, name: &[u8]) -> Result<Option<StreamInfo>, JournalError> {
        self.head(name)?.map(|(head, cx)| head.info(&cx)).transpose()
    }

    /// Removes a key; answers whether there was one (Redis: DEL). Of a stream whose lines are kept
    /// elsewhere only the key goes.
    pub fn remove(&mut self, name: &[u8]) -> Result<bool, JournalError> {
        let Some((head, _)) = self.head(name)? else { return Ok(false) };
        let stream = head.stream.clone();
        self.writer.remove_key(&stream)?;
        self.touch(name);
        Ok(true)
    }

    /// Sets when a key is gone, or takes that back; answers whether there is such a key (Redis:
    /// PEXPIREAT, PERSIST). A time that is over removes it.
    pub fn expire(&mut self, name: &[u8], at: Option<Timestamp>) -> Result<bool, JournalError> {
        if at.is_some_and(|at| at <= self.now.time) {
            return self.remove(name);
        }
        let Some((head, _)) = self.head(name)? else { return Ok(false) };
        *head.stream.expires.write() = at;
        head.record_due = true;
        self.touch(name);
        Ok(true)
    }

    /// Sets `dirty` with the next change of this key (Redis: WATCH).
    pub fn watch(&mut self, name: &[u8], dirty: &Arc<AtomicBool>) {
        let (watched, is_watched) = (&mut self.writer.watched, |dirty: &Weak<_>| dirty.strong_count() > 0);
        // Whoever let go of a key that nobody changes is still in here: before it grows, those go.
        if watched.len() == watched.capacity() {
            watched.retain(|_, watchers| watchers.iter().any(is_watched));
        }
        let watchers = watched.entry(name.into()).or_default();
        if watchers.len() == watchers.capacity() {
            watchers.retain(is_watched);
        }
        watchers.push(Arc::downgrade(dirty));
    }

    /// A reader that found nothing: it is asked again with every change of its keys.
    pub fn block(&mut self, waiting: BlockedClient) {
        self.writer.waiting.add(waiting);
    }

    /// Ends the wait of a client; answers whether it was waiting (Redis: CLIENT UNBLOCK).
    pub fn unblock(&mut self, client: u64, why: WakeReason) -> bool {
        match self.writer.waiting.take(client) {
            Some(mut waiting) => {
                if let Some(answer) = (waiting.retry)(self, why) {
                    self.writer.answers.push(answer);
                }
                true
            }
            None => false,
        }
    }

    /// Serves those who wait for what was changed since the last call, in the order they came: after
    /// each command, and after EXEC (Redis serves them at the same points).
    pub fn serve_blocked(&mut self) {
        while let Some(client) = self.writer.waiting.next_due() {
            let Some(mut waiting) = self.writer.waiting.take(client) else { continue };
            match (waiting.retry)(self, WakeReason::Changed) {
                Some(answer) => self.writer.answers.push(answer),
                None => self.writer.waiting.put_back(waiting),
            }
        }
    }

    /// Clients that wait.
    pub fn blocked_clients(&self) -> usize {
        self.writer.waiting.len()
    }

    /// A key was changed: whoever watches it or waits for it is to know.
    pub fn touch(&mut self, name: &[u8]) {
        self.writer.touch(name);
    }

    /// A key is part of this commit.
    pub(super) fn include(&mut self, name: &[u8]) {
        self.writer.include(name);
    }

    /// The head of a key that is there.
    pub(super) fn head(&mut self, name: &[u8]) -> Result<Option<(&mut Head, Cx<'_>)>, JournalError> {
        let Some(number) = self.writer.find(name, self.now.time)? else { return Ok(None) };
        Ok(self.writer.known_head(number, self.now).filter(|(head, _)| head.tip.exists))
    }

    fn head_or_new(&mut self, name: &[u8]) -> Result<(&mut Head, Cx<'_>), JournalError> {
        let number = match self.writer.find(name, self.now.time)? {
            Some(number) => number,
            None => self.writer.begin(name)?,
        };
        self.writer.known_head(number, self.now).ok_or(JournalError::Removed)
    }
}

/// Marks those who watch a key.
pub(super) fn mark_dirty(watchers: Vec<Weak<AtomicBool>>) {
    for dirty in watchers.iter().filter_map(Weak::upgrade) {
        dirty.store(true, Ordering::Release);
    }
}
