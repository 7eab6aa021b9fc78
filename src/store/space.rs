//! FsStats on the disk: whether the store may grow.
//!
//! Writes are refused before the disk is full, while there is still room for what must go on: the two
//! files of the write-ahead log, what sled holds in memory, and the records by which something is
//! removed. sled's own thread ends for good when it meets a full disk, so it should not meet one.
//!
//! The file system is asked at most every [`LOOK_EVERY`], or after so many bytes written.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};

/// Between two looks, unless much is written.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// At most this part of the file system is asked to stay free: a fourth.
const FREE_PART_MAX: u64 = 4;

/// Why nothing may be added now. All of it passes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Less is free than is to stay free.
    #[error(
        "the disk is full: {free_bytes} bytes are free in {}, and {min_bytes} are kept free (disk_free_min); \
         remove tasks with `tasktail rm`, or make room otherwise", folder.display()
    )]
    Full {
        /// The folder.
        folder: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is to stay free.
        min_bytes: u64,
    },
    /// The system refused a write.
    #[error("the disk is full: {0}")]
    NoSpace(String),
    /// The file system takes no writes.
    #[error("the file system of {} is read-only", .0.display())]
    ReadOnly(PathBuf),
    /// sled has met an error that passes; the store opens it again once it can be written.
    #[error("the store is opened again as soon as it can be written: {0}")]
    Reopening(String),
    /// A commit has not come back from the disk.
    #[error("the disk does not answer: a commit has been under way for {} s", .0.as_secs())]
    Hung(Duration),
}

impl Unavailable {
    /// What the system's refusal of a write means; `None` if it is no passing one.
    pub(super) fn of(error: &io::Error, folder: &Path) -> Option<Self> {
        match error.kind() {
            _ if Self::is_no_room(error) => Some(Self::NoSpace(error.to_string())),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly(folder.to_owned())),
            _ => None,
        }
    }

    /// Whether the system had no room for a write.
    pub(super) fn is_no_room(error: &io::Error) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }

    /// Whether the disk is full, rather than not to be written.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace(_))
    }
}

/// What is known of the room on the disk.
#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    /// Bytes that are to stay free, if any.
    min_bytes: Option<u64>,
    /// Held while the file system is asked.
    last: Mutex<DiskSample>,
}

#[derive(Debug)]
struct DiskSample {
    at: Option<Instant>,
    /// Bytes written since.
    written: u64,
    /// Bytes after which it is looked again.
    step: u64,
    free: u64,
    refusal: Option<Unavailable>,
}

impl Space {
    pub(super) fn new(folder: &Path, min_bytes: Option<u64>) -> Self {
        let last = DiskSample { at: None, written: 0, step: 0, free: 0, refusal: None };
        Self { folder: folder.to_owned(), min_bytes, last: Mutex::new(last) }
    }

