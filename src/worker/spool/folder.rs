//! A session's folder in the spool, with its files in line order.
//!
//! ```text
//! DIR/TASK.SESSION/
//!   start                       the session, as JSON; locked while its worker or a sender lives
//!   00000000000000000001.lines  a segment: see `record`; named after the number of its first line
//!   00000000000000084211.lines  the last one grows
//! ```
//! A folder appears under its name together with its `start`, and is removed in one step: names that
//! begin with a dot are incomplete or being removed. Written data survives a kill of the worker; synced
//! data survives a power cut.

mod read;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use self::read::SpoolReadPosition;
use super::record::{self, MAGIC, RecordedEnd, SEQ_MAX, SpoolRecord};
use crate::worker::session::WorkerSession;

const START: &str = "start";
const SEGMENT: &str = "lines";
/// Maximum bytes of a `start`.
const START_BYTES_MAX: u64 = 1024 * 1024;
/// Segment size after which the next one is started.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// The same for a segment whose lines are all acked, so that it can be removed.
const SEGMENT_BYTES_ACKED: u64 = 1024 * 1024;
/// Maximum segment size: a new one is started before records that would not fit.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

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
    /// Segments in order. All but the last have lines.
    segments: VecDeque<SpoolSegment>,
    /// Last segment, once this process has appended to it.
    writing: Option<File>,
    not_synced: bool,
    reading: Option<SpoolReadPosition>,
}

#[derive(Debug)]
struct SpoolSegment {
    first_seq: u64,
    bytes: u64,
}

