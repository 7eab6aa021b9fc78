//! Following a growing file: whole lines, each exactly once, across truncation, rotation and rewriting.
//!
//! ```text
//! watch     wakes the follower: file system notifications for the folder, with a slow poll as fallback
//! file      one open file: its whole lines, and whether its content is still the content that was read
//! mark      a position that another process recognizes later, by the content before it
//! siblings  files that had the name between two checks
//! ```
//!
//! A check is a few small reads (at most 1 MiB each) on the calling thread. Followed files are local,
//! where such a read costs less than a switch to another thread.
//!
//! Two kinds of lines are lost: lines that a writer appended and destroyed between two checks (by
//! truncation, or by deleting a rotated file), and lines appended to the old file long after another
//! writer started the new one.

mod file;
mod mark;
mod siblings;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::file::{FileRead, FileReader, NamedFile};
use self::siblings::Siblings;
use self::watch::FileWatch;
use crate::model::limits;

pub use self::file::FileIdentity;
pub use self::mark::{FileMark, LostContent, Resumption};
pub(super) use self::watch::folder_of;

/// Maximum size of a batch of whole lines, unless a single line is longer.
const BATCH_BYTES: usize = 1024 * 1024;
/// Writers of one file do not all switch to the new one at the same moment. The old file is still
/// read for this long.
const LATE_WRITERS: Duration = Duration::from_secs(10);
/// Maximum size of an incomplete line in memory; a longer line is returned in parts.
pub const LINE_HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Options of a [`FileFollower`].
#[derive(Clone, Debug)]
pub struct FollowFileOptions {
    /// Start at the file's first byte. Otherwise only new lines are returned, including the whole
    /// of a line that is half written now. A file that does not exist yet is always read from its
    /// first byte.
    pub from_start: bool,
    /// Poll interval for changes that the system does not report.
    pub poll: Duration,
}

impl Default for FollowFileOptions {
    fn default() -> Self {
        Self { from_start: false, poll: limits::FILE_POLL }
    }
}

/// The result of one check of a followed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowItem {
    /// Whole lines, each with its newline (added to a last line without one), or a part of a line
    /// after [`FollowNotice::TooLong`].
    Lines {
        /// The bytes of the lines.
        bytes: Bytes,
        /// Offset of the first byte in the file.
        offset: u64,
    },
    /// A change of the file itself.
    Notice(FollowNotice),
    /// Everything in the file was returned, except for an incomplete last line. Returned once per
    /// pause.
    CaughtUp,
}

/// A change of a followed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowNotice {
    /// The file does not exist; the follower waits for it.
    Waiting,
    /// The file exists now.
    Appeared,
    /// The file became shorter and is read from the start.
    Truncated {
        /// Bytes read before the truncation.
        read: u64,
    },
    /// Another file has the name now; the old one was read to its end.
    Rotated,
    /// The content that was read was replaced; the file is read from the start.
    Rewritten,
    /// The last line had no newline when its content ended (by one of the above). It is the last of
    /// the lines returned just before.
    Torn,
    /// The next line is longer than [`LINE_HELD_BYTES_MAX`] and is returned in parts; the last part
    /// ends with the newline.
    TooLong,
    /// The next lines were written to the old file after the rotation. Their offset is in the old
    /// file.
    Late,
    /// A file that had the name for a while was compressed before it was read.
    Missed {
        /// The current path of that file.
        path: PathBuf,
    },
}

impl fmt::Display for FollowNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FollowNotice::Waiting => f.write_str("it does not exist yet, waiting for it"),
            FollowNotice::Appeared => f.write_str("it exists now"),
            FollowNotice::Truncated { read } => {
                write!(f, "it was truncated after {read} bytes, reading it from the start")
            }
            FollowNotice::Rotated => f.write_str("it was rotated, reading the new file"),
            FollowNotice::Rewritten => f.write_str("it was rewritten, reading it from the start"),
            FollowNotice::Torn => f.write_str("its last line has no newline"),
            FollowNotice::TooLong => write!(f, "its next line is longer than {LINE_HELD_BYTES_MAX} bytes and is split"),
            FollowNotice::Late => f.write_str("the next lines were written to the old file after the rotation"),
            FollowNotice::Missed { path } => {
                write!(f, "a rotated file was compressed before it was read: {}", path.display())
            }
        }
    }
}

