//! Following a growing file: whole lines, each once, through truncation, rotation and rewriting.
//!
//! ```text
//! watch     when to look: the system's word for a change in the folder, and a slow poll as net
//! source    one open file: its whole lines, and whether it is still what was read
//! siblings  files that had the name between two looks
//! ```
//!
//! A look is a few small reads (at most 1 MiB each) on the calling thread: they are meant for
//! local files, where they take less than handing them to another thread does.
//!
//! What cannot be had: lines that a writer appended and destroyed (by truncation, or by deleting a
//! file that was rotated away) between two looks, and what it appends to the old file long after
//! another has begun the new one.

mod siblings;
mod source;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::siblings::Siblings;
use self::source::{Named, Read, Source};
use self::watch::Watch;
use crate::model::limits;

pub use self::source::FileIdentity;
pub(super) use self::watch::folder_of;

/// Bytes of whole lines that are given at once, unless one line has more.
const BATCH_BYTES: usize = 1024 * 1024;
/// Writers of one file do not come over to the new one at the same moment: the old one is looked at
/// for so long.
const LATE_WRITERS: Duration = Duration::from_secs(10);
/// Bytes of a line that are held until its newline comes; a longer one is given in parts.
pub const LINE_HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How a file is followed.
#[derive(Clone, Debug)]
pub struct FollowFileOptions {
    /// From the file's first byte; else only what is written from now on, and the whole of a line
    /// that is half written now. A file that is not there yet is read from its first byte in any case.
    pub from_start: bool,
    /// How often to look when the system reports no change.
    pub poll: Duration,
}

impl Default for FollowFileOptions {
    fn default() -> Self {
        Self { from_start: false, poll: limits::FILE_POLL }
    }
}

/// What the next look gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Whole lines, each with its newline (one is added to a last line that ended without); after
    /// [`FollowNotice::TooLong`] a part of one.
    Lines {
        /// Their bytes.
        bytes: Bytes,
        /// Bytes of the file before them.
        offset: u64,
    },
    /// Something happened to the file.
    Notice(FollowNotice),
    /// Everything that is there was given; only a half line may be left. Given once per silence.
    CaughtUp,
}

/// What happened to a followed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowNotice {
    /// It is not there; it is waited for.
    Waiting,
    /// It is there now.
    Appeared,
    /// It became shorter, and is read from its begin again.
    Truncated {
        /// Bytes that had been read.
        read: u64,
    },
    /// Another file took its name; the old one was read to its end.
    Rotated,
    /// Its content is another than what was read, and it is read from its begin again.
    Rewritten,
    /// A last line without a newline ended with its content (by one of the above): the lines given
    /// just before end with it.
    Torn,
    /// The next line has more than [`LINE_HELD_BYTES_MAX`] and comes in parts, the last of which holds its newline.
    TooLong,
    /// The next lines were written to the old file after the new one was begun. They and their
    /// offset are of the old one.
    Late,
    /// A file that had the name for a while was compressed before it could be read.
    Missed {
        /// What it is called now.
        path: PathBuf,
    },
}

impl fmt::Display for FollowNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FollowNotice::Waiting => f.write_str("it is not there yet, waiting for it"),
            FollowNotice::Appeared => f.write_str("it is there now"),
            FollowNotice::Truncated { read } => {
                write!(f, "it was truncated after {read} bytes, reading it from its begin")
            }
            FollowNotice::Rotated => f.write_str("it was rotated, reading the new file"),
            FollowNotice::Rewritten => f.write_str("it was rewritten, reading it from its begin"),
            FollowNotice::Torn => f.write_str("its last line ended without a newline"),
            FollowNotice::TooLong => write!(f, "its next line has over {LINE_HELD_BYTES_MAX} bytes, it comes in parts"),
            FollowNotice::Late => f.write_str("the next lines were written to the old file after the rotation"),
            FollowNotice::Missed { path } => {
                write!(f, "a file of this name was compressed before it was read: {}", path.display())
            }
        }
    }
}

/// Why a file cannot be followed any more.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow {}: {source}", path.display())]
pub struct FollowFileError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A reader of one growing file.
///
/// Invariants: what was given is before [`FileFollower::offset`] of the file at hand; a file is left
/// only when all of it was given; nothing is awaited between a read and what it gives.
#[derive(Debug)]
pub struct FileFollower {
    path: PathBuf,
    options: FollowFileOptions,
    watch: Watch,
    siblings: Siblings,
    source: Option<Source>,
    /// What happened to the file whose copy `source` is at present: its rest is read there first.
    broken: Option<FollowNotice>,
    /// The file before this one, and until when it is looked at.
    late: Option<(Source, Instant)>,
    /// At most a handful: what one event of the file has to tell.
    ready: VecDeque<Followed>,
    /// Whether the present silence was told.
    caught_up: bool,
    /// Since when no file has the name, and whether that was told.
    missing: Option<Instant>,
    waiting: bool,
}

