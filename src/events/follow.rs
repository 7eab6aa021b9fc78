//! Following a growing file: whole lines, each once, through truncation, rotation and rewriting.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use crate::model::limits;

/// How a file is followed.
#[derive(Clone, Debug)]
pub struct FollowFileOptions {
    /// From the file's first byte; else only what is written from now on. A file that is not there
    /// yet is read from its first byte in any case.
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
    /// Whole lines, each with its newline.
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
    /// A last line without a newline ended with its file (rotation): it was given as a line.
    Torn,
}

/// Why a file cannot be followed any more.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow {}: {source}", path.display())]
pub struct FollowFileError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// A reader of one growing file.
#[derive(Debug)]
pub struct FileFollower {
    path: PathBuf,
    _options: FollowFileOptions,
}

impl FileFollower {
    /// Begins to follow; where "now" is, is decided here.
    pub fn new(path: impl Into<PathBuf>, options: FollowFileOptions) -> Result<Self, FollowFileError> {
        Ok(Self { path: path.into(), _options: options })
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the present file that were given.
    pub fn offset(&self) -> u64 {
        0
    }

    /// What comes next; waits for it. Cancel-safe.
    pub async fn next(&mut self) -> Result<Followed, FollowFileError> {
        std::future::pending().await
    }
}
