//! Following a task: new entries in order, and its facts when they change.

use tokio::time::timeout;

use super::engine::Engine;
use super::entry::{SharedEntry, StreamEntry, read_entries};
use super::error::EngineError;
use super::keys::LogKeys;
use super::limits::{POLL_INTERVAL, READ_BYTES_TARGET, READ_ENTRIES_MAX, READ_ENTRIES_MIN, REREAD_INTERVAL};
use super::node::LinkUse;
use super::signals::Registration;
use super::state::{SharedStatus, SharedTask};
use super::value::{into_fields, into_number, into_values};
use crate::model::{EntryId, TaskId};

/// A reader of a task's entries and facts.
#[derive(Debug)]
pub struct Tail {
    engine: Engine,
    keys: LogKeys,
    birth: u64,
    after: EntryId,
    after_line: u64,
    /// Epoch in which the last entry was read; `None` before the first read.
    epoch: Option<u64>,
    /// Lines up to this one were returned before the journal was truncated, and are not returned again.
    skip_through: u64,
    /// Entries that the next read may return.
    page_entries: usize,
    registration: Registration,
    /// Epoch of the task for which it was continued in that of the primary.
    reopened: Option<u64>,
    /// The facts that were returned last.
    returned: Option<SharedTask>,
    /// Facts to return once the entries up to them were returned.
    pending: Option<SharedTask>,
    /// Entries remain that no change will report.
    has_more: bool,
}

/// What a tail returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedEvent {
    /// Entries, in order.
    Entries(Vec<SharedEntry>),
    /// The facts of the task: at first, and when one changed that an append does not change.
    State(Box<SharedTask>),
    /// The journal lost its end in a failover: lines after this one do not exist any more, and their numbers are
    /// used again.
    Truncated {
        /// Number of the last line that remains.
        last_line: u64,
    },
    /// The task was removed, or another one has its id.
    Gone,
}

impl Engine {
    /// Follows a task from after an entry.
    pub fn tail(&self, id: &TaskId, birth: u64, after: EntryId, after_line: u64) -> Tail {
        self.tail_log(LogKeys::of_task(id), birth, after, after_line)
    }

    /// Follows the keys of a task or a run from after an entry.
    pub(super) fn tail_log(&self, keys: LogKeys, birth: u64, after: EntryId, after_line: u64) -> Tail {
        let registration = self.router().signals.register(&[&keys.stream, &keys.hash]);
        registration.signal.set();
        let engine = self.clone();
        Tail {
            engine,
            keys,
            birth,
            after,
            after_line,
            epoch: None,
            skip_through: 0,
            page_entries: READ_ENTRIES_MAX,
            registration,
            reopened: None,
            returned: None,
            pending: None,
            has_more: false,
        }
    }
}