/// The contents of a session's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::worker) struct SessionSummary {
    /// Lines that the server had not confirmed.
    pub(in crate::worker) lines: u64,
    /// Numbers of the first and last line; zero if there are none.
    pub(in crate::worker) first_seq: u64,
    pub(in crate::worker) last_seq: u64,
    /// Highest number that is durable at the server.
    pub(in crate::worker) acked: u64,
    /// End, if recorded.
    pub(in crate::worker) end: Option<RecordedEnd>,
    /// Bytes on disk.
    pub(in crate::worker) bytes: u64,
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
        let path = dir.join(format!("{}.{}", session.task, session.id));
        let locked = start.write_all(&details).and_then(|()| start.sync_data()).and_then(|()| start.lock());
        locked.and_then(|()| fs::rename(&hidden, &path)).and_then(|()| sync_dir(dir)).map_err(io(&path))?;
        Ok(Self {
            path,
            _start: start,
            session,
            segments: VecDeque::new(),
            writing: None,
            not_synced: false,
            reading: None,
        })
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
        let length = start.metadata().map_err(io)?.len();
        if length > START_BYTES_MAX {
            return Err(bad(format!("its `{START}` has over {START_BYTES_MAX} bytes")));
        }
        let mut details = vec![0; usize::try_from(length).unwrap_or(0)];
        start.read_exact_at(&mut details, 0).map_err(io)?;
        let session: WorkerSession = serde_json::from_slice(&details).map_err(|error| bad(error.to_string()))?;
        session.check().map_err(bad)?;
        let mut segments = Vec::new();
        for entry in fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".lines")).and_then(|name| name.parse().ok());
            let found = entry.metadata().map_err(io)?;
            if let Some(first_seq) = number.filter(|seq| found.is_file() && (1..=SEQ_MAX).contains(seq)) {
                if found.len() > SEGMENT_BYTES_MAX {
                    return Err(bad(format!("{} has over {SEGMENT_BYTES_MAX} bytes", name.to_string_lossy())));
                }
                segments.push(SpoolSegment { first_seq, bytes: found.len() });
            }
        }
        segments.sort_unstable_by_key(|segment| segment.first_seq);
        let segments = segments.into();
        let path = path.to_owned();
        Ok(Some(Self { path, _start: start, session, segments, writing: None, not_synced: false, reading: None }))
    }

    /// Returns the path of the folder.
    pub(in crate::worker) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the bytes on disk.
    pub(in crate::worker) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends whole records; `first_seq` is the number of the first line or end among them. After an error,
    /// none of them are stored.
    pub(in crate::worker) fn append(&mut self, first_seq: u64, records: &[u8], acked: u64) -> io::Result<()> {
        let full = |segment: &SpoolSegment| {
            segment.bytes >= SEGMENT_BYTES || (segment.bytes >= SEGMENT_BYTES_ACKED && acked >= first_seq - 1)
        };
        if self.writing.is_none() || self.segments.back().is_none_or(full) {
            self.start_segment(first_seq)?;
        }
        let (Some(file), Some(segment)) = (&mut self.writing, self.segments.back_mut()) else { return Ok(()) };
        match file.write_all(records) {
            Ok(()) => {
                segment.bytes += records.len() as u64;
                self.not_synced = true;
                Ok(())
            }
            Err(error) => {
                // If this fails too, the next segment follows a truncated record.
                file.set_len(segment.bytes).ok();
                self.writing = None;
                Err(error)
            }
        }
    }

    fn start_segment(&mut self, first_seq: u64) -> io::Result<()> {
        if let Some(file) = self.writing.take() {
            file.sync_data()?;
        }
        let path = self.segment_path(first_seq);
        let mut head = MAGIC.to_vec();
        record::encode(&SpoolRecord::Begin { first_seq }, &mut head);
        // A segment that was created but never written to has no contents.
        fs::remove_file(&path).or_else(ignore_not_found)?;
        self.segments.retain(|segment| segment.first_seq != first_seq);
        let mut file = new_file(&path)?;
        if let Err(error) = file.write_all(&head) {
            fs::remove_file(&path).ok();
            return Err(error);
        }
        self.segments.push_back(SpoolSegment { first_seq, bytes: head.len() as u64 });
        self.writing = Some(file);
        sync_dir(&self.path)
    }

    /// Syncs the appended records, so that they survive a power cut.
    pub(in crate::worker) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.not_synced)
            && let Some(file) = &self.writing
        {
            file.sync_data()?;
        }
        Ok(())
    }

    /// Removes segments that only have lines up to `acked`. Returns whether there were any.
    pub(in crate::worker) fn reclaim(&mut self, acked: u64) -> bool {
        let before = self.segments.len();
        while self.segments.get(1).is_some_and(|next| next.first_seq - 1 <= acked) {
            let Some(segment) = self.segments.pop_front() else { break };
            // A segment that stays is sent again, and the server drops the duplicates.
            fs::remove_file(self.segment_path(segment.first_seq)).ok();
        }
        self.segments.len() < before
    }

    /// Reads all segments and returns a summary.
    pub(in crate::worker) fn summarize(&self) -> io::Result<SessionSummary> {
        let mut left = SessionSummary { bytes: self.bytes(), ..SessionSummary::default() };
        // Ranges of consecutive numbers; usually just one.
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for segment in &self.segments {
            let (records, _) = record::records(&fs::read(self.segment_path(segment.first_seq))?);
            for record in records {
                match record {
                    SpoolRecord::Line(seq, _) if seq > left.last_seq => {
                        match runs.last_mut().filter(|run| run.1 + 1 == seq) {
                            Some(run) => run.1 = seq,
                            None => runs.push((seq, seq)),
                        }
                        left.last_seq = seq;
                    }
                    SpoolRecord::End(end) => left.end = Some(end),
                    SpoolRecord::Acked(seq) => left.acked = left.acked.max(seq),
                    SpoolRecord::Begin { .. } | SpoolRecord::Line(..) => {}
                }
            }
        }
        left.first_seq = runs.first().map_or(0, |run| run.0);
        left.lines = runs.iter().map(|(from, to)| (to + 1).saturating_sub((left.acked + 1).max(*from))).sum();
        Ok(left)
    }

    /// Records the server's position for a process that opens this folder later.
    pub(in crate::worker) fn record_acked(&mut self, acked: u64) -> io::Result<()> {
        let (Some(file), Some(segment)) = (&mut self.writing, self.segments.back_mut()) else { return Ok(()) };
        let mut note = Vec::new();
        record::encode(&SpoolRecord::Acked(acked), &mut note);
        if let Err(error) = file.write_all(&note) {
            file.set_len(segment.bytes).ok();
            self.writing = None;
            return Err(error);
        }
        segment.bytes += note.len() as u64;
        Ok(())
    }

    /// Removes the folder, because everything is durable at the server.
    pub(in crate::worker) fn remove(self) -> Result<(), SpoolError> {
        let io = |source| SpoolError::Io { path: self.path.clone(), source };
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let removed = parent.join(format!(".{}", self.session.id));
        fs::rename(&self.path, &removed).map_err(io)?;
        fs::remove_dir_all(&removed).map_err(io)
    }

    fn segment_path(&self, first_seq: u64) -> PathBuf {
        self.path.join(format!("{first_seq:020}.{SEGMENT}"))
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

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).read(true).append(true).mode(0o600).open(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn ignore_not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
