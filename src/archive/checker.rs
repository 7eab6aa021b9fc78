//! Checking frames of an archive one after another, and what is found.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::frame::{self, FrameHeader};
use crate::model::{EntryId, GapReason, Integrity, Line, LogTotals, Origin};

/// Maximum number of faults listed per archive.
const FAULTS_MAX: usize = 20;

/// Result of verifying an archive.
#[derive(Clone, Debug, Default)]
pub struct ArchiveCheck {
    /// Descriptions of the faults.
    pub faults: Vec<String>,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal; empty if it could not be read.
    pub sha256: String,
    /// Number of lines.
    pub lines: u64,
    /// Number of the first line; 0 if there is none.
    pub first_line: u64,
    /// Number of the last line; 0 if there is none.
    pub last_line: u64,
    /// Totals of the lines, computed again.
    pub totals: LogTotals,
    /// The verdict in the seal.
    pub verdict: Option<Integrity>,
}

/// Checks frames in order.
pub(super) struct Checker {
    pub(super) found: ArchiveCheck,
    /// Headers of the frames so far.
    pub(super) headers: Vec<FrameHeader>,
    last_id: EntryId,
    /// Reused buffer for checksums of lines.
    buffer: Vec<u8>,
    /// Number of faults beyond [`FAULTS_MAX`].
    unlisted: u64,
}

impl Checker {
    /// Creates a checker for the frames after this line.
    pub(super) fn after_line(last_line: u64) -> Self {
        Self {
            found: ArchiveCheck { last_line, ..ArchiveCheck::default() },
            headers: Vec::new(),
            last_id: EntryId::MIN,
            buffer: Vec::new(),
            unlisted: 0,
        }
    }

    /// Records a fault.
    pub(super) fn fault(&mut self, what: String) {
        if self.found.faults.len() < FAULTS_MAX {
            self.found.faults.push(what);
        } else {
            self.unlisted += 1;
        }
    }

    /// Checks the next frame: header, metadata, lines, and totals.
    pub(super) fn frame(&mut self, file: &File, header: FrameHeader) {
        let offset = header.offset;
        let mut bytes = vec![0; frame::HEADER_BYTES as usize];
        let is_canonical = frame::encode_header(&header)
            .is_ok_and(|encoded| file.read_exact_at(&mut bytes, offset).is_ok() && bytes == encoded);
        if !is_canonical {
            self.fault(format!("damaged header at byte {offset}"));
        }
        let metadata = frame::read_metadata(file, &header).unwrap_or_else(|error| {
            self.fault(format!("the frame at byte {offset}: {error}"));
            None
        });
        let hole = (self.found.last_line > 0 && header.first_line > self.found.last_line + 1)
            .then(|| (self.found.last_line + 1, header.first_line - 1));
        if frame::has_changed_descriptor(file, &header).unwrap_or(false) {
            self.fault(format!("the descriptor of the frame at byte {offset} was changed"));
        }
        let mut totals = LogTotals::default();
        match frame::decompress(file, &header) {
            Ok(raw) => {
                let origins = metadata.as_ref().map(|metadata| &metadata.origins);
                if origins.is_some_and(|origins| origins.lines() != u64::from(header.lines)) {
                    self.fault(format!("the metadata at byte {offset} does not have {} origins", header.lines));
                }
                let mut origins = origins.into_iter().flat_map(|origins| origins.each());
                self.lines(&raw, &header, &mut totals, &mut origins);
            }
            Err(error) => self.fault(format!(
                "cannot read the frame at byte {offset} (lines {} to {}): {error}",
                header.first_line,
                header.last_line()
            )),
        }
        if let Some((from, to)) = hole {
            if metadata.as_ref().is_some_and(|metadata| metadata.totals.has_hole(from, to)) {
                totals.add_hole(from, to, GapReason::Quota);
            } else {
                self.fault(format!("lines {from} to {to} are missing without a recorded reason"));
            }
        }
        let mut recorded = metadata.as_ref().map(|metadata| metadata.totals.clone());
        if let Some(recorded) = recorded.as_mut().filter(|recorded| recorded.own_lines().is_none()) {
            // Version 1 did not count them.
            recorded.set_own_lines(totals.own_lines());
        }
        if recorded.is_some_and(|recorded| recorded != totals) {
            self.fault(format!(
                "the totals of lines {} to {} differ from the recorded ones",
                header.first_line,
                header.last_line()
            ));
        }
        self.found.totals.merge(&totals);
        if self.found.first_line == 0 {
            self.found.first_line = header.first_line;
        }
        self.found.last_line = header.last_line().max(self.found.last_line);
        self.headers.push(header);
    }

    /// Checks the lines of one frame: their count, numbers, and ascending ids.
    fn lines<'a>(
        &mut self,
        raw: &[u8],
        header: &FrameHeader,
        totals: &mut LogTotals,
        origins: &mut dyn Iterator<Item = Origin<'a>>,
    ) {
        let mut expected = header.first_line;
        let mut last = None;
        for json in raw.split(|byte| *byte == b'\n').filter(|json| !json.is_empty()) {
            match serde_json::from_slice::<Line<'_>>(json) {
                Ok(line) => {
                    if line.n != expected {
                        self.fault(format!("found line {} in place of line {expected}", line.n));
                    }
                    if line.id <= self.last_id {
                        self.fault(format!("the id {} of line {} is not after {}", line.id, line.n, self.last_id));
                    }
                    if expected == header.first_line && line.id != header.first_id {
                        self.fault(format!("the header before line {} has another first id", line.n));
                    }
                    self.last_id = line.id;
                    last = Some(line.id);
                    self.found.lines += 1;
                    totals.add(origins.next().unwrap_or(Origin::Unknown), &line, &mut self.buffer);
                }
                Err(error) => self.fault(format!("cannot parse line {expected}: {error}")),
            }
            expected = expected.saturating_add(1);
        }
        let count = expected - header.first_line;
        if count != u64::from(header.lines) {
            self.fault(format!(
                "the frame of line {} has {count} lines, but its header has {}",
                header.first_line, header.lines
            ));
        }
        if last.is_some_and(|id| id != header.last_id) {
            self.fault(format!("the header before line {} has another last id", header.first_line));
        }
    }

    /// Returns the result.
    pub(super) fn finish(mut self) -> ArchiveCheck {
        if self.unlisted > 0 {
            self.found.faults.push(format!("and {} more faults", self.unlisted));
        }
        self.found
    }
}
