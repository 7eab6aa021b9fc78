//! The folder of all archives.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::folder_sync::FolderSync;
use super::truncate::NEW_SUFFIX;
use super::{Archive, ArchiveError};
use crate::model::TaskId;
use crate::store::create_folder;

/// Ends of the names of archives.
const SEALED_SUFFIX: &str = ".ndjson.zst";
const GROWING_SUFFIX: &str = ".ndjson.zst.open";

/// The folder of all archives.
#[derive(Clone, Debug)]
pub struct Archives {
    folder: PathBuf,
    shared: Arc<ArchiveFolder>,
}

/// The state shared by all archives of a folder.
#[derive(Debug)]
pub(super) struct ArchiveFolder {
    /// Bytes of all files in it.
    pub(super) usage: DiskUsage,
    pub(super) names: FolderSync,
}

/// The archives in a folder, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundArchives {
    /// Tasks with a sealed archive.
    pub sealed: HashSet<TaskId>,
    /// Tasks with a growing archive.
    pub growing: HashSet<TaskId>,
}

/// An archive file at a moment: its name, and its bytes then. A growing file may have more bytes later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Name of the file.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Total bytes of several files, updated on every change of one.
#[derive(Debug, Default)]
pub(super) struct DiskUsage(AtomicU64);

impl DiskUsage {
    /// Records that the size of a file changed.
    pub(super) fn resized(&self, before: u64, now: u64) {
        if now >= before {
            self.0.fetch_add(now - before, Ordering::Relaxed);
        } else {
            // A damaged file may have had fewer bytes than its record.
            let less = |bytes: u64| Some(bytes.saturating_sub(before - now));
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
        }
    }
}

/// Reports whether an entry of a folder is a file, or a link to one. Looks at the file only if it is a link.
fn is_file_or_link_to_one(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file() || (kind.is_symlink() && entry.path().is_file()))
}

impl Archives {
    /// Opens this folder, creating it if it does not exist.
    pub fn open(folder: &Path) -> Result<Self, ArchiveError> {
        create_folder(folder).map_err(|source| ArchiveError::Io { path: folder.to_owned(), doing: "open", source })?;
        Ok(Self::open_read_only(folder))
    }

    /// Opens this folder for reading: nothing is created, and nothing may be written through it.
    pub fn open_read_only(folder: &Path) -> Self {
        let shared = ArchiveFolder { usage: DiskUsage::default(), names: FolderSync::new(folder.to_owned()) };
        Self { folder: folder.to_owned(), shared: Arc::new(shared) }
    }

    /// Finds all archives in one pass over the folder, and removes partial files that a kill left. Counts the bytes of
    /// all files but sealed archives, which [`Archives::count_sealed`] adds. The process that writes here must call it
    /// once, before any archive is opened.
    pub fn scan(&self) -> Result<FoundArchives, ArchiveError> {
        let (mut found, mut bytes) = (FoundArchives::default(), 0);
        for entry in fs::read_dir(&self.folder).map_err(|e| self.error("read", e))? {
            let entry = entry.map_err(|e| self.error("read", e))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let id_of = |suffix: &str| name.strip_suffix(suffix).and_then(|id| id.parse::<TaskId>().ok());
            if name.ends_with(NEW_SUFFIX) {
                fs::remove_file(entry.path()).map_err(|e| self.error("read", e))?;
            } else if let Some(id) = id_of(SEALED_SUFFIX).filter(|_| is_file_or_link_to_one(&entry)) {
                found.sealed.insert(id);
            } else {
                bytes += entry.metadata().map_err(|e| self.error("read", e))?.len();
                found.growing.extend(id_of(GROWING_SUFFIX));
            }
        }
        self.shared.usage.0.store(bytes, Ordering::Relaxed);
        Ok(found)
    }

    /// Adds the bytes of a sealed archive that was found. Its record has them; without one they are read.
    pub fn count_sealed(&self, id: &TaskId, recorded: Option<u64>) {
        let bytes = recorded.unwrap_or_else(|| fs::metadata(self.sealed_path(id)).map_or(0, |file| file.len()));
        self.shared.usage.resized(0, bytes);
    }

    fn error(&self, doing: &'static str, source: io::Error) -> ArchiveError {
        ArchiveError::Io { path: self.folder.clone(), doing, source }
    }

    /// Returns the bytes of all archives.
    pub fn bytes(&self) -> u64 {
        self.shared.usage.0.load(Ordering::Relaxed)
    }

    /// Returns the path of a task's sealed archive.
    pub fn sealed_path(&self, id: &TaskId) -> PathBuf {
        self.folder.join(format!("{id}{SEALED_SUFFIX}"))
    }

