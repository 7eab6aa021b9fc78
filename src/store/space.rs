//! Disk space: whether the store may grow.
//!
//! Writes that add data are rejected before the disk is full, while there is still space for what must
//! continue: the log of commits, sled's buffers, and the records that remove something.
//! sled's own thread stops for good when it meets a full disk, so it should never meet one.
//!
//! The file system is queried at most every [`SAMPLE_EVERY`], or after a number of bytes written.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};

/// Time between two samples, unless much is written.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// At most one part in this many of the file system is kept free.
const FREE_PART_MAX: u64 = 4;

/// A temporary reason why the store accepts no new data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Free space is below the minimum.
    #[error(
        "the disk is full: {free_bytes} bytes free in {}, minimum {min_bytes} (disk_free_min); \
         delete tasks with `tasktail rm`, or free space otherwise", folder.display()
    )]
    Full {
        /// The folder.
        folder: PathBuf,
        /// Free bytes.
        free_bytes: u64,
        /// Bytes to keep free.
        min_bytes: u64,
    },
    /// The system had no space for a write.
    #[error("the disk is full: {0}")]
    NoSpace(String),
    /// The file system is read-only.
    #[error("the file system of {} is read-only", .0.display())]
    ReadOnly(PathBuf),
    /// sled met a temporary error; the store reopens it as soon as possible.
    #[error("store unavailable until it can be reopened: {0}")]
    Reopening(String),
    /// A commit has been pending for too long.
    #[error("disk not responding: a commit has been pending for {} s", .0.as_secs())]
    Hung(Duration),
}

impl Unavailable {
    /// Returns the temporary reason behind a failed write; `None` if the error is not temporary.
    pub(super) fn from_io(error: &io::Error, folder: &Path) -> Option<Self> {
        match error.kind() {
            _ if Self::is_no_space(error) => Some(Self::NoSpace(error.to_string())),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly(folder.to_owned())),
            _ => None,
        }
    }

    /// Reports whether the system had no space for a write.
    pub(super) fn is_no_space(error: &io::Error) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }

    /// Reports whether the disk is full, rather than read-only or failing.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace(_))
    }
}

/// Tracks the free space of the store's file system.
#[derive(Debug)]
pub(super) struct DiskSpace {
    folder: PathBuf,
    /// Bytes to keep free, if any.
    min_bytes: Option<u64>,
    /// The last sample. Locked while the file system is queried.
    last: Mutex<DiskSample>,
}

/// Result of querying the file system.
#[derive(Debug)]
struct DiskSample {
    at: Option<Instant>,
    /// Bytes written since.
    written: u64,
    /// Bytes written after which the next sample is due.
    step: u64,
    free: u64,
    unavailable: Option<Unavailable>,
}

impl DiskSpace {
    pub(super) fn new(folder: &Path, min_bytes: Option<u64>) -> Self {
        let last = DiskSample { at: None, written: 0, step: 0, free: 0, unavailable: None };
        Self { folder: folder.to_owned(), min_bytes, last: Mutex::new(last) }
    }

    /// Returns why no data may be added, if so.
    pub(super) fn unavailable(&self) -> Option<Unavailable> {
        let mut last = self.last.lock();
        if last.at.is_none_or(|at| at.elapsed() >= SAMPLE_EVERY) || last.written >= last.step {
            self.sample(&mut last);
        }
        last.unavailable.clone()
    }

    /// Returns the free bytes at the last sample.
    pub(super) fn free_bytes(&self) -> u64 {
        self.last.lock().free
    }

    /// Counts bytes written.
    pub(super) fn add_written(&self, bytes: u64) {
        self.last.lock().written += bytes;
    }

    /// Records why a write failed; this holds until the next sample.
    pub(super) fn set_unavailable(&self, reason: Unavailable) {
        let mut last = self.last.lock();
        (last.at, last.written, last.unavailable) = (Some(Instant::now()), 0, Some(reason));
    }

