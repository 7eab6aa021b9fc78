//! A session's folder in the spool: its files, in the order of their lines.
//!
//! ```text
//! DIR/TASK.SESSION/
//!   start                       the session, as JSON; locked while its worker or a sender lives
//!   00000000000000000001.lines  a segment: see `record`; named after the number of its first line
//!   00000000000000084211.lines  the last one grows
//! ```
//! A folder appears under its name with its `start`, and goes in one step: names that begin with a
//! dot are on their way in or out. What was written survives a kill of the worker; what was synced,
//! a power cut.

mod read;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use self::read::Reading;
use super::record::{self, MAGIC, Record, SEQ_MAX, SaidEnd};
use crate::worker::session::Session;

const START: &str = "start";
const SEGMENT: &str = "lines";
/// Bytes of a `start` at most.
const START_BYTES_MAX: u64 = 1024 * 1024;
/// A segment that has this many bytes is followed by another.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// The same for one whose lines are all acked: it can go then.
const SEGMENT_BYTES_ACKED: u64 = 1024 * 1024;
/// No segment has more: it is followed by another before the records that would not fit.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a session's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Its worker lives, or another sender sends it.
    #[error("{}: its worker, or another sender, is still at it", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// What it says of itself makes no sense.
    #[error("{}: not a spool of this version: {why}", path.display())]
    Bad {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system does not let us.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A session's folder, locked.
#[derive(Debug)]
pub(in crate::worker) struct Folder {
    path: PathBuf,
    /// Held for its lock.
    _start: File,
    pub(in crate::worker) session: Session,
    /// None empty of lines but perhaps the last.
    segments: VecDeque<Segment>,
    /// The last segment, once something was appended by this process.
    writing: Option<File>,
    not_synced: bool,
    reading: Option<Reading>,
}

#[derive(Debug)]
struct Segment {
    first_seq: u64,
    bytes: u64,
}

/// What a session has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::worker) struct Left {
    /// Lines that the server had not confirmed.
    pub(in crate::worker) lines: u64,
    /// The number of the first and of the last line; zeros if there is none.
    pub(in crate::worker) first_seq: u64,
    pub(in crate::worker) last_seq: u64,
    /// Everything up to it is durable at the server.
    pub(in crate::worker) acked: u64,
    /// Its end, if it was said.
    pub(in crate::worker) end: Option<SaidEnd>,
    /// Bytes on disk.
    pub(in crate::worker) bytes: u64,
}

