//! Trimming: which entries go.

use super::JournalError;
use super::head::{Cx, Head};
use crate::model::EntryId;

/// How much of a stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// At most so many entries stay (Redis: `MAXLEN =`).
    MaxLen(u64),
    /// At least so many entries stay, and whole nodes go (Redis: `MAXLEN ~`); at most so many entries
    /// go at once, 0 for any (Redis: `LIMIT`).
    AboutMaxLen(u64, u64),
    /// Entries below this id go (Redis: `MINID =`).
    MinId(EntryId),
    /// Whole nodes below this id go (Redis: `MINID ~`); at most so many entries at once, 0 for any.
    AboutMinId(EntryId, u64),
    /// Entries up to this line number go: they are kept elsewhere.
    ThroughLine(u64),
}

/// What stays.
#[derive(Clone, Copy)]
enum Keep {
    Len(u64),
    From(EntryId),
}

impl Head {
    /// Moves the watermarks; what lies below them leaves the store after the commit. Answers how
    /// many entries went.
    pub(super) fn trim(&mut self, cx: &Cx<'_>, trim: Trim) -> Result<u64, JournalError> {
        let (keep, about) = match trim {
            Trim::MaxLen(max) => (Keep::Len(max), None),
            Trim::AboutMaxLen(max, limit) => (Keep::Len(max), Some(limit)),
            Trim::MinId(min) => (Keep::From(min), None),
            Trim::AboutMinId(min, limit) => (Keep::From(min), Some(limit)),
            Trim::ThroughLine(line) => return self.trim_through(cx, line),
        };
        if matches!(keep, Keep::Len(max) if self.tip.shown_len <= max) {
            return Ok(0);
        }
        self.ensure_nodes(cx)?;
        let before = self.tip.shown_len;
        self.trim_nodes(keep, about);
        if about.is_none() {
            self.trim_inside(cx, keep)?;
        }
        let gone = before - self.tip.shown_len;
        if gone > 0 {
            self.record_due = true;
        }
        if !self.stream.kept {
            self.tip.first_line = self.tip.shown_line;
        }
        Ok(gone)
    }

    /// Whole nodes, as many as may go.
    fn trim_nodes(&mut self, keep: Keep, about: Option<u64>) {
        let mut gone = 0;
        while let Some(node) = self.nodes.as_ref().and_then(|nodes| nodes.front().copied()) {
            let live = u64::from(node.live);
            let goes = match keep {
                Keep::Len(max) => self.tip.shown_len > max && self.tip.shown_len - live >= max,
                Keep::From(min) => node.last < min,
            };
            if !goes || about.is_some_and(|limit| limit > 0 && gone + live > limit) {
                return;
            }
            gone += live;
            self.pop_node();
        }
    }

    /// Lets the first node go, and whatever lies before the next.
    fn pop_node(&mut self) {
        let Some(nodes) = self.nodes.as_mut() else { return };
        let Some(node) = nodes.front().copied() else { return };
        nodes.pop_front();
        self.tip.shown_len -= u64::from(node.live);
        self.tip.shown_line = nodes.front().map_or(self.tip.last_line + 1, |next| next.first_line);
    }

    /// Entries of the first node that is left, as many as must go.
    fn trim_inside(&mut self, cx: &Cx<'_>, keep: Keep) -> Result<(), JournalError> {
        let Some(node) = self.nodes.as_ref().and_then(|nodes| nodes.front().copied()) else { return Ok(()) };
        let (mut len, mut gone, mut from) = (self.tip.shown_len, 0, None);
        self.visit_lines(cx, self.tip.shown_line.max(node.first_line), node.last_line, |entry| {
            if entry.body.is_deleted() {
                return true;
            }
            let stays = match keep {
                Keep::Len(max) => len <= max,
                Keep::From(min) => entry.id >= min,
            };
            if stays {
                from = Some(entry.n);
                return false;
            }
            len -= 1;
            gone += 1;
            true
        })?;
        let Some(line) = from else {
            // What was to stay there was deleted before.
            self.pop_node();
            return Ok(());
        };
        if gone > 0 {
            (self.tip.shown_len, self.tip.shown_line) = (len, line);
            if let Some(node) = self.nodes.as_mut().and_then(|nodes| nodes.front_mut()) {
                node.live -= gone;
            }
        }
        Ok(())
    }

    /// Lines that are kept elsewhere go, whatever they are as entries of a key.
    fn trim_through(&mut self, cx: &Cx<'_>, line: u64) -> Result<u64, JournalError> {
        let from = line.min(self.tip.last_line) + 1;
        let before = self.tip.first_line;
        if from <= before {
            return Ok(0);
        }
        if from > self.tip.shown_line {
            self.hide_through(cx, from)?;
        }
        self.tip.first_line = from;
        self.record_due = true;
        Ok(from - before)
    }

    fn hide_through(&mut self, cx: &Cx<'_>, from: u64) -> Result<(), JournalError> {
        while self.nodes.as_ref().and_then(|nodes| nodes.front()).is_some_and(|node| node.last_line < from) {
            self.pop_node();
        }
        let span = (self.tip.last_line + 1).saturating_sub(self.tip.shown_line);
        let mut gone = from.saturating_sub(self.tip.shown_line);
        // Where nothing was deleted every line is an entry.
        if span != self.tip.shown_len && gone > 0 {
            gone = 0;
            self.visit_lines(cx, self.tip.shown_line, from - 1, |entry| {
                gone += u64::from(!entry.body.is_deleted());
                true
            })?;
        }
        self.tip.shown_len -= gone.min(self.tip.shown_len);
        self.tip.shown_line = self.tip.shown_line.max(from);
        if let Some(node) = self.nodes.as_mut().and_then(|nodes| nodes.front_mut()) {
            node.live = node.live.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX));
            if node.live == 0 {
                self.pop_node();
            }
        }
        Ok(())
    }
}
