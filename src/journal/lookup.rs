//! Streams by name in the writer: lookup, creation and change notification.

use std::collections::HashMap;
use std::sync::Arc;

use super::stream_state::{StreamState, WriteContext};
use super::writer::{FoundStream, Writer};
use super::{JournalError, Stream};
use crate::model::{ClockReading, Timestamp};

/// Returns the state of a stream. A state from before the stream was loaded again is replaced: it would publish to
/// the readers of the earlier object only.
pub(super) fn state_of<'s>(states: &'s mut HashMap<u64, StreamState>, stream: &Arc<Stream>) -> &'s mut StreamState {
    let state = states.entry(stream.number).or_insert_with(|| StreamState::new(stream));
    if !state.in_commit && !Arc::ptr_eq(&state.stream, stream) {
        *state = StreamState::new(stream);
    }
    state
}

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
        self.last_found = found.map(|number| self.found_now(name, number));
        Ok(found)
    }

    /// Returns the number found last if it belongs to this name: consecutive commands often use the
    /// same key.
    fn last_found(&self, name: &[u8]) -> Option<u64> {
        let found = self.last_found.as_ref().filter(|found| *found.name == *name)?;
        (found.loads == self.streams.loads()).then_some(found.number)
    }

    fn found_now(&self, name: &[u8], number: u64) -> FoundStream {
        FoundStream { name: name.into(), number, loads: self.streams.loads() }
    }

    fn load_state(&mut self, name: &[u8], now: Timestamp) -> Result<Option<u64>, JournalError> {
        let Some(stream) = self.streams.find(&self.store, name)? else { return Ok(None) };
        if stream.tip().removed {
            return Ok(None);
        }
        let state = state_of(&mut self.states, &stream);
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
        self.last_found = Some(self.found_now(name, stream.number));
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
