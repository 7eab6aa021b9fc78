//! A task's older and finished lines: one file a task, NDJSON in zstd frames.
//!
//! ```text
//! DATA/archive/ID.ndjson.zst.open   grows while the task runs
//! DATA/archive/ID.ndjson.zst        sealed: never changes again
//!
//! { note  proof  data }*  [ verdict  index  seek-table ]        the part in brackets comes with the seal
//!
//! note, index, seek-table   skippable zstd frames: every zstd tool passes over them
//! proof                     another: where the frame's lines come from, and what they add up to
//! verdict                   another: what came of comparing that with what the worker said, as JSON
//! data                      a zstd frame of about 128 KiB of NDJSON, with zstd's checksum
//! seek-table                as in zstd's seekable format, for tools that know it
//! ```
//!
//! A note says what the frame behind it holds, so a file that was cut by a kill is cut back to its
//! last whole frame. `zstdcat` prints an archive whole, sealed or not. Archives of earlier versions have
//! neither proofs nor a verdict.
//!
//! Within a frame line numbers are dense. Between two frames they may jump: there the middle of a log
//! that was over its limit has gone ([`Archive::truncate_middle`]), and the proof of the frame behind says so.

mod frame;
mod read;
mod seal;
mod truncate;
mod verify;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::model::{EntryId, Line, LogTotals, Origin, TaskId};
use crate::store::{create_folder, sync_folder};
use frame::{FrameMetadata, FrameRef};
pub use truncate::Hole;
pub use verify::ArchiveCheck;

/// Bytes of NDJSON in one frame, about.
const FRAME_BYTES: usize = 128 * 1024;
/// The fastest of zstd's ordinary levels: lines compress well at any.
const LEVEL: i32 = 1;

/// What can go wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system said no.
    #[error("the archive {path} cannot be {doing}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// `read`, `written`, `opened`, `sealed`.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("the archive {path} is damaged: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The folder of all archives.
#[derive(Clone, Debug)]
pub struct Archives {
    folder: PathBuf,
    /// Bytes of all files in it.
    bytes: Arc<DiskUsage>,
}

/// Bytes of several files: kept by whoever changes one.
#[derive(Debug, Default)]
struct DiskUsage(AtomicU64);