/// An I/O error of a followed file.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow {}: {source}", path.display())]
pub struct FollowFileError {
    /// The path of the file.
    pub path: PathBuf,
    /// The I/O error.
    pub source: io::Error,
}

/// A reader of one growing file.
///
/// Invariants: every byte before [`FileFollower::offset`] of the current file was returned; a file
/// is closed only after all of it was returned; no await separates a read from its result.
#[derive(Debug)]
pub struct FileFollower {
    path: PathBuf,
    options: FollowFileOptions,
    watch: FileWatch,
    siblings: Siblings,
    source: Option<FileReader>,
    /// The change of the file whose copy `source` currently is: the unread rest is read from the
    /// copy first.
    broken: Option<FollowNotice>,
    /// The previous file, and the time until which it is still read.
    late: Option<(FileReader, Instant)>,
    /// Results not yet returned: a handful at most, all from one change.
    ready: VecDeque<FollowItem>,
    /// The current pause was reported.
    caught_up: bool,
    /// Time since when no file has the name; `waiting` is set once that was reported.
    missing: Option<Instant>,
    waiting: bool,
}

impl FileFollower {
    /// Starts to follow a file. Without [`FollowFileOptions::from_start`], the current end is
    /// determined here.
    ///
    /// # Errors The file exists and cannot be read, or is not a regular file.
    pub fn new(path: impl Into<PathBuf>, options: FollowFileOptions) -> Result<Self, FollowFileError> {
        let path = path.into();
        let failed = |source| FollowFileError { path: path.clone(), source };
        // The watch starts before the file is opened, so no change in between is missed.
        let watch = FileWatch::new(&path);
        let siblings = Siblings::new(&path);
        let mut source = file::ignore_not_found(FileReader::open(&path)).map_err(failed)?;
        if let Some(source) = &mut source
            && !options.from_start
        {
            source.skip_to_last_line().map_err(failed)?;
        }
        let (ready, missing) = (VecDeque::new(), None);
        Ok(Self {
            path,
            options,
            watch,
            siblings,
            source,
            broken: None,
            late: None,
            ready,
            caught_up: false,
            missing,
            waiting: false,
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of bytes returned from the current file.
    pub fn offset(&self) -> u64 {
        self.source.as_ref().map_or(0, FileReader::offset)
    }

    /// Returns the identity of the current file, or `None` without one.
    pub fn identity(&self) -> Option<FileIdentity> {
        self.source.as_ref().map(FileReader::identity)
    }

    /// Returns the incomplete last line without the parts already returned, and closes the file.
    pub fn drain_partial_line(&mut self) -> Bytes {
        self.source.take().map(FileReader::into_partial_line).unwrap_or_default()
    }

    /// Waits for the next lines or the next change. Cancel-safe.
    ///
    /// # Errors The file exists and cannot be read. A later call tries again.
    pub async fn next(&mut self) -> Result<FollowItem, FollowFileError> {
        loop {
            if let Some(found) = self.check()? {
                self.caught_up = false;
                return Ok(found);
            }
            if !std::mem::replace(&mut self.caught_up, true) {
                return Ok(FollowItem::CaughtUp);
            }
            self.watch.changed(self.options.poll).await;
        }
    }

    fn check(&mut self) -> Result<Option<FollowItem>, FollowFileError> {
        if let Some(item) = self.ready.pop_front() {
            return Ok(Some(item));
        }
        let path = self.path.clone();
        self.try_check().map_err(|source| FollowFileError { path, source })
    }

    fn try_check(&mut self) -> io::Result<Option<FollowItem>> {
        // The identity is read before the content, so everything written to the old file before the
        // rotation is read.
        let named = file::ignore_not_found(NamedFile::stat(&self.path))?;
        let Some(source) = &mut self.source else { return self.open_first(named) };
        let read = source.position();
        match source.read()? {
            FileRead::Lines { bytes, offset } => return Ok(Some(FollowItem::Lines { bytes, offset })),
            FileRead::TooLong { part, offset } => {
                self.ready.push_back(FollowItem::Lines { bytes: part, offset });
                return Ok(Some(FollowItem::Notice(FollowNotice::TooLong)));
            }
            FileRead::Truncated => return self.restart(FollowNotice::Truncated { read }),
            FileRead::Replaced => return self.restart(FollowNotice::Rewritten),
            FileRead::Nothing => {}
        }
        if !self.read_late()? {
            self.switch(named)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Opens the first file that has the name.
    fn open_first(&mut self, named: Option<NamedFile>) -> io::Result<Option<FollowItem>> {
        let next = match self.siblings.next_after(None, named.as_ref()) {
            Some(sibling) => Some(sibling),
            None => file::ignore_not_found(FileReader::open(&self.path))?,
        };
        let Some(source) = next else {
            return Ok(
                (!std::mem::replace(&mut self.waiting, true)).then_some(FollowItem::Notice(FollowNotice::Waiting))
            );
        };
        self.source = Some(source);
        self.watch.refresh();
        let reported = std::mem::take(&mut self.waiting);
        if reported { Ok(Some(FollowItem::Notice(FollowNotice::Appeared))) } else { self.try_check() }
    }

    /// Restarts at the first byte after the content of the file changed. If the file was copied
    /// before, as logrotate's `copytruncate` does, the unread rest is read from the copy first.
    fn restart(&mut self, notice: FollowNotice) -> io::Result<Option<FollowItem>> {
        let Some(source) = &mut self.source else { return Ok(None) };
        let copy = if self.broken.is_none() { self.siblings.copy_of(source) } else { None };
        if let Some(copy) = copy {
            self.source = Some(copy);
            self.broken = Some(notice);
            return self.try_check();
        }
        let torn = source.restart();
        self.push_torn(torn);
        self.ready.push_back(FollowItem::Notice(notice));
        Ok(self.ready.pop_front())
    }

    /// Reads the previous file. Returns whether it had more lines.
    fn read_late(&mut self) -> io::Result<bool> {
        let Some((old, until)) = &mut self.late else { return Ok(false) };
        let over = Instant::now() > *until;
        match old.read()? {
            FileRead::Lines { bytes, offset } | FileRead::TooLong { part: bytes, offset } => {
                self.ready.push_back(FollowItem::Notice(FollowNotice::Late));
                self.ready.push_back(FollowItem::Lines { bytes, offset });
                return Ok(true);
            }
            FileRead::Nothing if !over => {}
            FileRead::Nothing | FileRead::Truncated | FileRead::Replaced => self.late = None,
        }
        Ok(false)
    }

    /// Switches to the next file once the current one has no more lines.
    fn switch(&mut self, named: Option<NamedFile>) -> io::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let Some(named) = named else {
            let since = *self.missing.get_or_insert_with(Instant::now);
            if !self.waiting && since.elapsed() >= self.options.poll {
                self.waiting = true;
                self.ready.push_back(FollowItem::Notice(FollowNotice::Waiting));
            }
            return Ok(());
        };
        self.missing = None;
        if named.identity == source.identity() {
            self.waiting = false;
            return Ok(());
        }
        let next = match self.siblings.next_after(Some(source), Some(&named)) {
            Some(sibling) => sibling,
            // The writer still has the old file open and appends to it as long as the new one is
            // empty.
            None if named.bytes == 0 && self.broken.is_none() => return Ok(()),
            None => match FileReader::open(&self.path) {
                Ok(next) => next,
                // The file was deleted again, or its owner has not granted access yet.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        self.waiting = false;
        let missed = self.siblings.compressed_since(source);
        let mut old = self.source.replace(next);
        let torn = old.as_mut().and_then(FileReader::end_line);
        // A copy has no writer.
        self.late = old.filter(|_| self.broken.is_none()).map(|old| (old, Instant::now() + LATE_WRITERS));
        self.push_torn(torn);
        for path in missed {
            self.ready.push_back(FollowItem::Notice(FollowNotice::Missed { path }));
        }
        self.ready.push_back(FollowItem::Notice(self.broken.take().unwrap_or(FollowNotice::Rotated)));
        self.watch.refresh();
        Ok(())
    }

    fn push_torn(&mut self, torn: Option<(Bytes, u64)>) {
        if let Some((bytes, offset)) = torn {
            self.ready.push_back(FollowItem::Lines { bytes, offset });
            self.ready.push_back(FollowItem::Notice(FollowNotice::Torn));
        }
    }
}