impl Folder {
    /// A new folder in `dir`, which is made too.
    pub(in crate::worker) fn create(dir: &Path, session: Session) -> Result<Self, SpoolError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io { path, source }
        };
        let mut private = DirBuilder::new();
        private.mode(0o700).recursive(true).create(dir).map_err(io(dir))?;
        let hidden = dir.join(format!(".{}", session.id));
        private.create(&hidden).map_err(io(&hidden))?;
        let mut start = new_file(&hidden.join(START)).map_err(io(&hidden))?;
        let facts = serde_json::to_vec(&session).map_err(|error| io(&hidden)(error.into()))?;
        let path = dir.join(format!("{}.{}", session.task, session.id));
        let begun = start.write_all(&facts).and_then(|()| start.sync_data()).and_then(|()| start.lock());
        begun.and_then(|()| fs::rename(&hidden, &path)).and_then(|()| sync_folder(dir)).map_err(io(&path))?;
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

    /// The folder at `path`; `None` if it has just gone.
    pub(in crate::worker) fn open(path: &Path) -> Result<Option<Self>, SpoolError> {
        let io = |source| SpoolError::Io { path: path.to_owned(), source };
        let bad = |why: String| SpoolError::Bad { path: path.to_owned(), why };
        let opened = match fs::symlink_metadata(path.join(START)) {
            Ok(found) if !found.is_file() => return Err(bad(format!("its `{START}` is no file"))),
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
        let mut facts = vec![0; usize::try_from(length).unwrap_or(0)];
        start.read_exact_at(&mut facts, 0).map_err(io)?;
        let session: Session = serde_json::from_slice(&facts).map_err(|error| bad(error.to_string()))?;
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
                segments.push(Segment { first_seq, bytes: found.len() });
            }
        }
        segments.sort_unstable_by_key(|segment| segment.first_seq);
        let segments = segments.into();
        let path = path.to_owned();
        Ok(Some(Self { path, _start: start, session, segments, writing: None, not_synced: false, reading: None }))
    }

    /// Where it is.
    pub(in crate::worker) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes on disk.
    pub(in crate::worker) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends whole records; the first of them is the line, or the end, with this number.
    /// After an error nothing of them is there.
    pub(in crate::worker) fn append(&mut self, first_seq: u64, records: &[u8], acked: u64) -> io::Result<()> {
        let full = |segment: &Segment| {
            segment.bytes >= SEGMENT_BYTES || (segment.bytes >= SEGMENT_BYTES_ACKED && acked >= first_seq - 1)
        };
        if self.writing.is_none() || self.segments.back().is_none_or(full) {
            self.begin_segment(first_seq)?;
        }
        let (Some(file), Some(segment)) = (&mut self.writing, self.segments.back_mut()) else { return Ok(()) };
        match file.write_all(records) {
            Ok(()) => {
                segment.bytes += records.len() as u64;
                self.not_synced = true;
                Ok(())
            }
            Err(error) => {
                // If this fails too, the next segment begins behind a record that is cut short.
                file.set_len(segment.bytes).ok();
                self.writing = None;
                Err(error)
            }
        }
    }

    fn begin_segment(&mut self, first_seq: u64) -> io::Result<()> {
        if let Some(file) = self.writing.take() {
            file.sync_data()?;
        }
        let path = self.segment(first_seq);
        let mut head = MAGIC.to_vec();
        record::encode(&Record::Begin { first_seq }, &mut head);
        // One that was begun and not written to: nothing of it counts.
        fs::remove_file(&path).or_else(not_found_is_well)?;
        self.segments.retain(|segment| segment.first_seq != first_seq);
        let mut file = new_file(&path)?;
        if let Err(error) = file.write_all(&head) {
            fs::remove_file(&path).ok();
            return Err(error);
        }
        self.segments.push_back(Segment { first_seq, bytes: head.len() as u64 });
        self.writing = Some(file);
        sync_folder(&self.path)
    }

    /// Makes what was appended survive a power cut.
    pub(in crate::worker) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.not_synced)
            && let Some(file) = &self.writing
        {
            file.sync_data()?;
        }
        Ok(())
    }

    /// Removes segments that have only lines up to `acked`. Gives whether there were any.
    pub(in crate::worker) fn reclaim(&mut self, acked: u64) -> bool {
        let before = self.segments.len();
        while self.segments.get(1).is_some_and(|next| next.first_seq - 1 <= acked) {
            let Some(segment) = self.segments.pop_front() else { break };
            // One that stays is sent again, and dropped by the server.
            fs::remove_file(self.segment(segment.first_seq)).ok();
        }
        self.segments.len() < before
    }

    /// What is in it.
    pub(in crate::worker) fn left(&self) -> io::Result<Left> {
        let mut left = Left { bytes: self.bytes(), ..Left::default() };
        // Numbers without a hole, from and to: one run as a rule.
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for segment in &self.segments {
            let (records, _) = record::records(&fs::read(self.segment(segment.first_seq))?);
            for record in records {
                match record {
                    Record::Line(seq, _) if seq > left.last_seq => {
                        match runs.last_mut().filter(|run| run.1 + 1 == seq) {
                            Some(run) => run.1 = seq,
                            None => runs.push((seq, seq)),
                        }
                        left.last_seq = seq;
                    }
                    Record::End(end) => left.end = Some(end),
                    Record::Acked(seq) => left.acked = left.acked.max(seq),
                    Record::Begin { .. } | Record::Line(..) => {}
                }
            }
        }
        left.first_seq = runs.first().map_or(0, |run| run.0);
        left.lines = runs.iter().map(|(from, to)| (to + 1).saturating_sub((left.acked + 1).max(*from))).sum();
        Ok(left)
    }

    /// Writes down what the server has, for whoever finds this folder.
    pub(in crate::worker) fn note_acked(&mut self, acked: u64) -> io::Result<()> {
        let (Some(file), Some(segment)) = (&mut self.writing, self.segments.back_mut()) else { return Ok(()) };
        let mut note = Vec::new();
        record::encode(&Record::Acked(acked), &mut note);
        if let Err(error) = file.write_all(&note) {
            file.set_len(segment.bytes).ok();
            self.writing = None;
            return Err(error);
        }
        segment.bytes += note.len() as u64;
        Ok(())
    }

    /// Everything is durable at the server: it goes.
    pub(in crate::worker) fn remove(self) -> Result<(), SpoolError> {
        let io = |source| SpoolError::Io { path: self.path.clone(), source };
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let gone = parent.join(format!(".{}", self.session.id));
        fs::rename(&self.path, &gone).map_err(io)?;
        fs::remove_dir_all(&gone).map_err(io)
    }

    fn segment(&self, first_seq: u64) -> PathBuf {
        self.path.join(format!("{first_seq:020}.{SEGMENT}"))
    }
}

/// The folders of sessions in `dir`, in the order they began; none if there is no such folder.
pub(in crate::worker) fn sessions(dir: &Path) -> Result<Vec<PathBuf>, SpoolError> {
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

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn not_found_is_well(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
