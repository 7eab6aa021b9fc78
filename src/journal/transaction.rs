//! Streams by name, as the Redis commands use them.
//!
//! A *transaction* is a sequence of commands that the writer runs without interruption. It sees its
//! own writes and those of every earlier transaction, and its callback runs once all of them are as
//! durable as the journal promises. XADD, MULTI and blocking reads get the order that Redis
//! guarantees, without a lock. Readers that need only published data use a [`Snapshot`]; both
//! implement [`KeyReader`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::blocked::{BlockedClient, RetryFn};
use super::command::{PreparedTransaction, WakeReason, WriteCommand};
use super::commit::{CommitCallback, QueuePermit};
use super::set_id::{SetIdArgs, SetIdError};
use super::snapshot::{ForeignKeys, KeyDescription, KeyMetadata, KeyReader};
use super::stream_state::{StreamState, WriteContext};
use super::writer::Writer;
use super::{Database, IdRange, Journal, JournalError, NodeLimits, Stream, StreamInfo, Trim};
use crate::model::{ClockReading, Entry, EntryBody, EntryFields, EntryId, Origin, Timestamp};
use crate::store::block;

/// The ID of a new entry (Redis: XADD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: the current time, or the ID after the last one.
    Auto,
    /// `ms-*`: the next sequence number in this millisecond.
    AutoSeq(u64),
    /// Exactly this ID.
    Exact(EntryId),
}

/// An error that prevented an entry from being added.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AddError {
    /// Redis: `ERR The ID specified in XADD is equal or smaller than the target stream top item`.
    #[error("the ID must be greater than the last ID of the stream")]
    NotAbove,
    /// Redis: `ERR The stream has exhausted the last possible ID, unable to add more items`.
    #[error("the stream has exhausted the last possible ID")]
    Exhausted,
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// All keys in their current state within a transaction.
pub struct Transaction<'w> {
    pub(super) writer: &'w mut Writer,
    pub(super) now: ClockReading,
    /// The database whose keys the commands use.
    database: Database,
    /// The keys of other types, which are errors as streams.
    foreign: Option<Arc<dyn ForeignKeys>>,
}

impl Journal {
    /// Queues a transaction after everything that is already queued.
    ///
    /// The callback it returns runs after the commit, with the error of a failed commit. Transactions
    /// run one at a time, on the writer's thread or on the caller's: they must not block, and the
    /// caller must not hold a lock that the closure acquires.
    pub fn submit(
        &self,
        permit: QueuePermit,
        run: impl FnOnce(&mut Transaction<'_>) -> CommitCallback + Send + 'static,
    ) {
        self.submit_all([PreparedTransaction::new(permit, run)]);
    }

    /// Queues transactions in order like [`Journal::submit`]. They share a commit, as far as its size permits.
    pub fn submit_all(&self, transactions: impl IntoIterator<Item = PreparedTransaction>) {
        self.inner.queue.submit(transactions);
    }

    /// Queues [`Transaction::unblock`] for a client that stopped waiting.
    pub fn unblock(&self, client: u64, reason: WakeReason) {
        self.inner.queue.send(WriteCommand::Unblock { client, reason });
    }
}

impl KeyReader for Transaction<'_> {
    fn now(&self) -> Timestamp {
        self.now.time
    }

    fn database(&self) -> Database {
        self.database
    }

    fn select(&mut self, database: Database) {
        self.database = database;
    }

    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
        Ok(self.state(name)?.map(|(state, _)| KeyMetadata {
            len: state.tip.shown_len,
            last_id: state.tip.last_id,
            expires: state.stream.expires(),
        }))
    }

    fn describe(&mut self, name: &[u8]) -> Result<Option<KeyDescription>, JournalError> {
        Ok(self.state(name)?.map(|(state, _)| KeyDescription::of_stream(&state.stream)))
    }

    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
        self.state(name)?.map_or(Ok(0), |(state, cx)| state.range(&cx, range, each))
    }

    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
        let states = &self.writer.states;
        let exists = |stream: &Stream| states.get(&stream.number).map_or(stream.tip().exists, |state| state.tip.exists);
        let names = self.writer.streams.names(&self.writer.store, self.now.time, exists)?;
        Ok(self.database.keys_among(names))
    }
}