impl DiskUsage {
    /// A file has another size now.
    fn resized(&self, before: u64, now: u64) {
        if now >= before {
            self.0.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.0.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

impl Archives {
    /// Takes this folder, made if it is not there.
    pub fn open(folder: &Path) -> Result<Self, ArchiveError> {
        create_folder(folder).map_err(|source| ArchiveError::Io {
            path: folder.to_owned(),
            doing: "opened",
            source,
        })?;
        Ok(Self { folder: folder.to_owned(), bytes: Arc::default() })
    }

    /// Counts what is there, and removes what a kill has left half made. To be called once, before
    /// any archive is opened, by the one process that writes here.
    pub fn scan_usage(&self) -> Result<(), ArchiveError> {
        let error = |source| ArchiveError::Io { path: self.folder.clone(), doing: "read", source };
        let mut bytes = 0;
        for entry in fs::read_dir(&self.folder).map_err(error)? {
            let entry = entry.map_err(error)?;
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(truncate::NEW_SUFFIX)) {
                fs::remove_file(entry.path()).map_err(error)?;
            } else {
                bytes += entry.metadata().map_err(error)?.len();
            }
        }
        self.bytes.0.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of all archives.
    pub fn bytes(&self) -> u64 {
        self.bytes.0.load(Ordering::Relaxed)
    }

    /// Where a task's sealed archive is.
    pub fn sealed_path(&self, id: &TaskId) -> PathBuf {
        self.folder.join(format!("{id}.ndjson.zst"))
    }

    fn open_path(&self, id: &TaskId) -> PathBuf {
        self.folder.join(format!("{id}.ndjson.zst.open"))
    }

    /// The archive of a task: the sealed one, the growing one cut back to its last whole frame, or
    /// an empty one whose file comes with its first frame. `kept_from`: the first line that is also kept
    /// elsewhere, so that what is here of it and behind it need not have been synced.
    pub fn archive(&self, id: &TaskId, kept_from: Option<u64>) -> Result<Archive, ArchiveError> {
        let sealed = self.sealed_path(id);
        // What is in the way of the final name is not an archive: the growing one is read on.
        if sealed.is_file() {
            return Archive::open_sealed(sealed, self.bytes.clone());
        }
        Archive::open_growing(self.open_path(id), sealed, kept_from, self.bytes.clone())
    }

    /// Every task that has an archive, sealed or growing. Files of other names are passed over.
    pub fn ids(&self) -> Result<BTreeSet<TaskId>, ArchiveError> {
        let error = |source| ArchiveError::Io { path: self.folder.clone(), doing: "read", source };
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(&self.folder).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            let Some(name) = name.to_str().map(|name| name.strip_suffix(".open").unwrap_or(name)) else { continue };
            ids.extend(name.strip_suffix(".ndjson.zst").and_then(|id| id.parse::<TaskId>().ok()));
        }
        Ok(ids)
    }

    /// A sealed archive grows again: its index and seek table are cut off when it is opened next.
    pub fn reopen(&self, id: &TaskId) -> Result<(), ArchiveError> {
        let (sealed, open) = (self.sealed_path(id), self.open_path(id));
        let renamed = fs::rename(&sealed, open).and_then(|()| sync_folder(&self.folder));
        renamed.map_err(|source| ArchiveError::Io { path: sealed, doing: "opened again", source })
    }

    /// Removes whatever there is of a task.
    pub fn remove(&self, id: &TaskId) -> Result<(), ArchiveError> {
        for path in [self.sealed_path(id), self.open_path(id)] {
            let bytes = fs::metadata(&path).map_or(0, |file| file.len());
            match fs::remove_file(&path) {
                Ok(()) => self.bytes.resized(bytes, 0),
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ArchiveError::Io { path, doing: "removed", source }),
            }
        }
        // Before its record goes: after a power cut it must not be found without one.
        sync_folder(&self.folder).map_err(|source| ArchiveError::Io {
            path: self.folder.clone(),
            doing: "removed",
            source,
        })
    }
}

/// One task's archive. One thread at a time appends; any number read.
#[derive(Debug)]
pub struct Archive {
    /// Where the file is, or will be, until the seal.
    growing: PathBuf,
    /// Where it is once it is sealed.
    sealed: PathBuf,
    /// Held while frames are appended and while the file is sealed.
    writer: Mutex<FrameWriter>,
    /// Published frames, in order.
    frames: RwLock<Frames>,
    /// The frame read last, by its first line, unpacked: pages follow one another.
    cache: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
    /// Whether it was said that it cannot be read.
    error_logged: AtomicBool,
    /// Bytes of all archives.
    total: Arc<DiskUsage>,
}

#[derive(Debug, Default)]
struct Frames {
    file: Option<Arc<File>>,
    rows: Vec<FrameRef>,
    /// What their lines add up to; not told of a sealed one.
    tally: LogTotals,
    sealed: bool,
    /// Lines between frames that are not there.
    missing: u64,
}

#[derive(Debug, Default)]
struct FrameWriter {
    /// Bytes of whole frames in the file.
    len: u64,
    /// NDJSON that is not in a frame yet.
    raw: Vec<u8>,
    /// What the next frame's note will say.
    next: Option<FrameRef>,
    proof: FrameMetadata,
    /// A place to put a line while it is summed.
    summed: Vec<u8>,
    /// Frames written but not synced, and what their lines add up to.
    unpublished: Vec<FrameRef>,
    unpublished_tally: LogTotals,
    /// The file has a name that the folder does not keep through a power cut yet.
    unnamed: bool,
}

impl Archive {
    fn open_growing(
        growing: PathBuf,
        sealed: PathBuf,
        kept_from: Option<u64>,
        total: Arc<DiskUsage>,
    ) -> Result<Self, ArchiveError> {
        let archive = Self {
            growing,
            sealed,
            writer: Mutex::default(),
            frames: RwLock::default(),
            cache: Mutex::default(),
            error_logged: AtomicBool::default(),
            total,
        };
        if archive.growing.exists() {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&archive.growing)
                .map_err(|e| archive.error("opened", e))?;
            let before = file.metadata().map_err(|e| archive.error("read", e))?.len();
            let (rows, len) = frame::walk(&file, kept_from).map_err(|e| archive.error("read", e))?;
            file.set_len(len).map_err(|e| archive.error("cut back", e))?;
            archive.total.resized(before, len);
            archive.writer.lock().len = len;
            let (missing, tally) = (truncate::missing(&rows), frame::tally(&file, &rows));
            let file = Some(Arc::new(file));
            *archive.frames.write() = Frames { file, rows, tally, sealed: false, missing };
        }
        Ok(archive)
    }

    fn error(&self, doing: &'static str, source: io::Error) -> ArchiveError {
        let path = if self.frames.read().sealed { &self.sealed } else { &self.growing };
        ArchiveError::Io { path: path.clone(), doing, source }
    }

    /// The last line inside; 0 if there is none.
    pub fn last_line(&self) -> u64 {
        self.frames.read().rows.last().map_or(0, FrameRef::last_line)
    }

    /// The first line inside; 0 if there is none.
    pub fn first_line(&self) -> u64 {
        self.frames.read().rows.first().map_or(0, |row| row.first_line)
    }

    /// The ids of the first and the last line inside, if there is one.
    pub fn id_range(&self) -> Option<(EntryId, EntryId)> {
        let frames = self.frames.read();
        Some((frames.rows.first()?.first_id, frames.rows.last()?.last_id))
    }

