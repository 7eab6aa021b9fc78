//! Reads lines back from a session's folder.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::SessionFolder;
use crate::worker::buffer::BufferedLine;
use crate::worker::spool::record::{self, BODY_BYTES_MAX, HEAD_BYTES, MAGIC, NextRecord, SpoolRecord};

/// Bytes per read; large enough for a record.
const READ_BYTES: usize = 1024 * 1024;
const _: () = assert!(READ_BYTES >= HEAD_BYTES + BODY_BYTES_MAX);

/// The position of the reader.
#[derive(Debug)]
pub(super) struct SpoolReadPosition {
    segment: u64,
    file: File,
    offset: u64,
    /// Number of the next line to read.
    next_seq: u64,
}

impl SessionFolder {
    /// Returns consecutive lines from number `from_seq` on, or from the first later one that exists, up to
    /// about `bytes_max` bytes. The result is empty if there are none.
    pub(in crate::worker) fn read(
        &mut self,
        from_seq: u64,
        lines_max: usize,
        bytes_max: usize,
    ) -> io::Result<(u64, Vec<BufferedLine>)> {
        let mut reading = match self.reading.take().filter(|reading| reading.next_seq == from_seq) {
            Some(reading) => reading,
            None => {
                let before = self.segments.iter().rev().find(|segment| segment.first_seq <= from_seq);
                let Some(segment) = before.or(self.segments.front()).map(|segment| segment.first_seq) else {
                    return Ok((from_seq, Vec::new()));
                };
                self.open_segment(segment, from_seq)?
            }
        };
        let (mut first_seq, mut items, mut bytes) = (from_seq, Vec::new(), 0);
        let mut buffer = vec![0; READ_BYTES];
        'segments: loop {
            let read = read_at(&reading.file, &mut buffer, reading.offset)?;
            let mut rest = buffer.get(..read).unwrap_or_default();
            while let NextRecord::Record(record, length) = record::next(rest) {
                if let SpoolRecord::Line(seq, item) = record
                    && seq >= reading.next_seq
                {
                    if items.is_empty() {
                        first_seq = seq;
                    } else if seq != reading.next_seq {
                        // The hole is left to the next read.
                        break 'segments;
                    }
                    bytes += item.line.text.len();
                    items.push(item);
                    reading.next_seq = seq + 1;
                }
                rest = rest.get(length..).unwrap_or_default();
                reading.offset += length as u64;
                if items.len() >= lines_max || bytes >= bytes_max {
                    break 'segments;
                }
            }
            if rest.len() < read {
                continue;
            }
            // This segment has no further record.
            let next = self.segments.iter().find(|segment| segment.first_seq > reading.segment);
            match next.map(|segment| segment.first_seq) {
                Some(segment) => reading = self.open_segment(segment, reading.next_seq)?,
                None => break,
            }
        }
        if items.is_empty() {
            return Ok((from_seq, items));
        }
        self.reading = Some(reading);
        Ok((first_seq, items))
    }

    fn open_segment(&self, segment: u64, next_seq: u64) -> io::Result<SpoolReadPosition> {
        let file = File::open(self.segment_path(segment))?;
        let mut magic = [0; MAGIC.len()];
        // A file that is no segment has no records either: start at its end.
        let whole = read_at(&file, &mut magic, 0)? == magic.len() && magic == *MAGIC;
        let offset = if whole { MAGIC.len() as u64 } else { file.metadata()?.len() };
        Ok(SpoolReadPosition { segment, file, offset, next_seq })
    }
}

/// Reads into `buffer` from `offset` until it is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
