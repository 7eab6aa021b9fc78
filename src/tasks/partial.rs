//! The current unterminated line of each channel of a task: shown to viewers, never stored or numbered.
//!
//! Only the newest state is kept, in memory. A line stored on the channel ends it silently, since that line
//! replaces it at the viewer; an empty text and the end of the worker's connection remove it.

use parking_lot::Mutex;
use tokio::sync::watch;

use super::LineBatch;
use super::task::TaskHandle;
use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{Channel, LineText, PartialLine, Timestamp};

/// The current unterminated lines of a task.
#[derive(Debug, Default)]
pub(super) struct PartialLines {
    slots: Mutex<[PartialSlot; Channel::ALL.len()]>,
    /// Changes when there is something new to show.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct PartialSlot {
    /// Increases with each change that viewers must see.
    version: u64,
    line: Option<PartialLine>,
}

/// The state of the partial lines as one viewer has seen it.
#[derive(Debug)]
pub(super) struct PartialReader {
    changed: watch::Receiver<u64>,
    seen: [SeenPartial; Channel::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct SeenPartial {
    version: u64,
    shown: bool,
}

impl PartialLines {
    /// Replaces the line of a channel.
    fn set(&self, line: PartialLine) {
        let mut slots = self.slots.lock();
        let slot = &mut slots[line.channel as usize];
        let line = (!line.line.is_empty()).then_some(line);
        if slot.line == line {
            return;
        }
        slot.version += 1;
        slot.line = line;
        drop(slots);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Removes all lines.
    pub(super) fn clear(&self) {
        for channel in Channel::ALL {
            self.set(PartialLine { channel, timestamp: Timestamp::default(), line: String::new(), lossy: false });
        }
    }

    /// Ends the lines of the channels that a batch has lines of.
    pub(super) fn end_lines(&self, batch: &LineBatch) {
        let mut slots = self.slots.lock();
        for channel in Channel::ALL.into_iter().filter(|channel| batch.channels().contains(*channel)) {
            slots[channel as usize].line = None;
        }
    }

    /// Returns a reader that has seen nothing.
    pub(super) fn subscribe(&self) -> PartialReader {
        PartialReader { changed: self.changed.subscribe(), seen: Default::default() }
    }
}

impl PartialReader {
    /// Returns a line that the viewer has not seen in this form, if there is one. An empty text means that the
    /// line shown before is gone.
    pub(super) fn next(&mut self, lines: &PartialLines) -> Option<PartialLine> {
        self.changed.mark_unchanged();
        let slots = lines.slots.lock();
        for channel in Channel::ALL {
            let (slot, seen) = (&slots[channel as usize], &mut self.seen[channel as usize]);
            if slot.version == seen.version {
                continue;
            }
            seen.version = slot.version;
            let was_shown = std::mem::replace(&mut seen.shown, slot.line.is_some());
            match &slot.line {
                Some(line) => return Some(line.clone()),
                None if was_shown => {
                    let timestamp = Timestamp::now();
                    return Some(PartialLine { channel, timestamp, line: String::new(), lossy: false });
                }
                None => {}
            }
        }
        None
    }

    /// Records that lines were sent, which replace all partial lines at the viewer.
    pub(super) fn forget(&mut self) {
        self.seen = Default::default();
    }

    /// Waits for a change.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The sender lives as long as the task.
            std::future::pending::<()>().await;
        }
    }
}

impl TaskHandle {
    /// Shows the current unterminated line of a channel to viewers; an empty text removes it. A task that has
    /// ended shows none.
    pub fn show_partial(&self, line: &LineText<'_>) {
        self.heartbeat();
        if self.with_record(super::record::TaskRecord::is_closed) {
            return;
        }
        let text = line.text.get(..line.text.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or_default();
        let LineText { timestamp, channel, lossy, .. } = *line;
        self.inner.partials.set(PartialLine { timestamp, channel, line: text.replace('\n', "\u{fffd}"), lossy });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(channel: Channel, text: &str) -> PartialLine {
        PartialLine { channel, timestamp: Timestamp::default(), line: text.to_owned(), lossy: false }
    }

    fn next(reader: &mut PartialReader, lines: &PartialLines) -> Option<(Channel, String)> {
        reader.next(lines).map(|line| (line.channel, line.line))
    }

    #[test]
    fn reader_sees_only_the_newest_line_of_each_channel() {
        let lines = PartialLines::default();
        let mut reader = lines.subscribe();
        assert_eq!(next(&mut reader, &lines), None);
        for percent in ["1 %", "2 %"] {
            lines.set(text(Channel::Stdout, percent));
        }
        lines.set(text(Channel::Stderr, "?"));
        assert_eq!(next(&mut reader, &lines), Some((Channel::Stdout, "2 %".to_owned())));
        assert_eq!(next(&mut reader, &lines), Some((Channel::Stderr, "?".to_owned())));
        assert_eq!(next(&mut reader, &lines), None);
        lines.clear();
        assert_eq!(next(&mut reader, &lines), Some((Channel::Stdout, String::new())));
        assert_eq!(next(&mut reader, &lines), Some((Channel::Stderr, String::new())));
        assert_eq!(next(&mut reader, &lines), None);
        assert_eq!(next(&mut lines.subscribe(), &lines), None, "nothing was shown to a new reader");
    }

    #[test]
    fn stored_line_ends_the_partial_line_of_its_channel() {
        let lines = PartialLines::default();
        let mut reader = lines.subscribe();
        lines.set(text(Channel::Stdout, "99 %"));
        lines.set(text(Channel::Stderr, "wait"));
        while reader.next(&lines).is_some() {}
        let mut batch = LineBatch::new();
        batch.push(&LineText { text: "100 %".into(), ..LineText::default() });
        lines.end_lines(&batch);
        assert_eq!(next(&mut reader, &lines), None, "the stored line replaces it");
        reader.forget();
        assert_eq!(next(&mut reader, &lines), Some((Channel::Stderr, "wait".to_owned())), "shown again after lines");
        assert_eq!(next(&mut reader, &lines), None);
    }
}
