//! The last events of a file, read in blocks from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use memchr::memrchr;

use super::ReadEvents;
use super::read::{LINE_BYTES_MAX, LogPosition};
use crate::model::EventError;

/// Size of the first block; each further one is twice as large, up to the maximum.
const BLOCK_BYTES: u64 = 16 * 1024;
const BLOCK_BYTES_MAX: u64 = 256 * 1024;
/// Maximum number of faults returned, so a file without events is not read to its start.
const FAULTS_MAX: usize = 10_000;

pub(super) fn tail(path: &Path, n: usize) -> io::Result<ReadEvents> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    last(n, end, |bytes, offset| file.read_exact_at(bytes, offset))
}

/// The lines found so far, from the end of the file backward.
struct BackwardReader {
    found: ReadEvents,
    wanted: usize,
    /// The end of a line whose start is not reached yet, and the number of bytes dropped after it.
    line: Vec<u8>,
    over: u64,
}

fn last(n: usize, end: u64, mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>) -> io::Result<ReadEvents> {
    let mut tail = BackwardReader { found: ReadEvents::default(), wanted: n, line: Vec::new(), over: 0 };
    let (mut upper, mut block_bytes) = (end, BLOCK_BYTES);
    let mut block = Vec::new();
    while upper > 0 && !tail.is_done() {
        let lower = upper.saturating_sub(block_bytes);
        block.resize(usize::try_from(upper - lower).unwrap_or_default(), 0);
        read(&mut block, lower)?;
        tail.push_block(&block, lower);
        upper = lower;
        block_bytes = (block_bytes * 2).min(BLOCK_BYTES_MAX);
    }
    if upper == 0 && !tail.is_done() {
        tail.end_line(0);
    }
    tail.found.events.reverse();
    tail.found.faults.reverse();
    Ok(tail.found)
}

impl BackwardReader {
    fn is_done(&self) -> bool {
        self.found.events.len() >= self.wanted || self.found.faults.len() >= FAULTS_MAX
    }

    /// Adds the block before the previous one.
    fn push_block(&mut self, block: &[u8], offset: u64) {
        let mut rest = block;
        while let Some(newline) = memrchr(b'\n', rest) {
            let (before, line) = rest.split_at(newline + 1);
            self.prepend(line);
            self.end_line(offset + before.len() as u64);
            if self.is_done() {
                return;
            }
            // The newline belongs to the line it ends.
            self.line.push(b'\n');
            rest = before.get(..newline).unwrap_or_default();
        }
        self.prepend(rest);
    }

    fn prepend(&mut self, begin: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        if begin.len() > room || self.over > 0 {
            // Too long for an event: only the start will be shown.
            self.over += self.line.len() as u64;
            self.line.clear();
        }
        self.line.splice(0..0, begin.iter().copied());
    }

    /// Ends the current line, which starts at `offset`.
    fn end_line(&mut self, offset: u64) {
        let position = LogPosition { line: 0, offset };
        let over = std::mem::take(&mut self.over);
        if self.line.is_empty() && over == 0 {
            return;
        }
        let mut parsed = if over > 0 {
            let bytes = usize::try_from(over).unwrap_or(usize::MAX).saturating_add(self.line.len());
            let fault = position.fault(&self.line, Some(EventError::TooLong(bytes)));
            ReadEvents { events: Vec::new(), faults: vec![fault] }
        } else {
            position.parse(&self.line, 0)
        };
        // Found backward; of the first line only its last events may be wanted.
        parsed.events.reverse();
        parsed.faults.reverse();
        parsed.events.truncate(self.wanted.saturating_sub(self.found.events.len()));
        self.found.append(parsed);
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    const LINE: &str = r#"{"event_type":"step.started","event_id":"e","n":1}"#;

    /// Returns the last events of a text, and the number of bytes read for them.
    fn counted(n: usize, text: &[u8]) -> (ReadEvents, usize) {
        let mut cost = 0;
        let found = last(n, text.len() as u64, |block, offset| {
            let offset = usize::try_from(offset).unwrap();
            block.copy_from_slice(&text[offset..offset + block.len()]);
            cost += block.len();
            Ok(())
        });
        (found.unwrap(), cost)
    }

    #[test]
    fn formats_2_1_tail_cost_depends_on_the_result_not_the_file() {
        let text = format!("{LINE}\n").repeat(200_000);
        let (found, cost) = counted(20, text.as_bytes());
        assert_eq!((found.events.len(), found.faults.len()), (20, 0));
        assert_eq!(found.events[19].offset, (text.len() - LINE.len() - 1) as u64);
        assert!(cost <= 16 * 1024, "{cost} bytes were read");
        let (found, cost) = counted(10_000, text.as_bytes());
        assert_eq!(found.events.len(), 10_000);
        assert!(cost < 3 * 10_000 * LINE.len(), "{cost} bytes were read");
    }

    #[test]
    fn tail_equals_the_end_of_read_all() {
        let mut text = Vec::new();
        for n in 0..3_000 {
            match n % 7 {
                0 => text.extend_from_slice(b"\n"),
                1 => text.extend_from_slice(b"{\"half\":\n"),
                2 => text.extend_from_slice(format!("{LINE}\r\n").as_bytes()),
                3 => text.extend_from_slice(b"\xff\xfe\n"),
                _ => {
                    text.extend_from_slice(format!("{{\"event_type\":\"t\",\"n\":\"{}\"}}\n", "x".repeat(n)).as_bytes())
                }
            }
        }
        text.extend_from_slice(b"{\"event_type\":\"st");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, &text).unwrap();
        let all = read::read_all(&path).unwrap();
        for n in [0, 1, 20, 500, 5_000] {
            let found = counted(n, &text).0;
            let expected = all.events.iter().skip(all.events.len().saturating_sub(n)).map(|logged| logged.offset);
            assert!(found.events.iter().map(|logged| logged.offset).eq(expected), "the last {n}");
            let begin = found.events.first().map_or(text.len() as u64, |logged| logged.offset);
            let begin = if n > all.events.len() { 0 } else { begin };
            let faults = all.faults.iter().filter(|fault| fault.offset > begin || begin == 0);
            let faults = faults.map(|fault| (fault.offset, &fault.fault, &fault.excerpt));
            let got = found.faults.iter().map(|fault| (fault.offset, &fault.fault, &fault.excerpt));
            assert!(n == 0 || got.eq(faults), "the last {n}");
        }
    }

    #[test]
    fn overlong_line_is_a_fault_and_not_buffered() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let text = format!("{LINE}\nbegin{long}\n{LINE}\n");
        let (found, _) = counted(2, text.as_bytes());
        assert_eq!(found.events.len(), 2);
        let fault = &found.faults[0];
        let position = LINE.len() as u64 + 1;
        assert_eq!((fault.offset, fault.fault.as_ref().unwrap().reason()), (position, "too_long"));
        assert!(fault.excerpt.starts_with("begin"), "{}", fault.excerpt);
    }
}