    /// Why nothing may be added, if so.
    pub(super) fn refusal(&self) -> Option<Unavailable> {
        let mut last = self.last.lock();
        if last.at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) || last.written >= last.step {
            self.look(&mut last);
        }
        last.refusal.clone()
    }

    /// Free bytes at the last look.
    pub(super) fn free_bytes(&self) -> u64 {
        self.last.lock().free
    }

    /// So many bytes were written.
    pub(super) fn wrote(&self, bytes: u64) {
        self.last.lock().written += bytes;
    }

    /// A write was refused: this holds until the next look.
    pub(super) fn was_refused(&self, refusal: Unavailable) {
        let mut last = self.last.lock();
        (last.at, last.written, last.refusal) = (Some(Instant::now()), 0, Some(refusal));
    }

    fn look(&self, last: &mut DiskSample) {
        (last.at, last.written) = (Some(Instant::now()), 0);
        let found = match statvfs(&self.folder) {
            Ok(found) => FsStats::of(&found),
            Err(error) => {
                // A file system that cannot be asked may still take writes; those that fail say so.
                tracing::warn!(folder = %self.folder.display(), %error, "the room on the disk is not known");
                last.refusal = None;
                last.step = u64::MAX;
                return;
            }
        };
        let min = self.min_of(found.total);
        (last.free, last.step) = (found.free, (found.free.saturating_sub(min) / 4).max(min / 4));
        let refusal = self.judge(found, last.refusal.is_some());
        match (&last.refusal, &refusal) {
            (None, Some(refusal)) => tracing::error!(%refusal, "nothing is added until that is over; reads go on"),
            (Some(_), None) => tracing::warn!(free_bytes = found.free, "the disk takes writes again"),
            _ => {}
        }
        last.refusal = refusal;
    }

    /// Why nothing may be added beside such room; `before`, whether that was so already.
    fn judge(&self, found: FsStats, before: bool) -> Option<Unavailable> {
        let min = self.min_of(found.total);
        // It must be worth while before writes come again.
        let wanted = if before { min + min / 4 } else { min };
        if found.read_only {
            Some(Unavailable::ReadOnly(self.folder.clone()))
        } else if found.free < wanted {
            Some(Unavailable::Full { folder: self.folder.clone(), free_bytes: found.free, min_bytes: min })
        } else {
            None
        }
    }

    /// Bytes that are to stay free of a file system of so many.
    fn min_of(&self, total: u64) -> u64 {
        self.min_bytes.unwrap_or(0).min(total / FREE_PART_MAX)
    }
}

/// What the file system says of itself.
#[derive(Clone, Copy, Debug)]
struct FsStats {
    /// Bytes free for this user.
    free: u64,
    /// Bytes in all.
    total: u64,
    read_only: bool,
}

impl FsStats {
    fn of(found: &StatVfs) -> Self {
        Self {
            free: found.f_bavail * found.f_frsize,
            total: found.f_blocks * found.f_frsize,
            read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn room(free: u64, read_only: bool) -> FsStats {
        FsStats { free, total: 1_000 * MIB, read_only }
    }

    #[test]
    fn the_room_of_a_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::new(folder.path(), Some(1));
        assert_eq!(space.refusal(), None);
        assert!(space.free_bytes() > 0);
    }

    #[test]
    fn nothing_is_added_below_the_watermark_until_there_is_a_fourth_more() {
        let space = Space::new(Path::new("/data"), Some(64 * MIB));
        let judge = |free, before| space.judge(room(free, false), before);
        assert_eq!(judge(64 * MIB, false), None);
        let refusal = judge(64 * MIB - 1, false).unwrap();
        assert!(refusal.is_full() && refusal.to_string().contains("tasktail rm"), "{refusal}");
        assert!(judge(80 * MIB - 1, true).is_some_and(|refusal| refusal.is_full()));
        assert_eq!(judge(80 * MIB, true), None);
    }

    #[test]
    fn at_most_a_fourth_of_the_file_system_is_kept_free() {
        let space = Space::new(Path::new("/data"), Some(1 << 60));
        assert_eq!(space.judge(room(250 * MIB, false), false), None);
        assert!(space.judge(room(250 * MIB - 1, false), false).is_some());
    }

    #[test]
    fn a_file_system_mounted_read_only_takes_nothing_however_much_is_free() {
        let space = Space::new(Path::new("/data"), None);
        assert_eq!(space.judge(room(0, false), false), None, "the watermark is off");
        assert_eq!(space.judge(room(900 * MIB, true), false), Some(Unavailable::ReadOnly("/data".into())));
    }

    #[test]
    fn what_the_system_refuses_passes_and_what_is_broken_does_not() {
        let of = |code: i32| Unavailable::of(&io::Error::from_raw_os_error(code), Path::new("/data"));
        assert!(of(28).is_some_and(|refusal| refusal.is_full()), "ENOSPC");
        assert!(of(122).is_some_and(|refusal| refusal.is_full()), "EDQUOT");
        assert_eq!(of(30), Some(Unavailable::ReadOnly("/data".into())), "EROFS");
        assert_eq!(of(5), None, "EIO");
    }
}
