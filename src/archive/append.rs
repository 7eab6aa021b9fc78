//! Appending lines to an archive: collected into frames, written, synced, then published to readers.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::sync::Arc;

use super::frame::{self, FrameHeader, FrameMetadata};
use super::{Archive, ArchiveError};
use crate::model::{Line, LogTotals, Origin};
use crate::store::FILE_MODE;

/// Approximate bytes of NDJSON in one frame.
const FRAME_BYTES: usize = 128 * 1024;

/// The state between a line and its published frame.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    /// Bytes of complete frames in the file.
    pub(super) len: u64,
    /// NDJSON that is not in a frame yet.
    raw: Vec<u8>,
    /// Header of the next frame.
    next: Option<FrameHeader>,
    /// Metadata of the next frame.
    metadata: FrameMetadata,
    /// Reused buffer for checksums of lines.
    buffer: Vec<u8>,
    /// Frames that are written but not synced.
    pub(super) unpublished: Vec<FrameHeader>,
    /// Totals of their lines.
    unpublished_totals: LogTotals,
    /// True until the file's name is durable.
    pub(super) name_unsynced: bool,
}

impl FrameWriter {
    /// Creates the writer of a file with this many bytes of frames.
    pub(super) fn new(len: u64) -> Self {
        Self { len, ..Self::default() }
    }
}

impl Archive {
    /// Appends a line, which must follow the last one. It is written with the next complete frame, and
    /// readable after [`Archive::sync`].
    pub fn push(&self, line: &Line<'_>, origin: Origin<'_>) -> Result<(), ArchiveError> {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        // Numbers must be dense within a frame: a line is found by its position.
        if writer.next.is_some_and(|next| next.last_line() + 1 != line.n) {
            self.write_frame(writer)?;
        }
        writer.metadata.origins.push(origin);
        writer.metadata.totals.add(origin, line, &mut writer.buffer);
        serde_json::to_writer(&mut writer.raw, line).map_err(|e| self.error("write", e.into()))?;
        writer.raw.push(b'\n');
        let next = writer.next.get_or_insert_with(|| FrameHeader {
            first_line: line.n,
            first_id: line.id,
            ..FrameHeader::default()
        });
        next.lines += 1;
        next.last_id = line.id;
        if writer.raw.len() >= FRAME_BYTES { self.write_frame(writer) } else { Ok(()) }
    }

    /// Writes everything as complete frames, makes them durable, and only then publishes them to readers.
    ///
    /// # Errors
    /// The file is truncated, and the lines pushed since the last call are discarded: push them again.
    pub fn sync(&self) -> Result<(), ArchiveError> {
        let mut writer = self.writer.lock();
        let done = self.write_frame(&mut writer).and_then(|()| {
            let Some(file) = self.frames.read().file.clone() else { return Ok(()) };
            file.sync_data().map_err(|e| self.error("sync", e))?;
            self.sync_name(&mut writer)
        });
        match done {
            Ok(()) => self.publish(&mut writer),
            Err(_) => self.truncate_unsynced(&mut writer),
        }
        done
    }

    /// Publishes the frames that were written. They must be durable.
    pub(super) fn publish(&self, writer: &mut FrameWriter) {
        let mut frames = self.frames.write();
        frames.missing += frame::missing_between(frames.headers.last(), writer.unpublished.first());
        frames.missing += frame::missing_lines(&writer.unpublished);
        frames.headers.append(&mut writer.unpublished);
        frames.totals.merge(&std::mem::take(&mut writer.unpublished_totals));
    }

    /// Makes the file's name durable, if it is not. A failed seal publishes lines before.
    pub fn sync_file_name(&self) -> Result<(), ArchiveError> {
        self.sync_name(&mut self.writer.lock())
    }

    /// Makes the file's name durable: syncing the file alone does not.
    pub(super) fn sync_name(&self, writer: &mut FrameWriter) -> Result<(), ArchiveError> {
        if writer.name_unsynced {
            self.folder.names.sync().map_err(|e| self.error("sync", e))?;
            writer.name_unsynced = false;
        }
        Ok(())
    }

    /// Discards the lines pushed since the last sync.
    pub fn discard_unsynced(&self) {
        self.truncate_unsynced(&mut self.writer.lock());
    }

    pub(super) fn truncate_unsynced(&self, writer: &mut FrameWriter) {
        let frames = self.frames.read();
        let before = writer.len;
        writer.len = frames.headers.last().map_or(0, FrameHeader::end);
        self.folder.usage.resized(before, writer.len);
        writer.raw.clear();
        writer.next = None;
        writer.metadata = FrameMetadata::default();
        writer.unpublished.clear();
        writer.unpublished_totals = LogTotals::default();
        if let Some(Err(error)) = frames.file.as_ref().map(|file| file.set_len(writer.len)) {
            tracing::warn!(path = %self.growing.display(), %error, "failed to truncate an archive; the next start retries");
        }
    }

    pub(super) fn write_frame(&self, writer: &mut FrameWriter) -> Result<(), ArchiveError> {
        let Some(mut header) = writer.next.take() else { return Ok(()) };
        let metadata = std::mem::take(&mut writer.metadata);
        let file = self.file_for_write(writer)?;
        let bytes = frame::encode_frame(&mut header, &metadata, &writer.raw, writer.len);
        let bytes = bytes.map_err(|e| self.error("write", e))?;
        file.write_all_at(&bytes, writer.len).map_err(|e| self.error("write", e))?;
        writer.len += bytes.len() as u64;
        self.folder.usage.resized(0, bytes.len() as u64);
        writer.raw.clear();
        writer.unpublished.push(header);
        writer.unpublished_totals.merge(&metadata.totals);
        Ok(())
    }

    /// Returns the growing file, creating it if necessary.
    pub(super) fn file_for_write(&self, writer: &mut FrameWriter) -> Result<Arc<File>, ArchiveError> {
        if let Some(file) = &self.frames.read().file {
            return Ok(file.clone());
        }
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(&self.growing);
        let file = Arc::new(options.map_err(|e| self.error("open", e))?);
        self.frames.write().file = Some(file.clone());
        writer.name_unsynced = true;
        Ok(file)
    }
}
