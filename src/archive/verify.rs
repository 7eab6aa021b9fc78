//! Verifying an archive: every frame, every line, all totals, the index.
//!
//! Only reads, and continues after a fault with whatever can still be read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::checker::{ArchiveCheck, Checker};
use super::frame::{self, FrameHeader};
use super::recover::is_intact;
use super::{Archives, seal};
use crate::model::{Integrity, LineChecksum, SessionTotals};

/// Bytes searched at once.
const SEARCH_BYTES: usize = 1024 * 1024;

impl Archives {
    /// Verifies a whole archive. Calls `progress` with the number of bytes after each frame. For
    /// `journal_from`, see [`Archives::archive`].
    ///
    /// # Errors
    /// The file cannot be opened. Everything else is a fault in the result.
    pub fn check(
        path: &Path,
        sealed: bool,
        journal_from: Option<u64>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<ArchiveCheck> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut checker = Checker::after_line(0);
        checker.found.bytes = size;
        let (mut offset, mut torn) = (0, false);
        while let Some(header) = frame::read_header(&file, offset, size).unwrap_or_default() {
            if !header.follows(checker.headers.last()) {
                checker.fault(format!("the header at byte {offset} does not follow the frame before it"));
                break;
            }
            let unsynced = journal_from.is_some_and(|line| header.last_line() >= line);
            let is_torn = (unsynced && !is_intact(&file, checker.headers.last(), header))
                || (header.end() == size && frame::decompress(&file, &header).is_err());
            if !sealed && is_torn {
                // The next start removes this frame and all after it: the journal has their lines.
                torn = true;
                break;
            }
            checker.frame(&file, header);
            progress(header.end() - offset);
            offset = header.end();
        }
        if sealed {
            check_seal(&mut checker, &file, offset, size);
            match seal::hash(path) {
                Ok(sha256) => checker.found.sha256 = sha256,
                Err(error) => checker.fault(format!("cannot read it: {error}")),
            }
        } else if !torn {
            check_open_end(&mut checker, &file, offset, size);
        }
        progress(size.saturating_sub(offset));
        Ok(checker.finish())
    }
}

/// Checks what the seal appended: every byte of it follows from the frames.
fn check_seal(checker: &mut Checker, file: &File, offset: u64, size: u64) {
    let verdict = seal::read_verdict(file, offset);
    match seal::read_index(file) {
        Ok(headers) if headers != checker.headers => {
            let equal = count_equal(&headers, &checker.headers);
            checker.fault(format!("its index lists {} frames, of which {equal} are correct", headers.len()));
        }
        Ok(_) => {}
        Err(error) => return checker.fault(format!("its seal is damaged: {error}")),
    }
    let verdict = verdict.unwrap_or_else(|error| {
        checker.fault(format!("cannot read its verdict: {error}"));
        None
    });
    let expected = seal::encode_tail(&checker.headers, verdict.as_ref()).unwrap_or_default();
    let mut tail = vec![0; usize::try_from(size.saturating_sub(offset)).unwrap_or(0).min(expected.len() + 1)];
    if file.read_exact_at(&mut tail, offset).is_err() || tail != expected {
        checker.fault(format!("the bytes after {offset} are not the index and seek table of its frames"));
    }
    if let Some(verdict) = &verdict {
        check_verdict(checker, verdict);
    }
    checker.found.verdict = verdict;
}

/// Checks the totals in the verdict against those of the lines.
fn check_verdict(checker: &mut Checker, verdict: &Integrity) {
    let Some(hash) = &verdict.hash else { return };
    let is_empty = verdict.lines == 0 && *hash == LineChecksum::default().to_string();
    let matches = |totals: &SessionTotals| totals.lines == verdict.lines && totals.sum.to_string() == *hash;
    let found = checker.found.totals.sessions().any(matches);
    if !is_empty && !found && !checker.found.totals.has_holes() {
        checker.fault(format!("no session has {} lines with the checksum {hash} of the seal", verdict.lines));
    }
}

/// Checks the end of a growing archive: it may be a partial frame left by a kill or a power cut, but no
/// complete frame may follow.
fn check_open_end(checker: &mut Checker, file: &File, offset: u64, size: u64) {
    let (mut from, mut buffer) = (offset, vec![0; SEARCH_BYTES]);
    while from < size {
        let len = usize::try_from(size - from).unwrap_or(SEARCH_BYTES).min(SEARCH_BYTES);
        let Some(bytes) = buffer.get_mut(..len).filter(|_| len >= 4) else { break };
        if let Err(error) = file.read_exact_at(bytes, from) {
            return checker.fault(format!("cannot read it: {error}"));
        }
        for position in memchr::memmem::find_iter(bytes, &frame::HEADER_MAGIC.to_le_bytes()) {
            let next = from + position as u64;
            if next > offset && frame::read_header(file, next, size).is_ok_and(|header| header.is_some()) {
                return checker.fault(format!("the frame at byte {offset} is damaged, and complete frames follow it"));
            }
        }
        // Overlap by three bytes: a magic number may span two pieces.
        from += (len as u64).saturating_sub(3).max(1);
    }
}

/// Returns how many headers at the same position are equal.
fn count_equal(a: &[FrameHeader], b: &[FrameHeader]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}
