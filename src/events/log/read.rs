//! Lines of a file, parsed as events and faults.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use super::{LogFault, LoggedEvent, ReadEvents};
use crate::model::{EventError, events_in_line, limits};

/// Read buffer size. A larger buffer would be mapped again for each file, page by page.
const BLOCK_BYTES: usize = 64 * 1024;
/// Maximum length of a fault's excerpt, in characters.
const EXCERPT_CHARS_MAX: usize = 120;
/// Maximum bytes of a line in memory: enough to see that it exceeds the limit.
pub(super) const LINE_BYTES_MAX: usize = limits::EVENT_BYTES_MAX + 64 * 1024;

pub(super) fn read_all(path: &Path) -> io::Result<ReadEvents> {
    let mut file = BufReader::with_capacity(BLOCK_BYTES, File::open(path)?);
    let mut found = ReadEvents::default();
    let (mut offset, mut number) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(found);
        }
        let over = if read == LINE_BYTES_MAX as u64 && !line.ends_with(b"\n") { skip_line(&mut file)? } else { 0 };
        number += 1;
        let position = LogPosition { line: number, offset };
        found.append(position.parse(&line, over));
        offset += read + over;
    }
}

/// Skips the rest of a line. Returns the number of bytes skipped.
fn skip_line(file: &mut BufReader<File>) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let block = file.fill_buf()?;
        let end = memchr::memchr(b'\n', block).map(|newline| newline + 1);
        let used = end.unwrap_or(block.len());
        file.consume(used);
        skipped += used as u64;
        if end.is_some() || used == 0 {
            return Ok(skipped);
        }
    }
}

/// The position of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogPosition {
    pub(super) line: u64,
    pub(super) offset: u64,
}

impl LogPosition {
    /// Parses a line of which `over` more bytes are not in memory. Only the last line has no newline.
    pub(super) fn parse(self, line: &[u8], over: u64) -> ReadEvents {
        let mut found = ReadEvents::default();
        if over > 0 {
            let bytes = line.len().saturating_add(usize::try_from(over).unwrap_or(usize::MAX));
            found.faults.push(self.fault(line, Some(EventError::TooLong(bytes))));
            return found;
        }
        let whole = line.ends_with(b"\n");
        events_in_line(line, &mut |part| {
            let position = Self { offset: self.offset + part.offset as u64, ..self };
            match part.event {
                Ok(event) => found.events.push(LoggedEvent { event, line: self.line, offset: position.offset }),
                // An incomplete object and an invalid one look the same; a complete one can be judged.
                Err(fault) => {
                    let fault = Some(fault).filter(|_| whole || !part.is_cut);
                    found.faults.push(position.fault(line.get(part.offset..).unwrap_or_default(), fault));
                }
            }
        });
        found
    }

    pub(super) fn fault(self, line: &[u8], fault: Option<EventError>) -> LogFault {
        let begin = line.get(..line.len().min(EXCERPT_CHARS_MAX * 4)).unwrap_or_default();
        let excerpt = String::from_utf8_lossy(begin.trim_ascii()).chars().take(EXCERPT_CHARS_MAX).collect();
        LogFault { line: self.line, offset: self.offset, fault, excerpt }
    }
}

impl ReadEvents {
    pub(super) fn append(&mut self, mut line: Self) {
        self.events.append(&mut line.events);
        self.faults.append(&mut line.faults);
    }
}
