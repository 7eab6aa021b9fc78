//! Reading an archive by line number, while it grows and after.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame::{self, FrameRef};
use super::{Archive, ArchiveError};
use crate::model::Line;

impl Archive {
    /// Lines from number `from` on: at most `lines`, and about `bytes` of NDJSON; one is always
    /// given. They are consecutive; the first is behind `from` if that is in a [`Hole`](super::Hole). Empty if `from`
    /// is behind the last line inside.
    pub fn read(&self, from: u64, lines: usize, bytes: usize) -> Result<Vec<Line<'static>>, ArchiveError> {
        self.lines_from(from, lines, bytes).inspect_err(|error| self.log_once(error))
    }

    fn lines_from(&self, from: u64, lines: usize, bytes: usize) -> Result<Vec<Line<'static>>, ArchiveError> {
        let mut found = Vec::new();
        let mut taken = 0;
        let mut next = from;
        while found.len() < lines && taken < bytes {
            let Some((file, row)) = self.frame_of(next) else { break };
            if row.first_line > next && !found.is_empty() {
                break;
            }
            let raw = self.unpacked(&file, &row)?;
            let before = next;
            // Lines are one row each and dense, so those before `next` need not be parsed.
            let skip = usize::try_from(next.saturating_sub(row.first_line)).unwrap_or(usize::MAX);
            let rows = raw.split(|byte| *byte == b'\n').filter(|json| !json.is_empty()).skip(skip);
            for json in rows {
                if found.len() >= lines || (taken >= bytes && !found.is_empty()) {
                    break;
                }
                taken += json.len();
                let line: Line<'static> = serde_json::from_slice(json).map_err(|e| self.damaged(&e.to_string()))?;
                // The index and the lines must tell the same: a reader counts on dense numbers.
                if line.n != next.max(row.first_line) || line.n > row.last_line() {
                    return Err(self.damaged(&format!("line {} stands in the place of line {next}", line.n)));
                }
                next = line.n + 1;
                found.push(line);
            }
            if next == before {
                return Err(self.damaged(&format!("line {next} is not in the frame that is to hold it")));
            }
        }
        Ok(found)
    }

    /// The NDJSON of the frame that holds this line, or of the next behind it, and the number of the
    /// line after that.
    pub fn frame_from(&self, line: u64) -> Result<Option<(Vec<u8>, u64)>, ArchiveError> {
        let Some((file, row)) = self.frame_of(line) else { return Ok(None) };
        let unpacked = frame::unpack(&file, &row).map_err(|e| self.error("read", e));
        let raw = unpacked.inspect_err(|error| self.log_once(error))?;
        let skip = usize::try_from(line.saturating_sub(row.first_line)).unwrap_or(usize::MAX);
        let start = match skip {
            0 => 0,
            _ => memchr::memchr_iter(b'\n', &raw).nth(skip - 1).map_or(raw.len(), |at| at + 1),
        };
        Ok(Some((raw[start..].to_vec(), row.last_line() + 1)))
    }

    fn frame_of(&self, line: u64) -> Option<(Arc<File>, FrameRef)> {
        let frames = self.frames.read();
        let at = frames.rows.partition_point(|row| row.last_line() < line);
        Some((frames.file.clone()?, *frames.rows.get(at)?))
    }

    fn unpacked(&self, file: &File, row: &FrameRef) -> Result<Arc<Vec<u8>>, ArchiveError> {
        if let Some((_, raw)) = self.cache.lock().as_ref().filter(|(first, _)| *first == row.first_line) {
            return Ok(raw.clone());
        }
        let raw = Arc::new(frame::unpack(file, row).map_err(|e| self.error("read", e))?);
        *self.cache.lock() = Some((row.first_line, raw.clone()));
        Ok(raw)
    }

    /// Lets go of the unpacked frame; a page that follows unpacks it again.
    pub fn drop_cache(&self) {
        *self.cache.lock() = None;
    }

    /// Whoever reads is told as he can be, in the midst of a download not at all: so it is said
    /// here, once as long as the archive is open.
    fn log_once(&self, error: &ArchiveError) {
        if !self.error_logged.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "a log cannot be read on; `tasktail verify` says what is damaged");
        }
    }

    pub(super) fn damaged(&self, what: &str) -> ArchiveError {
        ArchiveError::Damaged { path: self.sealed.clone(), what: what.to_owned() }
    }
}