impl Tail {
    /// Makes the entry after which the tail starts one that was read in `epoch`: what was lost since then is
    /// reported. Without it, the entry is taken to exist.
    #[must_use]
    pub fn from_epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Returns the epoch in which the last entry was read.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Waits for the next event. Can be dropped and called again without losing one. After an error it can be
    /// called again; the journal was unavailable for longer than an operation waits.
    pub async fn next(&mut self) -> Result<SharedEvent, EngineError> {
        loop {
            if !self.has_more {
                if let Some(state) = self.pending.take() {
                    self.returned = Some(state.clone());
                    return Ok(SharedEvent::State(Box::new(state)));
                }
                self.wait().await;
            }
            match self.read().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error) => {
                    // What was reported as changed is not read yet.
                    self.registration.signal.set();
                    return Err(error);
                }
            }
        }
    }

    async fn wait(&self) {
        let pause = if self.engine.durability().is_tracking { REREAD_INTERVAL } else { POLL_INTERVAL };
        // Too late is as good as a report: everything is read again.
        drop(timeout(pause, self.registration.signal.wait()).await);
    }

    /// Reads the facts and the next entries.
    async fn read(&mut self) -> Result<Option<SharedEvent>, EngineError> {
        let keys = &self.keys;
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(&keys.hash);
        let read = pipeline.cmd("XREAD").arg("COUNT").arg(self.page_entries);
        read.arg("STREAMS").arg(&keys.stream).arg(self.after.to_string());
        // A change during the read must be seen as one after it. If this call is dropped, the next one reads again.
        let unread = self.registration.unread();
        let mut answered = self.engine.router().answered(&keys.stream, LinkUse::Reads, &pipeline).await?;
        let mut answers = std::mem::take(&mut answered.answers).into_iter();
        let state = SharedTask::parse(into_fields(answers.next().unwrap_or_default())?)?;
        let Some(state) = state.filter(|state| state.birth == self.birth) else {
            unread.done();
            return Ok(Some(SharedEvent::Gone));
        };
        // Once for each epoch found: if it remains, the connection is of an older epoch, and the facts are right.
        if self.reopened != Some(state.epoch)
            && let Some(other) = self.engine.router().other_epoch(&answered, &state).await
        {
            self.engine.router().reopen(keys, self.birth, &other).await?;
            drop(unread);
            self.reopened = Some(state.epoch);
            return Ok(None);
        }
        if let Some(last_line) = self.lost_after(&state) {
            drop(unread);
            (self.epoch, self.after, self.after_line) = (Some(state.epoch), EntryId::MIN, 0);
            self.skip_through = last_line;
            return Ok(Some(SharedEvent::Truncated { last_line }));
        }
        let entries = read_entries(answers.next().unwrap_or_default())?;
        let is_full = entries.len() >= self.page_entries;
        if entries.iter().any(|entry| entry.has_unknown_session(&state)) {
            // A session that began after the facts were read.
            return Ok(None);
        }
        let numbers = self.foreign_numbers(&entries).await?;
        unread.done();
        self.has_more = is_full;
        self.page_entries = match entries.iter().map(StreamEntry::bytes).sum::<usize>() > READ_BYTES_TARGET {
            true => (self.page_entries / 2).max(READ_ENTRIES_MIN),
            false => (self.page_entries * 2).min(READ_ENTRIES_MAX),
        };
        self.epoch = Some(state.epoch);
        let is_changed = self.returned.as_ref().is_none_or(|old| !old.is_same_apart_from_lines(&state));
        let last_id = entries.last().map(|entry| entry.id);
        let entries = entries.into_iter().zip(numbers);
        let entries = entries.filter_map(|(entry, n)| entry.numbered(n, &state));
        let entries: Vec<_> = entries.filter(|entry| entry.n > self.skip_through).collect();
        if is_changed && (state.status == SharedStatus::Running || !is_full) {
            self.pending = Some(state);
        }
        self.after = last_id.unwrap_or(self.after);
        let Some(last) = entries.last() else { return Ok(None) };
        self.after_line = last.n;
        Ok(Some(SharedEvent::Entries(entries)))
    }

    /// Returns the last line that remains of those returned, if some of them are lost.
    fn lost_after(&self, state: &SharedTask) -> Option<u64> {
        let epoch = self.epoch.filter(|epoch| *epoch != state.epoch)?;
        // Lines after the end of an epoch were lost by the change to the next one.
        let ends = state.epochs.iter().skip_while(|(past, _)| *past != epoch).map(|(_, last_line)| *last_line);
        let end = ends.min().unwrap_or(0);
        let returned = self.after_line.max(self.skip_through);
        (returned > end).then_some(end)
    }

    /// Returns the numbers of entries of other clients; `None` for ours.
    async fn foreign_numbers(&self, entries: &[StreamEntry]) -> Result<Vec<Option<u64>>, EngineError> {
        let mut last = self.after_line;
        let is_foreign: Vec<_> = entries
            .iter()
            .map(|entry| match &entry.tag {
                // Another client can write the field too, but not number entries.
                Some(tag) if tag.n > last => {
                    last = tag.n;
                    false
                }
                _ => true,
            })
            .collect();
        if !is_foreign.contains(&true) {
            return Ok(vec![None; entries.len()]);
        }
        let mut command = redis::cmd("ZMSCORE");
        command.arg(&self.keys.foreign);
        for (entry, _) in entries.iter().zip(&is_foreign).filter(|(_, is_foreign)| **is_foreign) {
            command.arg(entry.id.to_string());
        }
        let mut is_accounted = false;
        loop {
            let answer = self.engine.router().command(&self.keys.foreign, LinkUse::Scripts, command.clone()).await?;
            let numbers: Vec<_> = into_values(answer)?.into_iter().map(into_number).collect();
            if is_accounted || numbers.iter().all(Option::is_some) {
                let mut numbers = numbers.into_iter();
                return Ok(is_foreign
                    .iter()
                    .map(|is_foreign| is_foreign.then(|| numbers.next().flatten()).flatten())
                    .collect());
            }
            self.engine.router().account(&self.keys, self.birth).await?;
            is_accounted = true;
        }
    }
}