    fn sample(&self, last: &mut DiskSample) {
        (last.at, last.written) = (Some(Instant::now()), 0);
        let stats = match statvfs(&self.folder) {
            Ok(stats) => FsStats::new(&stats),
            Err(error) => {
                // The file system may still accept writes; those that fail return their own error.
                tracing::warn!(folder = %self.folder.display(), %error, "cannot query free disk space");
                last.unavailable = None;
                last.step = u64::MAX;
                return;
            }
        };
        let min = self.min_of(stats.total);
        (last.free, last.step) = (stats.free, (stats.free.saturating_sub(min) / 4).max(min / 4));
        let unavailable = self.evaluate(stats, last.unavailable.is_some());
        match (&last.unavailable, &unavailable) {
            (None, Some(reason)) => tracing::error!(%reason, "rejecting new data; reads and deletions continue"),
            (Some(_), None) => tracing::warn!(free_bytes = stats.free, "the disk accepts writes again"),
            _ => {}
        }
        last.unavailable = unavailable;
    }

    /// Returns why no data may be added with these statistics. `before` is whether it was so already.
    fn evaluate(&self, stats: FsStats, before: bool) -> Option<Unavailable> {
        let min = self.min_of(stats.total);
        // Hysteresis: writes resume only when a useful amount of space is free again.
        let required = if before { min + min / 4 } else { min };
        if stats.read_only {
            Some(Unavailable::ReadOnly(self.folder.clone()))
        } else if stats.free < required {
            Some(Unavailable::Full { folder: self.folder.clone(), free_bytes: stats.free, min_bytes: min })
        } else {
            None
        }
    }

    /// Returns the bytes to keep free of a file system of `total` bytes.
    fn min_of(&self, total: u64) -> u64 {
        self.min_bytes.unwrap_or(0).min(total / FREE_PART_MAX)
    }
}

/// Statistics of the file system.
#[derive(Clone, Copy, Debug)]
struct FsStats {
    /// Bytes free for this user.
    free: u64,
    /// Total bytes.
    total: u64,
    read_only: bool,
}

impl FsStats {
    fn new(stats: &StatVfs) -> Self {
        Self {
            free: stats.f_bavail * stats.f_frsize,
            total: stats.f_blocks * stats.f_frsize,
            read_only: stats.f_flag.contains(StatVfsMountFlags::RDONLY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn stats(free: u64, read_only: bool) -> FsStats {
        FsStats { free, total: 1_000 * MIB, read_only }
    }

    #[test]
    fn free_space_of_a_folder_is_sampled() {
        let folder = tempfile::tempdir().unwrap();
        let space = DiskSpace::new(folder.path(), Some(1));
        assert_eq!(space.unavailable(), None);
        assert!(space.free_bytes() > 0);
    }

    #[test]
    fn writes_stop_below_minimum_and_resume_a_fourth_above_it() {
        let space = DiskSpace::new(Path::new("/data"), Some(64 * MIB));
        let evaluate = |free, before| space.evaluate(stats(free, false), before);
        assert_eq!(evaluate(64 * MIB, false), None);
        let reason = evaluate(64 * MIB - 1, false).unwrap();
        assert!(reason.is_full() && reason.to_string().contains("tasktail rm"), "{reason}");
        assert!(evaluate(80 * MIB - 1, true).is_some_and(|reason| reason.is_full()));
        assert_eq!(evaluate(80 * MIB, true), None);
    }

    #[test]
    fn minimum_is_at_most_a_fourth_of_the_file_system() {
        let space = DiskSpace::new(Path::new("/data"), Some(1 << 60));
        assert_eq!(space.evaluate(stats(250 * MIB, false), false), None);
        assert!(space.evaluate(stats(250 * MIB - 1, false), false).is_some());
    }

    #[test]
    fn read_only_file_system_is_unavailable_whatever_is_free() {
        let space = DiskSpace::new(Path::new("/data"), None);
        assert_eq!(space.evaluate(stats(0, false), false), None, "the minimum is off");
        assert_eq!(space.evaluate(stats(900 * MIB, true), false), Some(Unavailable::ReadOnly("/data".into())));
    }

    #[test]
    fn only_full_and_read_only_disks_are_temporary_errors() {
        let of = |code: i32| Unavailable::from_io(&io::Error::from_raw_os_error(code), Path::new("/data"));
        assert!(of(28).is_some_and(|reason| reason.is_full()), "ENOSPC");
        assert!(of(122).is_some_and(|reason| reason.is_full()), "EDQUOT");
        assert_eq!(of(30), Some(Unavailable::ReadOnly("/data".into())), "EROFS");
        assert_eq!(of(5), None, "EIO");
    }
}
