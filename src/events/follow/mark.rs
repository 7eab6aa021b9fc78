//! A position in a file that is recognized later, by the content before it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::file::{FileIdentity, FileReader};
use super::{FileFollower, FollowFileError, FollowFileOptions, FollowNotice};

/// Bytes at the start of a file and before a position that identify the content.
const CONTENT_BYTES: u64 = 64 * 1024;

/// A position in a file, and what identifies the content before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    pub(super) identity: FileIdentity,
    offset: u64,
    /// Hashes of the first bytes of the file and of the last bytes before the offset.
    head: String,
    tail: String,
    /// Time of the last change to the file, in seconds since 1970.
    pub(super) modified: i64,
}

impl FileMark {
    /// Returns the number of bytes before the position.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Marks the end of the bytes that a reader has returned; `None` if they are no longer in the file.
    fn at_end_of(file: &FileReader) -> io::Result<Option<Self>> {
        let mark = Self::of(file, file.offset())?;
        // Checked after the read: the mark must not be one of later content.
        Ok(if file.is_unchanged()? { mark } else { None })
    }

    /// Marks a position in an open file; `None` if the file has fewer bytes now.
    fn of(file: &FileReader, offset: u64) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        let content = content_hashes(file, offset)?;
        Ok(content.map(|[head, tail]| Self {
            identity: file.identity(),
            offset,
            head,
            tail,
            modified: metadata.mtime(),
        }))
    }

    /// Reports whether a file contains what preceded the position.
    pub(super) fn is_in(&self, file: &FileReader) -> bool {
        content_hashes(file, self.offset)
            .is_ok_and(|found| found.is_some_and(|found| found == [&*self.head, &self.tail]))
    }
}

fn content_hashes(file: &FileReader, offset: u64) -> io::Result<Option<[String; 2]>> {
    let head = file.bytes_at(0, offset.min(CONTENT_BYTES))?;
    let tail = file.bytes_at(offset.saturating_sub(CONTENT_BYTES), offset)?;
    let whole = offset.min(CONTENT_BYTES);
    if [&head, &tail].iter().any(|bytes| (bytes.len() as u64) < whole) {
        return Ok(None);
    }
    Ok(Some([head, tail].map(|bytes| format!("{:x}", Sha256::digest(&bytes)))))
}

/// A comparison of a file with the mark of an earlier follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// It still has the content before the mark, or a rotated file has it, which is then read first.
    Continues,
    /// Another file has the name, and the old one is gone.
    Rotated(LostContent),
    /// It has fewer bytes, and no copy of it was found.
    Truncated(LostContent),
    /// It has other content, and no copy of the old content was found.
    Rewritten(LostContent),
}

/// Content of a file that no longer exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostContent {
    /// Bytes that were read before the mark.
    pub read: u64,
    /// Compressed files that may contain the rest.
    pub compressed: Vec<PathBuf>,
}

impl FileFollower {
    /// Starts to follow a file from its first byte, where an earlier follower has left a mark. If the file was
    /// rotated or truncated since and the old content is still in the folder, that is read first.
    ///
    /// # Errors As [`FileFollower::new`].
    pub fn resume(path: impl Into<PathBuf>, mark: &FileMark) -> Result<(Self, Resumption), FollowFileError> {
        let options = FollowFileOptions { from_start: true, ..FollowFileOptions::default() };
        let mut follower = Self::new(path, options)?;
        if follower.source.as_ref().is_some_and(|source| mark.is_in(source)) {
            return Ok((follower, Resumption::Continues));
        }
        let named =
            follower.source.as_ref().map(|source| (source.identity(), source.metadata().map_or(0, |m| m.len())));
        let has_its_name = named.is_some_and(|(identity, _)| identity == mark.identity);
        if let Some(old) = follower.siblings.containing(mark) {
            // A copy was made before the file was truncated.
            let is_copy = has_its_name && old.identity() != mark.identity;
            follower.broken = is_copy.then_some(FollowNotice::Truncated { read: mark.offset() });
            follower.source = Some(old);
            return Ok((follower, Resumption::Continues));
        }
        let (are_later, compressed) = follower.siblings.forget_since(mark);
        if are_later {
            follower.source = None;
        }
        let lost = LostContent { read: mark.offset(), compressed };
        let resumption = match named {
            Some((_, bytes)) if has_its_name && bytes < mark.offset() => Resumption::Truncated(lost),
            Some(_) if has_its_name => Resumption::Rewritten(lost),
            _ => Resumption::Rotated(lost),
        };
        Ok((follower, resumption))
    }

    /// Marks the end of the lines returned from the current file. `None` without a file, or if its content is
    /// changing.
    pub fn mark(&self) -> Option<FileMark> {
        let source = self.source.as_ref().filter(|_| self.broken.is_none())?;
        // The mark is made again after the next lines.
        FileMark::at_end_of(source).ok().flatten()
    }
}
