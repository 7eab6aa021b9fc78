//! Archives: a task's older and finished lines, one file per task, as NDJSON in zstd frames.
//!
//! ```text
//! DATA/archive/ID.ndjson.zst.open   grows while the task runs
//! DATA/archive/ID.ndjson.zst        sealed: never changes again
//!
//! { header  metadata  data }*  [ verdict  index  seek-table ]   the part in brackets is written by the seal
//!
//! header, index, seek-table   skippable zstd frames, which every zstd tool ignores
//! metadata                    skippable: the origins of the frame's lines, and their totals
//! verdict                     skippable: the totals compared with those that the worker reported, as JSON
//! data                        a zstd frame of about 128 KiB of NDJSON, with zstd's checksum
//! seek-table                  as in zstd's seekable format, for tools that support it
//! ```
//!
//! A header describes the frame after it, so a file that a kill left with a partial frame is truncated to
//! its last complete frame. `zstdcat` prints an archive, sealed or not. Archives of earlier versions have
//! neither metadata nor a verdict.
//!
//! Within a frame line numbers are dense. Between two frames there may be a gap: the middle of a log over
//! its limit was removed there ([`Archive::truncate_middle`]), as the metadata of the next frame records.

mod append;
mod archives;
mod checker;
mod folder_sync;
mod frame;
mod read;
mod recover;
mod seal;
mod truncate;
mod verify;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};

use crate::model::{EntryId, LogTotals};
use append::FrameWriter;
use archives::ArchiveFolder;
pub use archives::{ArchiveFile, Archives, FoundArchives};
pub use checker::ArchiveCheck;
use frame::FrameHeader;
pub use truncate::Hole;

/// An error of an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system failed.
    #[error("cannot {doing} the archive {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation: `read`, `write`, `open`, `seal`.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The contents are invalid.
    #[error("the archive {path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Description of the damage.
        what: String,
    },
}

/// One task's archive. Only one thread may append at a time; any number may read.
#[derive(Debug)]
pub struct Archive {
    /// Path of the file until the seal.
    growing: PathBuf,
    /// Path of the file after the seal.
    sealed: PathBuf,
    /// Locked while frames are appended and while the file is sealed.
    writer: Mutex<FrameWriter>,
    /// Published frames, in order.
    frames: RwLock<Frames>,
    /// The frame read last, decompressed, with its first line: pages are usually read in order.
    cache: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
    /// True once a read error has been logged.
    error_logged: AtomicBool,
    folder: Arc<ArchiveFolder>,
}

#[derive(Debug, Default)]
struct Frames {
    file: Option<Arc<File>>,
    headers: Vec<FrameHeader>,
    /// Totals of the lines; empty for a sealed archive.
    totals: LogTotals,
    sealed: bool,
    /// Lines missing between frames.
    missing: u64,
}

impl Archive {
    /// Opens a growing archive and truncates it to its last complete frame. If the file does not exist it
    /// is created with the first frame.
    fn open_growing(
        growing: PathBuf,
        sealed: PathBuf,
        journal_from: Option<u64>,
        folder: Arc<ArchiveFolder>,
    ) -> Result<Self, ArchiveError> {
        let archive = Self {
            growing,
            sealed,
            writer: Mutex::default(),
            frames: RwLock::default(),
            cache: Mutex::default(),
            error_logged: AtomicBool::default(),
            folder,
        };
        if archive.growing.exists() {
            let options = OpenOptions::new().read(true).write(true).open(&archive.growing);
            let file = options.map_err(|e| archive.error("open", e))?;
            let before = file.metadata().map_err(|e| archive.error("read", e))?.len();
            let (headers, len) = recover::recover_frames(&file, journal_from).map_err(|e| archive.error("read", e))?;
            file.set_len(len).map_err(|e| archive.error("truncate", e))?;
            archive.folder.usage.resized(before, len);
            archive.writer.lock().len = len;
            let (missing, totals) = (frame::missing_lines(&headers), frame::totals(&file, &headers));
            let file = Some(Arc::new(file));
            *archive.frames.write() = Frames { file, headers, totals, sealed: false, missing };
        }
        Ok(archive)
    }

    fn error(&self, doing: &'static str, source: io::Error) -> ArchiveError {
        let path = if self.frames.read().sealed { &self.sealed } else { &self.growing };
        ArchiveError::Io { path: path.clone(), doing, source }
    }

    /// Returns the number of the last line; 0 if there is none.
    pub fn last_line(&self) -> u64 {
        self.frames.read().headers.last().map_or(0, FrameHeader::last_line)
    }

    /// Returns the number of the first line; 0 if there is none.
    pub fn first_line(&self) -> u64 {
        self.frames.read().headers.first().map_or(0, |header| header.first_line)
    }

    /// Returns the ids of the first and the last line, if there is one.
    pub fn id_range(&self) -> Option<(EntryId, EntryId)> {
        let frames = self.frames.read();
        Some((frames.headers.first()?.first_id, frames.headers.last()?.last_id))
    }

    /// Reports whether the archive is sealed, so that nothing can be added.
    pub fn is_sealed(&self) -> bool {
        self.frames.read().sealed
    }

    /// Returns the number of the last line, and the totals of a growing archive's lines.
    pub fn totals(&self) -> (u64, LogTotals) {
        let frames = self.frames.read();
        (frames.headers.last().map_or(0, FrameHeader::last_line), frames.totals.clone())
    }

    /// Returns the bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.writer.lock().len
    }
}

#[cfg(test)]
mod tests;
