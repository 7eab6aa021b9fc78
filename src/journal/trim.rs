//! Trimming a stream.

use super::JournalError;
use super::stream_state::{StreamState, WriteContext};
use crate::model::EntryId;

/// The entries that trimming removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// All but the newest entries up to this number (Redis: `MAXLEN =`).
    MaxLen(u64),
    /// Whole nodes, keeping at least this number of entries (Redis: `MAXLEN ~`). The second field limits
    /// the entries removed at once; 0 for no limit (Redis: `LIMIT`).
    AboutMaxLen(u64, u64),
    /// Entries below this ID (Redis: `MINID =`).
    MinId(EntryId),
    /// Whole nodes below this ID (Redis: `MINID ~`). The second field limits the entries removed at once;
    /// 0 for no limit.
    AboutMinId(EntryId, u64),
    /// Entries up to this line number, which are archived.
    ThroughLine(u64),
}

/// The entries that trimming keeps.
#[derive(Clone, Copy)]
enum Retention {
    /// The newest entries up to this number.
    Len(u64),
    /// Entries from this ID.
    From(EntryId),
}

impl StreamState {
    /// Moves the watermarks. Blocks below them are removed from the store after the commit. Returns the
    /// number of removed entries.
    pub(super) fn trim(&mut self, cx: &WriteContext<'_>, trim: Trim) -> Result<u64, JournalError> {
        let (keep, limit) = match trim {
            Trim::MaxLen(max) => (Retention::Len(max), None),
            Trim::AboutMaxLen(max, limit) => (Retention::Len(max), Some(limit)),
            Trim::MinId(min) => (Retention::From(min), None),
            Trim::AboutMinId(min, limit) => (Retention::From(min), Some(limit)),
            Trim::ThroughLine(line) => return self.trim_through(cx, line),
        };
        if matches!(keep, Retention::Len(max) if self.tip.shown_len <= max) {
            return Ok(0);
        }
        self.ensure_nodes(cx)?;
        let before = self.tip.shown_len;
        self.trim_nodes(keep, limit);
        if limit.is_none() {
            self.trim_within_node(cx, keep)?;
        }
        let removed = before - self.tip.shown_len;
        if removed > 0 {
            self.record_dirty = true;
        }
        if !self.stream.archived {
            self.tip.first_line = self.tip.shown_line;
        }
        Ok(removed)
    }

    /// Removes as many whole nodes as `keep` and `limit` allow.
    fn trim_nodes(&mut self, keep: Retention, limit: Option<u64>) {
        let mut removed = 0;
        while let Some(node) = self.nodes.as_ref().and_then(|nodes| nodes.front().copied()) {
            let live = u64::from(node.live);
            let removable = match keep {
                Retention::Len(max) => self.tip.shown_len > max && self.tip.shown_len - live >= max,
                Retention::From(min) => node.last < min,
            };
            if !removable || limit.is_some_and(|limit| limit > 0 && removed + live > limit) {
                return;
            }
            removed += live;
            self.pop_node();
        }
    }

    /// Removes the first node and every entry before the next one.
    fn pop_node(&mut self) {
        let Some(nodes) = self.nodes.as_mut() else { return };
        let Some(node) = nodes.front().copied() else { return };
        nodes.pop_front();
        self.tip.shown_len -= u64::from(node.live);
        self.tip.shown_line = nodes.front().map_or(self.tip.last_line + 1, |next| next.first_line);
    }

    /// Removes single entries of the first remaining node, as `keep` requires.
    fn trim_within_node(&mut self, cx: &WriteContext<'_>, keep: Retention) -> Result<(), JournalError> {
        let Some(node) = self.nodes.as_ref().and_then(|nodes| nodes.front().copied()) else { return Ok(()) };
        let (mut len, mut removed, mut from) = (self.tip.shown_len, 0, None);
        self.visit_lines(cx, self.tip.shown_line.max(node.first_line), node.last_line, |entry| {
            if entry.body.is_deleted() {
                return true;
            }
            let stays = match keep {
                Retention::Len(max) => len <= max,
                Retention::From(min) => entry.id >= min,
            };
            if stays {
                from = Some(entry.n);
                return false;
            }
            len -= 1;
            removed += 1;
            true
        })?;
        let Some(line) = from else {
            // Every entry to keep in this node was already deleted.
            self.pop_node();
            return Ok(());
        };
        if removed > 0 {
            (self.tip.shown_len, self.tip.shown_line) = (len, line);
            if let Some(node) = self.nodes.as_mut().and_then(|nodes| nodes.front_mut()) {
                node.live -= removed;
            }
        }
        Ok(())
    }

    /// Removes archived lines, whether or not they are entries of the key.
    fn trim_through(&mut self, cx: &WriteContext<'_>, line: u64) -> Result<u64, JournalError> {
        let from = line.min(self.tip.last_line) + 1;
        let before = self.tip.first_line;
        if from <= before {
            return Ok(0);
        }
        if from > self.tip.shown_line {
            self.trim_key_before(cx, from)?;
        }
        self.tip.first_line = from;
        self.record_dirty = true;
        Ok(from - before)
    }

    /// Removes the entries before line `from` from the key.
    fn trim_key_before(&mut self, cx: &WriteContext<'_>, from: u64) -> Result<(), JournalError> {
        while self.nodes.as_ref().and_then(|nodes| nodes.front()).is_some_and(|node| node.last_line < from) {
            self.pop_node();
        }
        let span = (self.tip.last_line + 1).saturating_sub(self.tip.shown_line);
        let mut removed = from.saturating_sub(self.tip.shown_line);
        // If nothing was deleted, every line is an entry.
        if span != self.tip.shown_len && removed > 0 {
            removed = 0;
            self.visit_lines(cx, self.tip.shown_line, from - 1, |entry| {
                removed += u64::from(!entry.body.is_deleted());
                true
            })?;
        }
        self.tip.shown_len -= removed.min(self.tip.shown_len);
        self.tip.shown_line = self.tip.shown_line.max(from);
        if let Some(node) = self.nodes.as_mut().and_then(|nodes| nodes.front_mut()) {
            node.live = node.live.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX));
            if node.live == 0 {
                self.pop_node();
            }
        }
        Ok(())
    }
}