impl<'w> Transaction<'w> {
    /// Creates a transaction on the keys of the first database.
    pub(super) fn new(writer: &'w mut Writer) -> Self {
        Self { now: writer.clock.read(), writer, database: Database::default(), foreign: None }
    }
}

impl Transaction<'_> {
    /// Sets the keys of other types, which are then errors as streams.
    pub fn set_foreign(&mut self, foreign: Option<Arc<dyn ForeignKeys>>) {
        self.foreign = foreign;
    }

    /// Notifies the clients that watch this key or are blocked on it.
    pub fn mark_changed(&mut self, name: &[u8]) {
        self.writer.mark_changed(&self.database.stored_name(name));
    }

    fn check_type(&self, name: &[u8]) -> Result<(), JournalError> {
        match &self.foreign {
            Some(foreign) if foreign.holds(self.database, name, self.now.time) => Err(JournalError::WrongType),
            _ => Ok(()),
        }
    }

    /// Returns the limits of Redis' nodes.
    pub fn node_limits(&self) -> NodeLimits {
        self.writer.node_limits.get()
    }

    /// Reads the clock again. Called before each command that is not inside MULTI.
    pub fn update_time(&mut self) {
        self.now = self.writer.clock.read();
    }

    /// Adds an entry and creates the key if it does not exist. `fields` must not be empty.
    pub fn add(&mut self, name: &[u8], id: NewId, fields: EntryFields<'_>) -> Result<EntryId, AddError> {
        let mut encoded = std::mem::take(&mut self.writer.encoded);
        encoded.clear();
        let added = self.add_encoded(name, id, &EntryBody::Fields(fields), &mut encoded);
        self.writer.encoded = encoded;
        added
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
        let (state, cx) = self.state_or_create(name)?;
        let last = if state.tip.exists || state.stream.archived { state.tip.last_id } else { EntryId::MIN };
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
        state.push_entry(&cx, id, encoded, Some(body), Origin::Unnumbered)?;
        state.tip.own_lines += u64::from(body.is_own());
        state.tip.total_bytes += body.text_bytes();
        self.writer.pending.bytes += encoded.len();
        self.touch(name);
        Ok(id)
    }

    /// Creates an empty key if it does not exist (Redis: XGROUP CREATE MKSTREAM).
    pub fn create(&mut self, name: &[u8]) -> Result<(), JournalError> {
        self.writer.check_can_grow()?;
        let (state, cx) = self.state_or_create(name)?;
        if !state.tip.exists {
            state.create_key(&cx)?;
            self.touch(name);
        }
        Ok(())
    }

    /// Trims a key (Redis: XTRIM). Returns the number of removed entries.
    pub fn trim(&mut self, name: &[u8], trim: Trim) -> Result<u64, JournalError> {
        let removed = self.state(name)?.map_or(Ok(0), |(state, cx)| state.trim(&cx, trim))?;
        if removed > 0 {
            self.touch(name);
        }
        Ok(removed)
    }

    /// Deletes entries (Redis: XDEL). Returns the number of entries that existed.
    pub fn delete(&mut self, name: &[u8], ids: &[EntryId]) -> Result<u64, JournalError> {
        let deleted = self.state(name)?.map_or(Ok(0), |(state, cx)| state.delete(&cx, ids))?;
        if deleted > 0 {
            self.touch(name);
        }
        Ok(deleted)
    }

    /// Sets the last ID of a key (Redis: XSETID). Returns `None` if the key does not exist.
    pub fn set_id(&mut self, name: &[u8], args: SetIdArgs) -> Result<Option<Result<(), SetIdError>>, JournalError> {
        let Some((state, cx)) = self.state(name)? else { return Ok(None) };
        let outcome = state.set_id(&cx, args)?;
        if outcome.is_ok() {
            // As in Redis, this does not notify WATCH.
            self.include_in_commit(name);
        }
        Ok(Some(outcome))
    }

    /// Returns the details of a key (Redis: XINFO STREAM).
    pub fn info(&mut self, name: &[u8]) -> Result<Option<StreamInfo>, JournalError> {
        self.state(name)?.map(|(state, cx)| state.info(&cx)).transpose()
    }

    /// Deletes a key (Redis: DEL) and reports whether it existed. The lines of an archived stream
    /// remain.
    pub fn remove(&mut self, name: &[u8]) -> Result<bool, JournalError> {
        let Some((state, _)) = self.state(name)? else { return Ok(false) };
        let stream = state.stream.clone();
        self.writer.remove_key(&stream)?;
        self.touch(name);
        Ok(true)
    }

    /// Sets or clears the expiration time of a key (Redis: PEXPIREAT, PERSIST) and reports whether the
    /// key exists. A time in the past deletes it.
    pub fn expire(&mut self, name: &[u8], at: Option<Timestamp>) -> Result<bool, JournalError> {
        if at.is_some_and(|at| at <= self.now.time) {
            return self.remove(name);
        }
        let Some((state, _)) = self.state(name)? else { return Ok(false) };
        *state.stream.expires.write() = at;
        state.record_dirty = true;
        self.touch(name);
        Ok(true)
    }

    /// Sets `dirty` at the next change of this key (Redis: WATCH).
    pub fn watch(&mut self, name: &[u8], dirty: &Arc<AtomicBool>) {
        self.writer.watched.watch(&self.database.stored_name(name), dirty);
    }

    /// Blocks a client whose read found nothing. It is retried at every change of its keys.
    pub fn block(&mut self, client: BlockedClient) {
        let (database, foreign, mut retry) = (self.database, self.foreign.clone(), client.retry);
        let keys = client.keys.iter().map(|key| database.stored_name(key).into()).collect();
        let retry: RetryFn = Box::new(move |transaction, reason| {
            let selected = std::mem::replace(&mut transaction.database, database);
            let known = std::mem::replace(&mut transaction.foreign, foreign.clone());
            let reply = retry(transaction, reason);
            (transaction.database, transaction.foreign) = (selected, known);
            reply
        });
        self.writer.blocked.push(BlockedClient { client: client.client, keys, retry });
    }

    /// Unblocks a client and reports whether it was blocked (Redis: CLIENT UNBLOCK).
    pub fn unblock(&mut self, client: u64, reason: WakeReason) -> bool {
        match self.writer.blocked.remove(client) {
            Some(mut blocked) => {
                if let Some(callback) = (blocked.retry)(self, reason) {
                    self.writer.pending.callbacks.push(callback);
                }
                true
            }
            None => false,
        }
    }

    /// Retries the clients that are blocked on a key changed since the last call, in blocking order.
    /// Called after each command and after EXEC, the points at which Redis serves them.
    pub fn serve_blocked(&mut self) {
        while let Some(client) = self.writer.blocked.pop_ready() {
            let Some(mut blocked) = self.writer.blocked.remove(client) else { continue };
            match (blocked.retry)(self, WakeReason::Changed) {
                Some(callback) => self.writer.pending.callbacks.push(callback),
                None => self.writer.blocked.reinsert(blocked),
            }
        }
    }

    /// Returns the number of blocked clients.
    pub fn blocked_clients(&self) -> usize {
        self.writer.blocked.len()
    }

    /// Adds a changed key to the commit, and notifies the clients that watch it or are blocked on it.
    pub fn touch(&mut self, name: &[u8]) {
        self.writer.touch(&self.database.stored_name(name));
    }

    /// Adds a key to the commit without notifying any client.
    pub(super) fn include_in_commit(&mut self, name: &[u8]) {
        self.writer.include_in_commit(&self.database.stored_name(name));
    }

    /// Returns the state of a key if it exists.
    pub(super) fn state(&mut self, name: &[u8]) -> Result<Option<(&mut StreamState, WriteContext<'_>)>, JournalError> {
        self.check_type(name)?;
        let name = self.database.stored_name(name);
        let Some(number) = self.writer.find(&name, self.now.time)? else { return Ok(None) };
        Ok(self.writer.loaded_state(number, self.now).filter(|(state, _)| state.tip.exists))
    }

    fn state_or_create(&mut self, name: &[u8]) -> Result<(&mut StreamState, WriteContext<'_>), JournalError> {
        self.check_type(name)?;
        let name = self.database.stored_name(name);
        let number = match self.writer.find(&name, self.now.time)? {
            Some(number) => number,
            None => self.writer.create_stream(&name)?,
        };
        self.writer.loaded_state(number, self.now).ok_or(JournalError::Removed)
    }
}
