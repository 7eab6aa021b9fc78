//! Streams by name in the writer: lookup, creation and change notification.

use super::JournalError;
use super::stream_state::{StreamState, WriteContext};
use super::writer::Writer;
use crate::model::{ClockReading, Timestamp};

impl Writer {
    /// Returns the number of the stream with this name. An expired key is deleted first.
    pub(super) fn find(&mut self, name: &[u8], now: Timestamp) -> Result<Option<u64>, JournalError> {
        if let Some(number) = self.last_found(name)
            && let Some(state) = self.states.get(&number)
            && !state.is_expired(now)
        {
            return Ok(Some(number));
        }
        let found = self.load_state(name, now)?;
        self.last_found = found.map(|number| (name.into(), number));
        Ok(found)
    }

    /// Returns the number found last if it belongs to this name: consecutive commands often use the
    /// same key.
    fn last_found(&self, name: &[u8]) -> Option<u64> {
        self.last_found.as_ref().filter(|(found, _)| **found == *name).map(|(_, number)| *number)
    }

    fn load_state(&mut self, name: &[u8], now: Timestamp) -> Result<Option<u64>, JournalError> {
        let Some(stream) = self.streams.find(&self.store, name)? else { return Ok(None) };
        if stream.tip().removed {
            return Ok(None);
        }
        let state = self.states.entry(stream.number).or_insert_with(|| StreamState::new(&stream));
        if state.tip.exists && state.is_expired(now) {
            self.remove_key(&stream)?;
            self.touch(name);
        }
        Ok(self.states.contains_key(&stream.number).then_some(stream.number))
    }

    /// Creates a stream with this name. Returns its number.
    pub(super) fn create_stream(&mut self, name: &[u8]) -> Result<u64, JournalError> {
        let stream = self.streams.create(&self.store, name)?;
        self.states.insert(stream.number, StreamState::new(&stream));
        self.last_found = Some((name.into(), stream.number));
        Ok(stream.number)
    }

    /// Returns the state of a stream found by [`Self::find`], and the context for changing it.
    pub(super) fn loaded_state(
        &mut self,
        number: u64,
        now: ClockReading,
    ) -> Option<(&mut StreamState, WriteContext<'_>)> {
        let state = self.states.get_mut(&number)?;
        let (store, counters, node_limits) = (&self.store, &self.counters, &self.node_limits);
        Some((state, WriteContext { store, counters, node_limits, now }))
    }

    /// Adds a changed key to the commit, and notifies the clients that watch it or are blocked on it.
    pub(super) fn touch(&mut self, name: &[u8]) {
        self.include_in_commit(name);
        self.mark_changed(name);
    }

    /// Adds a key to the commit.
    pub(super) fn include_in_commit(&mut self, name: &[u8]) {
        self.pending.has_writes = true;
        let number = self.last_found(name).or_else(|| self.streams.cached(name).map(|stream| stream.number));
        if let Some(number) = number
            && let Some(state) = self.states.get_mut(&number)
            && !state.in_commit
        {
            state.in_commit = true;
            self.pending.streams.push(number);
        }
    }

    /// Notifies the clients that watch this key or are blocked on it.
    pub(super) fn mark_changed(&mut self, name: &[u8]) {
        self.watched.mark_dirty(name);
        if !self.blocked.is_empty() {
            self.blocked.mark_ready(name);
        }
    }
}