    /// Returns the path of a task's growing archive.
    pub(super) fn open_path(&self, id: &TaskId) -> PathBuf {
        self.folder.join(format!("{id}{GROWING_SUFFIX}"))
    }

    /// Returns the existing files of a task: the sealed one and the growing one.
    pub fn files(&self, id: &TaskId) -> [Option<PathBuf>; 2] {
        [self.sealed_path(id), self.open_path(id)].map(|path| path.is_file().then_some(path))
    }

    /// Opens the archive of a task: the sealed one, or the growing one truncated to its last complete
    /// frame, or an empty one whose file is created with its first frame.
    ///
    /// `journal_from` is the first line that the journal still has: frames from that line on may be
    /// incomplete, because their lines need not have been synced.
    pub fn archive(&self, id: &TaskId, journal_from: Option<u64>) -> Result<Archive, ArchiveError> {
        let sealed = self.sealed_path(id);
        // Anything but a file at this path is not an archive, and the growing one is used.
        if sealed.is_file() {
            return Archive::open_sealed(sealed, self.shared.clone());
        }
        Archive::open_growing(self.open_path(id), sealed, journal_from, self.shared.clone())
    }

    /// Returns every task that has an archive, sealed or growing. Ignores files of other names.
    pub fn ids(&self) -> Result<BTreeSet<TaskId>, ArchiveError> {
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(&self.folder).map_err(|e| self.error("read", e))? {
            let name = entry.map_err(|e| self.error("read", e))?.file_name();
            let Some(name) = name.to_str().map(|name| name.strip_suffix(".open").unwrap_or(name)) else { continue };
            ids.extend(name.strip_suffix(SEALED_SUFFIX).and_then(|id| id.parse::<TaskId>().ok()));
        }
        Ok(ids)
    }

    /// Writes the growing archive of a task, which must not be open.
    pub fn write_growing(&self, id: &TaskId, bytes: &[u8]) -> Result<(), ArchiveError> {
        let path = self.open_path(id);
        let before = fs::metadata(&path).map_or(0, |file| file.len());
        let error = |source| ArchiveError::Io { path: path.clone(), doing: "write", source };
        fs::write(&path, bytes).map_err(error)?;
        self.shared.usage.resized(before, bytes.len() as u64);
        Ok(())
    }

    /// Returns the bytes of the growing archive of a task from this offset on.
    pub fn read_growing(&self, id: &TaskId, offset: u64) -> Result<Vec<u8>, ArchiveError> {
        let path = self.open_path(id);
        let read = || {
            let file = File::open(&path)?;
            let len = file.metadata()?.len().saturating_sub(offset);
            let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        };
        read().map_err(|source| ArchiveError::Io { path: path.clone(), doing: "read", source })
    }

    /// Turns a sealed archive into a growing one. Its index and seek table are removed when it is opened.
    pub fn reopen(&self, id: &TaskId) -> Result<(), ArchiveError> {
        let (sealed, open) = (self.sealed_path(id), self.open_path(id));
        let is_linked = fs::metadata(&sealed).is_ok_and(|file| file.nlink() > 1);
        let moved = if is_linked { copy_and_remove(&sealed, &open) } else { fs::rename(&sealed, &open) };
        let renamed = moved.and_then(|()| self.shared.names.sync());
        renamed.map_err(|source| ArchiveError::Io { path: sealed, doing: "reopen", source })
    }

    /// Links all files into another folder of the same file system, and returns them in the order of their names. The
    /// caller must prevent changes meanwhile. Afterwards the linked bytes do not change: files only grow, or are
    /// replaced.
    pub fn link_all(&self, folder: &Path) -> io::Result<Vec<ArchiveFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(NEW_SUFFIX) || !entry.file_type()?.is_file() {
                continue;
            }
            fs::hard_link(entry.path(), folder.join(&name))?;
            files.push(ArchiveFile { bytes: entry.metadata()?.len(), name });
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }

    /// Removes all files of a task.
    pub fn remove(&self, id: &TaskId) -> Result<(), ArchiveError> {
        for path in [self.sealed_path(id), self.open_path(id)] {
            let bytes = fs::metadata(&path).map_or(0, |file| file.len());
            match fs::remove_file(&path) {
                Ok(()) => self.shared.usage.resized(bytes, 0),
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ArchiveError::Io { path, doing: "remove", source }),
            }
        }
        // Before the task's record is removed: a power cut must not leave an archive without a record.
        self.shared.names.sync().map_err(|e| self.error("sync", e))
    }
}

/// Moves a file whose bytes must not change under its other names.
fn copy_and_remove(from: &Path, to: &Path) -> io::Result<()> {
    let mut part = to.as_os_str().to_owned();
    part.push(".new");
    fs::copy(from, &part)?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, to)?;
    fs::remove_file(from)
}
