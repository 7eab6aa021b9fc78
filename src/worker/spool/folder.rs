//! A session's folder in the spool.
//!
//! ```text
//! DIR/TASK.SESSION/
//!   start                     the session, as JSON; locked while its worker or a sender lives
//!   position                  state of reading at the first line that was not confirmed, as JSON
//!   reserve                   space for the end of the log on a full disk
//!   00000000000000000000.log  a segment of the log, named after the position of its first byte
//!   00000000000033554432.log  the last one grows
//! ```
//! A folder appears under its name together with its `start`, and is removed in one step: names that
//! begin with a dot are incomplete or being removed. Written data survives a kill of the worker; synced
//! data survives a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::model::TaskId;
use crate::worker::NoteFn;
use crate::worker::local_log::{LocalLog, LogCursor, restore};
use crate::worker::session::WorkerSession;

const START: &str = "start";
const POSITION: &str = "position";
const POSITION_NEW: &str = "position.new";
const RESERVE: &str = "reserve";
/// Extension of a segment of the first spool format, of a version before the local log.
const OLD_SEGMENT: &str = "lines";
/// Maximum bytes of a `start`.
const START_BYTES_MAX: u64 = 1024 * 1024;
/// Maximum bytes of a `position`: three unterminated lines as JSON.
const POSITION_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Size of the `reserve`.
const RESERVE_BYTES: u64 = 16 * 1024;

/// An error that prevents using a session's folder.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder is locked by its worker or by another sender.
    #[error("{}: in use by its worker or by another `spool send`", path.display())]
    Locked {
        /// Path of the folder.
        path: PathBuf,
    },
    /// The session data is invalid.
    #[error("{}: not a spool of this version: {why}", path.display())]
    Invalid {
        /// Path of the folder.
        path: PathBuf,
        /// Description of the problem.
        why: String,
    },
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the folder or file.
        path: PathBuf,
        /// Underlying error.
        source: io::Error,
    },
}

/// A session's locked folder.
#[derive(Debug)]
pub(in crate::worker) struct SessionFolder {
    path: PathBuf,
    /// Holds the lock.
    _start: File,
    pub(in crate::worker) session: WorkerSession,
}

