//! Lines of a file as events and faults.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use super::{LogFault, Logged, ReadEvents};
use crate::model::{Event, EventError, limits};

/// Read at once. Larger ones are got from the system anew for each file, page by page.
const BLOCK_BYTES: usize = 64 * 1024;
/// Characters of a fault's excerpt.
const EXCERPT_CHARS_MAX: usize = 120;
/// Bytes of a line that are held: enough to know that no more will do.
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
        let place = Place { line: number, offset };
        found.push(place.judge(&line, over));
        offset += read + over;
    }
}

/// Passes over the rest of a line; gives how many bytes that were.
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

/// Where a line stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) offset: u64,
}

/// What a line is.
#[derive(Debug)]
pub(super) enum Judged {
    Event(Logged),
    Fault(LogFault),
    Blank,
}

impl Place {
    /// Reads a line, of which `over` more bytes are not held. One without its newline is the last.
    pub(super) fn judge(self, line: &[u8], over: u64) -> Judged {
        let whole = line.ends_with(b"\n") || over > 0;
        if over > 0 {
            let bytes = line.len().saturating_add(usize::try_from(over).unwrap_or(usize::MAX));
            return self.fault(line, Some(EventError::TooLong(bytes)));
        }
        let text = match std::str::from_utf8(line) {
            Ok(text) => text.trim_ascii(),
            Err(_) if !whole => return self.fault(line, None),
            Err(error) => {
                let why = format!("it is not UTF-8 from byte {} on", error.valid_up_to());
                return self.fault(line, Some(EventError::NotJson(why)));
            }
        };
        if text.is_empty() {
            return Judged::Blank;
        }
        match Event::parse(text) {
            Ok(event) => Judged::Event(Logged { event, line: self.line, offset: self.offset }),
            // An object that is cut cannot be told from one that is wrong; one that is whole can.
            Err(EventError::NotJson(_)) if !whole => self.fault(line, None),
            Err(fault) => self.fault(line, Some(fault)),
        }
    }

    pub(super) fn fault(self, line: &[u8], fault: Option<EventError>) -> Judged {
        let begin = line.get(..line.len().min(EXCERPT_CHARS_MAX * 4)).unwrap_or_default();
        let excerpt = String::from_utf8_lossy(begin.trim_ascii()).chars().take(EXCERPT_CHARS_MAX).collect();
        Judged::Fault(LogFault { line: self.line, offset: self.offset, fault, excerpt })
    }
}

impl ReadEvents {
    pub(super) fn push(&mut self, judged: Judged) {
        match judged {
            Judged::Event(event) => self.events.push(event),
            Judged::Fault(fault) => self.faults.push(fault),
            Judged::Blank => {}
        }
    }
}
