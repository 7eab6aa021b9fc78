//! Reading an archive by line number, growing or sealed.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame::{self, FrameHeader};
use super::{Archive, ArchiveError};
use crate::model::Line;

impl Archive {
    /// Returns consecutive lines from number `from` on: at most `lines`, and about `bytes` of NDJSON, but
    /// always at least one. If `from` is in a [`Hole`](super::Hole) they start after it. Empty if `from` is
    /// after the last line.
    pub fn read(&self, from: u64, lines: usize, bytes: usize) -> Result<Vec<Line<'static>>, ArchiveError> {
        self.lines_from(from, lines, bytes).inspect_err(|error| self.log_once(error))
    }

    fn lines_from(&self, from: u64, lines: usize, bytes: usize) -> Result<Vec<Line<'static>>, ArchiveError> {
        let mut found = Vec::new();
        let mut bytes_read = 0;
        let mut next = from;
        while found.len() < lines && bytes_read < bytes {
            let Some((file, header)) = self.frame_of(next) else { break };
            if header.first_line > next && !found.is_empty() {
                break;
            }
            let raw = self.decompressed(&file, &header)?;
            let before = next;
            // One line per row with dense numbers, so the rows before `next` need not be parsed.
            let skip = usize::try_from(next.saturating_sub(header.first_line)).unwrap_or(usize::MAX);
            let rows = raw.split(|byte| *byte == b'\n').filter(|json| !json.is_empty()).skip(skip);
            for json in rows {
                if found.len() >= lines || (bytes_read >= bytes && !found.is_empty()) {
                    break;
                }
                bytes_read += json.len();
                let line: Line<'static> = serde_json::from_slice(json).map_err(|e| self.damaged(&e.to_string()))?;
                // The lines must match the index: callers rely on dense numbers.
                if line.n != next.max(header.first_line) || line.n > header.last_line() {
                    return Err(self.damaged(&format!("found line {} in place of line {next}", line.n)));
                }
                next = line.n + 1;
                found.push(line);
            }
            if next == before {
                return Err(self.damaged(&format!("line {next} is not in its frame")));
            }
        }
        Ok(found)
    }

    /// Returns the NDJSON of the frame that contains `line`, starting at that line, and the number of the
    /// first line after the frame. If `line` is in a hole, the next frame is returned.
    pub fn frame_from(&self, line: u64) -> Result<Option<(Vec<u8>, u64)>, ArchiveError> {
        let Some((file, header)) = self.frame_of(line) else { return Ok(None) };
        let decompressed = frame::decompress(&file, &header).map_err(|e| self.error("read", e));
        let raw = decompressed.inspect_err(|error| self.log_once(error))?;
        let skip = usize::try_from(line.saturating_sub(header.first_line)).unwrap_or(usize::MAX);
        let start = match skip {
            0 => 0,
            _ => memchr::memchr_iter(b'\n', &raw).nth(skip - 1).map_or(raw.len(), |at| at + 1),
        };
        Ok(Some((raw[start..].to_vec(), header.last_line() + 1)))
    }

    /// Returns the compressed data of the frame that starts at `line`, as it is in the file, and the number of the
    /// first line after the frame; `None` if no frame starts there.
    pub fn compressed_frame_at(&self, line: u64) -> Result<Option<(Vec<u8>, u64)>, ArchiveError> {
        let Some((file, header)) = self.frame_of(line).filter(|(_, header)| header.first_line == line) else {
            return Ok(None);
        };
        let data = frame::read_data(&file, &header).map_err(|e| self.error("read", e));
        Ok(Some((data.inspect_err(|error| self.log_once(error))?, header.last_line() + 1)))
    }

    /// Returns NDJSON as a zstd frame like those of the archive.
    pub fn compress(&self, raw: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        frame::compress(raw).map_err(|e| self.error("compress", e))
    }

    /// Returns the frame that contains `line`, or else the next one.
    fn frame_of(&self, line: u64) -> Option<(Arc<File>, FrameHeader)> {
        let frames = self.frames.read();
        let at = frames.headers.partition_point(|header| header.last_line() < line);
        Some((frames.file.clone()?, *frames.headers.get(at)?))
    }

    fn decompressed(&self, file: &File, header: &FrameHeader) -> Result<Arc<Vec<u8>>, ArchiveError> {
        if let Some((_, raw)) = self.cache.lock().as_ref().filter(|(first, _)| *first == header.first_line) {
            return Ok(raw.clone());
        }
        let raw = Arc::new(frame::decompress(file, header).map_err(|e| self.error("read", e))?);
        *self.cache.lock() = Some((header.first_line, raw.clone()));
        Ok(raw)
    }

    /// Drops the cached frame. The next read decompresses it again.
    pub fn drop_cache(&self) {
        *self.cache.lock() = None;
    }

    /// Logs a read error, once per open archive: in the middle of a download it cannot be sent to the
    /// client.
    fn log_once(&self, error: &ArchiveError) {
        if !self.error_logged.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "cannot read the rest of a log; run `tasktail verify` to find the damage");
        }
    }

    pub(super) fn damaged(&self, what: &str) -> ArchiveError {
        ArchiveError::Damaged { path: self.sealed.clone(), what: what.to_owned() }
    }
}
