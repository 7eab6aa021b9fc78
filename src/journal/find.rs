//! Streams by name, as the writer finds, begins and marks them.

use super::JournalError;
use super::head::{Cx, Head};
use super::keys::mark_dirty;
use super::writer::Writer;
use crate::model::{ClockReading, Timestamp};

impl Writer {
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
    pub(super) fn known_head(&mut self, number: u64, now: ClockReading) -> Option<(&mut Head, Cx<'_>)> {
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

    pub(super) fn tell(&mut self, name: &[u8]) {
        if !self.watched.is_empty()
            && let Some(watchers) = self.watched.remove(name)
        {
            mark_dirty(watchers);
        }
        if self.waiting.len() > 0 {
            self.waiting.changed(name);
        }
    }
}