impl FileFollower {
    /// Begins to follow; where "now" is, is decided here.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is no regular file.
    pub fn new(path: impl Into<PathBuf>, options: FollowFileOptions) -> Result<Self, FollowFileError> {
        let path = path.into();
        let failed = |source| FollowFileError { path: path.clone(), source };
        // First the watch, then the look: what comes between is seen.
        let watch = Watch::new(&path);
        let siblings = Siblings::new(&path);
        let mut source = source::if_there(Source::open(&path)).map_err(failed)?;
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

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the present file that were given.
    pub fn offset(&self) -> u64 {
        self.source.as_ref().map_or(0, Source::offset)
    }

    /// Which file is read at present; none as long as there is none.
    pub fn identity(&self) -> Option<FileIdentity> {
        self.source.as_ref().map(Source::identity)
    }

    /// What is there of a line whose newline has not come, for one who does not wait for it; less
    /// the parts that were given. The file is not read any further.
    pub fn take_unfinished(&mut self) -> Bytes {
        self.source.take().map(Source::into_unfinished).unwrap_or_default()
    }

    /// What comes next; waits for it. Cancel-safe.
    ///
    /// # Errors
    /// The file is there and cannot be read. A later call tries again.
    pub async fn next(&mut self) -> Result<Followed, FollowFileError> {
        loop {
            if let Some(found) = self.look()? {
                self.caught_up = false;
                return Ok(found);
            }
            if !std::mem::replace(&mut self.caught_up, true) {
                return Ok(Followed::CaughtUp);
            }
            self.watch.changed(self.options.poll).await;
        }
    }

    fn look(&mut self) -> Result<Option<Followed>, FollowFileError> {
        if let Some(item) = self.ready.pop_front() {
            return Ok(Some(item));
        }
        let path = self.path.clone();
        self.try_look().map_err(|source| FollowFileError { path, source })
    }

    fn try_look(&mut self) -> io::Result<Option<Followed>> {
        // The name before the content: what the old file got before the new one took over is read.
        let named = source::if_there(Named::look(&self.path))?;
        let Some(source) = &mut self.source else { return self.begin(named) };
        let read = source.position();
        match source.read()? {
            Read::Lines { bytes, offset } => return Ok(Some(Followed::Lines { bytes, offset })),
            Read::TooLong { part, offset } => {
                self.ready.push_back(Followed::Lines { bytes: part, offset });
                return Ok(Some(Followed::Notice(FollowNotice::TooLong)));
            }
            Read::Shorter => return self.restart(FollowNotice::Truncated { read }),
            Read::Other => return self.restart(FollowNotice::Rewritten),
            Read::Nothing => {}
        }
        if !self.read_late()? {
            self.switch(named)?;
        }
        Ok(self.ready.pop_front())
    }

    /// There was no file up to now.
    fn begin(&mut self, named: Option<Named>) -> io::Result<Option<Followed>> {
        let next = match self.siblings.next_after(None, named.as_ref()) {
            Some(sibling) => Some(sibling),
            None => source::if_there(Source::open(&self.path))?,
        };
        let Some(source) = next else {
            return Ok((!std::mem::replace(&mut self.waiting, true)).then_some(Followed::Notice(FollowNotice::Waiting)));
        };
        self.source = Some(source);
        self.watch.refresh();
        let told = std::mem::take(&mut self.waiting);
        if told { Ok(Some(Followed::Notice(FollowNotice::Appeared))) } else { self.try_look() }
    }

    /// The same file has other content. If it was copied before that, as logrotate's `copytruncate`
    /// does, what was not read of it is in the copy.
    fn restart(&mut self, notice: FollowNotice) -> io::Result<Option<Followed>> {
        let Some(source) = &mut self.source else { return Ok(None) };
        let copy = if self.broken.is_none() { self.siblings.copy_of(source) } else { None };
        if let Some(copy) = copy {
            self.source = Some(copy);
            self.broken = Some(notice);
            return self.try_look();
        }
        let torn = source.restart();
        self.give_torn(torn);
        self.ready.push_back(Followed::Notice(notice));
        Ok(self.ready.pop_front())
    }

    /// Whether the old file has got more.
    fn read_late(&mut self) -> io::Result<bool> {
        let Some((old, until)) = &mut self.late else { return Ok(false) };
        let over = Instant::now() > *until;
        match old.read()? {
            Read::Lines { bytes, offset } | Read::TooLong { part: bytes, offset } => {
                self.ready.push_back(Followed::Notice(FollowNotice::Late));
                self.ready.push_back(Followed::Lines { bytes, offset });
                return Ok(true);
            }
            Read::Nothing if !over => {}
            Read::Nothing | Read::Shorter | Read::Other => self.late = None,
        }
        Ok(false)
    }

    /// The file at hand has nothing more to give: looks for the one that follows it.
    fn switch(&mut self, named: Option<Named>) -> io::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let Some(named) = named else {
            let since = *self.missing.get_or_insert_with(Instant::now);
            if !self.waiting && since.elapsed() >= self.options.poll {
                self.waiting = true;
                self.ready.push_back(Followed::Notice(FollowNotice::Waiting));
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
            // The writer still has the old file open: as long as the new one is empty, it goes on there.
            None if named.bytes == 0 && self.broken.is_none() => return Ok(()),
            None => match Source::open(&self.path) {
                Ok(next) => next,
                // It has just gone again, or its owner has not let us in yet.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        self.waiting = false;
        let missed = self.siblings.compressed_since(source);
        let mut old = self.source.replace(next);
        let torn = old.as_mut().and_then(Source::end_line);
        // A copy has no writer.
        self.late = old.filter(|_| self.broken.is_none()).map(|old| (old, Instant::now() + LATE_WRITERS));
        self.give_torn(torn);
        for path in missed {
            self.ready.push_back(Followed::Notice(FollowNotice::Missed { path }));
        }
        self.ready.push_back(Followed::Notice(self.broken.take().unwrap_or(FollowNotice::Rotated)));
        self.watch.refresh();
        Ok(())
    }

    fn give_torn(&mut self, torn: Option<(Bytes, u64)>) {
        if let Some((bytes, offset)) = torn {
            self.ready.push_back(Followed::Lines { bytes, offset });
            self.ready.push_back(Followed::Notice(FollowNotice::Torn));
        }
    }
}