    /// Whether nothing can be added any more.
    pub fn is_sealed(&self) -> bool {
        self.frames.read().sealed
    }

    /// The last line inside, and what the lines of a growing archive add up to.
    pub fn tally(&self) -> (u64, LogTotals) {
        let frames = self.frames.read();
        (frames.rows.last().map_or(0, FrameRef::last_line), frames.tally.clone())
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.writer.lock().len
    }

    /// Adds a line, the one after the last. It is in the file with the next whole frame, and to be
    /// read after [`Archive::sync`].
    pub fn push(&self, line: &Line<'_>, origin: Origin<'_>) -> Result<(), ArchiveError> {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        // Within a frame numbers are dense: that is how a line is found in it.
        if writer.next.is_some_and(|next| next.last_line() + 1 != line.n) {
            self.write_frame(writer)?;
        }
        writer.proof.origins.push(origin);
        writer.proof.tally.add(origin, line, &mut writer.summed);
        serde_json::to_writer(&mut writer.raw, line).map_err(|e| self.error("written", e.into()))?;
        writer.raw.push(b'\n');
        let next = writer.next.get_or_insert_with(|| FrameRef {
            first_line: line.n,
            first_id: line.id,
            ..FrameRef::default()
        });
        next.lines += 1;
        next.last_id = line.id;
        if writer.raw.len() >= FRAME_BYTES { self.write_frame(writer) } else { Ok(()) }
    }

    /// Puts everything into whole frames, makes them durable, and only then shows them to readers.
    /// On an error the file is cut back and what was pushed since the last call is forgotten: push
    /// it again.
    pub fn sync(&self) -> Result<(), ArchiveError> {
        let mut writer = self.writer.lock();
        let done = self.write_frame(&mut writer).and_then(|()| {
            let Some(file) = self.frames.read().file.clone() else { return Ok(()) };
            file.sync_data().map_err(|e| self.error("synced", e))?;
            self.sync_dir(&mut writer)
        });
        match done {
            Ok(()) => {
                let mut frames = self.frames.write();
                frames.missing += truncate::missing_before(frames.rows.last(), writer.unpublished.first());
                frames.missing += truncate::missing(&writer.unpublished);
                frames.rows.append(&mut writer.unpublished);
                frames.tally.merge(&std::mem::take(&mut writer.unpublished_tally));
            }
            Err(_) => self.cut_back(&mut writer),
        }
        done
    }

    /// A file that was synced is there after a power cut only if its folder was synced, too.
    fn sync_dir(&self, writer: &mut FrameWriter) -> Result<(), ArchiveError> {
        if writer.unnamed {
            self.sync_folder().map_err(|e| self.error("synced", e))?;
            writer.unnamed = false;
        }
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.sealed.parent().map_or(Ok(()), sync_folder)
    }

    /// Forgets what was pushed since the last sync.
    pub fn discard_unsynced(&self) {
        self.cut_back(&mut self.writer.lock());
    }

    fn cut_back(&self, writer: &mut FrameWriter) {
        let frames = self.frames.read();
        let before = writer.len;
        writer.len = frames.rows.last().map_or(0, FrameRef::end);
        self.total.resized(before, writer.len);
        writer.raw.clear();
        writer.next = None;
        writer.proof = FrameMetadata::default();
        writer.unpublished.clear();
        writer.unpublished_tally = LogTotals::default();
        if let Some(Err(error)) = frames.file.as_ref().map(|file| file.set_len(writer.len)) {
            tracing::warn!(path = %self.growing.display(), %error, "an archive could not be cut back; the next opening does it");
        }
    }

    fn write_frame(&self, writer: &mut FrameWriter) -> Result<(), ArchiveError> {
        let Some(mut row) = writer.next.take() else { return Ok(()) };
        let proof = std::mem::take(&mut writer.proof);
        let file = self.file_to_write(writer)?;
        let bytes = frame::encode(&mut row, &proof, &writer.raw, writer.len).map_err(|e| self.error("written", e))?;
        file.write_all_at(&bytes, writer.len).map_err(|e| self.error("written", e))?;
        writer.len += bytes.len() as u64;
        self.total.resized(0, bytes.len() as u64);
        writer.raw.clear();
        writer.unpublished.push(row);
        writer.unpublished_tally.merge(&proof.tally);
        Ok(())
    }

    fn file_to_write(&self, writer: &mut FrameWriter) -> Result<Arc<File>, ArchiveError> {
        if let Some(file) = &self.frames.read().file {
            return Ok(file.clone());
        }
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&self.growing);
        let file = Arc::new(options.map_err(|e| self.error("opened", e))?);
        self.frames.write().file = Some(file.clone());
        writer.unnamed = true;
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