impl SessionFolder {
    /// Creates a folder in `dir`, and `dir` if needed.
    pub(in crate::worker) fn create(dir: &Path, session: WorkerSession) -> Result<Self, SpoolError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io { path, source }
        };
        let mut private = DirBuilder::new();
        private.mode(0o700).recursive(true).create(dir).map_err(io(dir))?;
        let hidden = dir.join(format!(".{}", session.id));
        private.create(&hidden).map_err(io(&hidden))?;
        let mut start = new_file(&hidden.join(START)).map_err(io(&hidden))?;
        let details = serde_json::to_vec(&session).map_err(|error| io(&hidden)(error.into()))?;
        let reserve = new_file(&hidden.join(RESERVE)).map_err(io(&hidden))?;
        // Without it, only the end of the log may be missing on a full disk.
        fallocate(&reserve, FallocateFlags::empty(), 0, RESERVE_BYTES).ok();
        let path = dir.join(format!("{}.{}", session.task, session.id));
        let locked = start.write_all(&details).and_then(|()| start.sync_data()).and_then(|()| start.lock());
        locked.and_then(|()| fs::rename(&hidden, &path)).and_then(|()| sync_dir(dir)).map_err(io(&path))?;
        Ok(Self { path, _start: start, session })
    }

    /// Opens and locks the folder at `path`; returns `None` if it was just removed.
    pub(in crate::worker) fn open(path: &Path) -> Result<Option<Self>, SpoolError> {
        let io = |source| SpoolError::Io { path: path.to_owned(), source };
        let bad = |why: String| SpoolError::Invalid { path: path.to_owned(), why };
        let opened = match fs::symlink_metadata(path.join(START)) {
            Ok(found) if !found.is_file() => return Err(bad(format!("its `{START}` is not a file"))),
            Ok(_) => File::open(path.join(START)),
            Err(error) => Err(error),
        };
        let start = match opened {
            Ok(start) => start,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        match start.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        if !path.join(START).exists() {
            return Ok(None);
        }
        let details = read_bounded(&start, START_BYTES_MAX).map_err(|error| bad(format!("its `{START}`: {error}")))?;
        let session: WorkerSession = serde_json::from_slice(&details).map_err(|error| bad(error.to_string()))?;
        session.check().map_err(bad)?;
        for entry in fs::read_dir(path).map_err(io)? {
            if Path::new(&entry.map_err(io)?.file_name()).extension().is_some_and(|ext| ext == OLD_SEGMENT) {
                return Err(bad("an earlier version of tasktail wrote it; send it with that version".to_owned()));
            }
        }
        Ok(Some(Self { path: path.to_owned(), _start: start, session }))
    }

    /// Returns the path of the folder.
    pub(in crate::worker) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log in the folder, and returns it with the state of reading at the first line that was not
    /// confirmed. See [`restore`].
    pub(in crate::worker) fn open_log(
        &self,
        continued: bool,
        notes: NoteFn,
    ) -> Result<(LocalLog, LogCursor), SpoolError> {
        let bad = |why: String| SpoolError::Invalid { path: self.path.clone(), why };
        let log = restore(&self.path, continued, notes)
            .map_err(|source| SpoolError::Io { path: self.path.clone(), source })?;
        let space = log.space();
        let cursor = match File::open(self.path.join(POSITION)) {
            Ok(file) => {
                let text = read_bounded(&file, POSITION_BYTES_MAX)
                    .map_err(|error| bad(format!("its `{POSITION}`: {error}")))?;
                serde_json::from_slice(&text).map_err(|error| bad(format!("its `{POSITION}`: {error}")))?
            }
            // Nothing was confirmed.
            Err(_) => LogCursor::at_start(space),
        };
        if cursor.is_in(space) { Ok((log, cursor)) } else { Err(bad(format!("its `{POSITION}` is not in the log"))) }
    }

    /// Replaces the recorded state of reading, durably.
    pub(in crate::worker) fn record_position(&self, cursor: &LogCursor) -> io::Result<()> {
        let new = self.path.join(POSITION_NEW);
        fs::remove_file(&new).or_else(ignore_not_found)?;
        let mut file = new_file(&new)?;
        file.write_all(&serde_json::to_vec(cursor)?)?;
        file.sync_data()?;
        fs::rename(&new, self.path.join(POSITION))?;
        self.sync_names()
    }

    /// Syncs the names of the files in the folder.
    pub(in crate::worker) fn sync_names(&self) -> io::Result<()> {
        sync_dir(&self.path)
    }

    /// Frees the space that was reserved for the end of the log.
    pub(in crate::worker) fn free_reserve(&self) {
        fs::remove_file(self.path.join(RESERVE)).ok();
    }

    /// Removes the folder, because everything is durable at the server.
    pub(in crate::worker) fn remove(self) -> Result<(), SpoolError> {
        let io = |source| SpoolError::Io { path: self.path.clone(), source };
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let removed = parent.join(format!(".{}", self.session.id));
        fs::rename(&self.path, &removed).map_err(io)?;
        fs::remove_dir_all(&removed).map_err(io)
    }
}

/// Returns the session folders in `dir`, oldest first; none if `dir` does not exist.
pub(in crate::worker) fn list_sessions(dir: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let io = |source| SpoolError::Io { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = name.rsplit_once('.').and_then(|(_, id)| ulid::Ulid::from_string(id).ok());
        if let Some(id) = id.filter(|_| !name.starts_with('.')) {
            found.push((id, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Reports whether a session folder is one of this task, by its name.
pub(in crate::worker) fn is_session_of(path: &Path, task: &TaskId) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('.').is_some_and(|(of, _)| of == task.as_str())
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(path)
}

fn read_bounded(file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has over {bytes_max} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn ignore_not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
