//! The one writer: numbers, packs, inserts, makes durable, publishes, answers. In this order.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::append::{AppendAck, LineBatch};
use super::head::Cx;
use super::head::Head;
use super::keys::Transaction;
use super::queue::{Command, QueuePermit, Reply};
use super::stream::Stream;
use super::trim::Trim;
use super::waiting::Waitings;
use super::{Durability, JournalCounters, JournalError, JournalOptions, SYNC_INTERVAL, Streams, compact};
use crate::model::limits::{Limit, LimitCounters};
use crate::model::{Clock, Timestamp};
use crate::store::{Refusal, Store, StoreError};

/// Bytes of one group commit; more wait for the next.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A reply, given with what became of the commit.
pub type CommitCallback = Box<dyn FnOnce(Option<&JournalError>) + Send>;

pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    durability: Durability,
    pub(super) counters: Arc<JournalCounters>,
    pub(super) streams: Arc<Streams>,
    pub(super) clock: Arc<Clock>,
    hits: Arc<LimitCounters>,
    /// Why nothing may be added in this commit, if so.
    growth: Result<(), JournalError>,
    /// Where the entry that is being added is encoded.
    pub(super) encoded: Vec<u8>,
    /// When keys that are waited for were last looked at.
    looked: Instant,
    /// The name and the number of the stream that was found last.
    pub(super) recent: Option<(Box<[u8]>, u64)>,
    /// Streams written to; dropped with the stream.
    pub(super) heads: HashMap<u64, Head>,
    /// Streams of this commit.
    pub(super) touched: Vec<u64>,
    /// Streams that go with this commit, and those whose blocks were packed in it: if it is not made,
    /// that is taken back.
    removed: Vec<Arc<Stream>>,
    packed: Vec<Arc<Stream>>,
    /// Whether there is anything to commit.
    pub(super) changed: bool,
    /// By key, what is set with its next change (Redis: WATCH).
    pub(super) watched: HashMap<Box<[u8]>, Vec<Weak<AtomicBool>>>,
    pub(super) waiting: Waitings,
    /// Replies of this commit, given after it.
    pub(super) answers: Vec<CommitCallback>,
    /// Bytes of this commit, and their room in the queue.
    pub(super) written: usize,
    rooms: Vec<QueuePermit>,
    /// Under [`Durability::Interval`]: since when something waits for a sync.
    unsynced_since: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        store: Arc<Store>,
        options: &JournalOptions,
        counters: Arc<JournalCounters>,
        streams: Arc<Streams>,
    ) -> Self {
        Self {
            clock: options.clock.clone(),
            store,
            durability: options.durability,
            counters,
            streams,
            hits: options.hits.clone(),
            growth: Ok(()),
            encoded: Vec::new(),
            looked: Instant::now(),
            recent: None,
            heads: HashMap::new(),
            touched: Vec::new(),
            removed: Vec::new(),
            packed: Vec::new(),
            changed: false,
            watched: HashMap::new(),
            waiting: Waitings::default(),
            answers: Vec::new(),
            written: 0,
            rooms: Vec::new(),
            unsynced_since: None,
        }
    }

    /// Does what is queued, up to a commit's size, and commits it. Answers who is to be told that
    /// nothing will be done any more.
    pub(super) fn turn(&mut self, mut next: impl FnMut() -> Option<Command>) -> Option<oneshot::Sender<()>> {
        let mut stop = None;
        self.growth = self.store.may_grow().map_err(JournalError::from);
        while self.written < COMMIT_BYTES_MAX {
            match next() {
                Some(Command::Stop { reply }) => {
                    stop = Some(reply);
                    break;
                }
                Some(command) => self.caught(|writer| writer.take(command)),
                None => break,
            }
        }
        self.caught(Self::expire_waited);
        self.caught(Self::finish);
        stop
    }

    /// A fault in one command must not end the writer in silence: the store takes no more writes, so that
    /// nothing half done becomes durable, and readers go on.
    fn caught(&mut self, work: impl FnOnce(&mut Self)) {
        let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| work(self))) else { return };
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        self.store.poison(&StoreError::Poisoned(format!("the journal's writer has a fault: {said}")));
        // Whoever waits is told by the commit, which fails now.
        self.changed = true;
    }

    /// Why nothing may be added in this commit, if so.
    pub(super) fn check_can_grow(&self) -> Result<(), JournalError> {
        if let Err(error) = &self.growth
            && matches!(error.refusal(), Some(Refusal::Full { .. }))
        {
            self.hits.count(Limit::disk_free_min);
        }
        self.growth.clone()
    }

    /// Whether something will have to be done even if nothing comes.
    pub(super) fn expects_to_wake(&self) -> bool {
        self.unsynced_since.is_some() || self.waiting.len() > 0 || self.store.has_failed()
    }

    /// How long nothing has to be done, if nothing comes.
    pub(super) fn idle(&self) -> Duration {
        let sync = self.unsynced_since.map_or(IDLE, |since| SYNC_INTERVAL.saturating_sub(since.elapsed()));
        let expiry = if self.waiting.len() > 0 { EXPIRY_LOOK } else { IDLE };
        let recovery = if self.store.has_failed() { RECOVERY_LOOK } else { IDLE };
        sync.min(expiry).min(recovery)
    }

    /// The store, if it is to be opened again once that is possible.
    pub(super) fn failed_store(&self) -> Option<Arc<Store>> {
        self.store.has_failed().then(|| self.store.clone())
    }

    /// The store, if what was written since the last sync is to be synced now.
    pub(super) fn take_sync_due(&mut self) -> Option<Arc<Store>> {
        self.unsynced_since.take_if(|since| since.elapsed() >= SYNC_INTERVAL).map(|_| self.store.clone())
    }

    /// Makes everything durable and lets the store go.
    pub(super) fn end(self) {
        if let Err(error) = self.store.commit() {
            tracing::error!(%error, "the last sync failed");
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
                let done = if settled { self.compact(&stream) } else { Ok(0) };
                self.answer(reply, done);
            }
            Command::Job { job, room } => {
                self.rooms.push(room);
                let answer = (job.0)(&mut Transaction { now: self.clock.read(), writer: self });
                self.answers.push(answer);
                self.settle();
            }
            Command::Unblock { client, why } => {
                Transaction { now: self.clock.read(), writer: self }.unblock(client, why);
            }
            Command::PutTask { id, record, reply } => {
                self.changed = true;
                let done = self.close_blocks().and_then(|()| Ok(self.store.put_task(&id, record.as_deref())?));
                self.answer(reply, done);
            }
            Command::Stop { .. } => {}
        }
    }

    /// Whoever waits for a key learns that its time is over, though nobody touches it.
    fn expire_waited(&mut self) {
        if self.waiting.len() == 0 || self.looked.elapsed() < EXPIRY_LOOK {
            return;
        }
        self.looked = Instant::now();
        let now = self.clock.now();
        for key in self.waiting.keys() {
            if let Err(error) = self.find(&key, now) {
                tracing::warn!(%error, "a key that is waited for could not be looked at; it is tried again");
            }
        }
        self.settle();
    }

    /// Serves those who wait for what was changed.
    fn settle(&mut self) {
        if self.waiting.len() > 0 {
            Transaction { now: self.clock.read(), writer: self }.serve_blocked();
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
        let now = self.clock.read();
        let head = self.heads.entry(stream.number).or_insert_with(|| Head::new(stream));
        if head.stream.kept && head.tip.exists && head.is_expired(now.time) {
            head.hide(now.time);
        }
        if !head.touched {
            head.touched = true;
            self.touched.push(stream.number);
        }
        Ok((head, Cx { store: &self.store, counters: &self.counters, now }))
    }

    fn append(
        &mut self,
        stream: &Arc<Stream>,
        batch: &LineBatch,
        trim: Option<Trim>,
    ) -> Result<AppendAck, JournalError> {
        if let Some(error) = &batch.failed {
            return Err(error.clone());
        }
        self.check_can_grow()?;
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
        head.hide(cx.now.time);
        Ok(())
    }

    /// Packing writes before it frees.
    fn compact(&mut self, stream: &Arc<Stream>) -> Result<u64, JournalError> {
        self.growth.clone()?;
        self.packed.push(stream.clone());
        compact::compact(&self.store, stream)
    }

    fn remove(&mut self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        self.store.check()?;
        self.changed = true;
        self.removed.push(stream.clone());
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
        let cx = Cx { store: &self.store, counters: &self.counters, now: self.clock.read() };
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
        JournalCounters::add(&self.counters.commits, 1);
        let mut gone = Vec::new();
        match &committed {
            Ok(()) => {
                for number in self.touched.drain(..) {
                    let Some(head) = self.heads.get_mut(&number) else { continue };
                    gone.extend(head.publish(&self.counters).into_iter().map(|row| (number, row)));
                }
                self.removed.clear();
                self.packed.clear();
            }
            Err(_) => self.take_back(),
        }
        let failed = committed.err();
        for answer in self.answers.drain(..) {
            answer(failed.as_ref());
        }
        // They have their answers: this is done while those are on their way.
        self.store.settle();
        // After they were taken from the readers' sight; a kill before leaves them to the next opening.
        for (number, row) in gone {
            if let Err(error) = self.store.remove_block(number, row.first, row.bytes as usize) {
                tracing::warn!(%error, "a trimmed block could not be removed; the next opening does it");
            }
        }
        self.heads.retain(|_, head| Arc::strong_count(&head.stream) > 1);
    }

    /// The commit was not made: what was changed for it is again as it is stored. What was not made
    /// durable was never seen; the next append begins at the last tip.
    fn take_back(&mut self) {
        self.recent = None;
        let mut changed = std::mem::take(&mut self.packed);
        for number in self.touched.drain(..) {
            changed.extend(self.heads.remove(&number).map(|head| head.stream.clone()));
        }
        for stream in self.removed.drain(..) {
            self.streams.restore(&stream);
            changed.push(stream);
        }
        for stream in changed {
            if let Err(error) = stream.reload(&self.store) {
                tracing::error!(stream = %String::from_utf8_lossy(&stream.name), %error, "a stream could not be read anew after a commit that was not made");
            }
        }
    }
}

/// Between two looks whether the time of a key that is waited for is over (Redis looks ten times a
/// second).
const EXPIRY_LOOK: Duration = Duration::from_millis(100);
/// Between two looks whether a store that has failed can be opened again.
const RECOVERY_LOOK: Duration = Duration::from_millis(500);
/// How long the writer waits when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);
