//! Appending: one write a call, and one sync for all who wait for it.
//!
//! Writers are kept apart twice: threads by a lock of this process, processes by an advisory lock on
//! the file, held round "how does the file end" and the write. So a torn last line (of a writer that
//! was killed, or a full disk) is ended before the next event begins. A writer that takes no lock is
//! still never mixed with ours: the file is open for appending, and every call is one write.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::Value;
use ulid::Ulid;

use super::Sync;
use crate::events::follow::{FileIdentity, folder_of};
use crate::model::json::{JsonObject, ValueKind};
use crate::model::{Event, EventError, EventSchema, Timestamp, limits};

/// Only its owner reads and writes a log that is made here.
const FILE_MODE: u32 = 0o600;
/// The other processes' appends take microseconds. One that holds the lock longer than this was
/// stopped in its middle: then we write without the lock, rather than never.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Tries for the lock without a pause, and the pause between two more.
const LOCK_TRIES_AT_ONCE: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_micros(100);
/// A waiter looks this often whether the sync that it waits for was given up.
const SYNC_LOOK: Duration = Duration::from_secs(1);
/// Bytes of one event, about.
const EVENT_BYTES: usize = 512;

/// The writing side of a log.
#[derive(Debug, Default)]
pub(super) struct Appender {
    /// Held for one write at a time.
    open: Mutex<Option<Arc<Open>>>,
}

/// The file as it is open, until another has its name.
#[derive(Debug)]
struct Open {
    file: File,
    identity: FileIdentity,
    /// How long the file is if our last append is still its end; 0 if that is not known.
    ends: AtomicU64,
    /// Appends that are with the system. Grows only under the appender's lock.
    written: AtomicU64,
    /// Whether the file's name is on the disk.
    folder_synced: AtomicBool,
    syncs: Mutex<Syncs>,
    synced: Condvar,
}

/// Who syncs, and what is on the disk.
#[derive(Debug, Default)]
struct Syncs {
    running: bool,
    /// All appends up to this one are on the disk.
    done: u64,
    /// Those up to this one that were not done before may be lost, and why.
    failed: Option<(u64, i32)>,
}

impl Appender {
    pub(super) fn append(&self, path: &Path, events: &[Event], sync: Sync) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(events.len() * EVENT_BYTES + 1);
        // The newline that ends a torn line, if there is one.
        lines.push(b'\n');
        for event in events {
            put_line(&mut lines, event)?;
        }
        let (number, open) = self.write(path, &lines)?;
        match sync {
            Sync::Flush => Ok(()),
            Sync::Disk => open.sync(number, path),
        }
    }

    /// One write; gives the number of the append in its file.
    fn write(&self, path: &Path, lines: &[u8]) -> io::Result<(u64, Arc<Open>)> {
        let mut at_hand = self.open.lock();
        let (open, _lock, bytes) = loop {
            let open = match at_hand.take() {
                Some(open) => open,
                None => Arc::new(Open::make(path)?),
            };
            let lock = FileLock::take(&open);
            // With the lock held: a file that was rotated or deleted before is seen, and left.
            match std::fs::metadata(path) {
                Ok(metadata) if FileIdentity::of(&metadata) == open.identity => break (open, lock, metadata.len()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        };
        let open = at_hand.insert(open);
        let known = open.ends.swap(0, Ordering::Relaxed) == bytes;
        let lines = if !known && open.ends_torn(bytes) { lines } else { lines.get(1..).unwrap_or_default() };
        // One call, unless the system takes less; then the rest, still under the lock. What an error
        // leaves of an event is ended by the next append. It is not cut off: a writer that takes no
        // lock may have appended behind it.
        (&open.file).write_all(lines)?;
        // A file that is longer or shorter then has another end: another writer's.
        open.ends.store(bytes + lines.len() as u64, Ordering::Relaxed);
        let number = open.written.load(Ordering::Relaxed) + 1;
        open.written.store(number, Ordering::Release);
        Ok((number, Arc::clone(open)))
    }
}

impl Open {
    fn make(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(FILE_MODE);
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(folder_of(path))?;
                options.open(path)?
            }
            other => other?,
        };
        let identity = FileIdentity::of(&file.metadata()?);
        let (ends, written, folder_synced) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { file, identity, ends, written, folder_synced, syncs: Mutex::default(), synced: Condvar::new() })
    }

    /// Whether the last line has no newline.
    fn ends_torn(&self, bytes: u64) -> bool {
        let mut last = [b'\n'];
        let read = bytes.checked_sub(1).map(|place| self.file.read_at(&mut last, place));
        matches!(read, Some(Ok(1))) && last != [b'\n']
    }

    /// Waits until an append is on the disk: one of those who wait syncs for all.
    fn sync(&self, number: u64, path: &Path) -> io::Result<()> {
        let mut syncs = self.syncs.lock();
        loop {
            if syncs.done >= number {
                return Ok(());
            }
            if let Some((_, errno)) = syncs.failed.filter(|(failed, _)| number <= *failed) {
                return Err(io::Error::from_raw_os_error(errno));
            }
            if syncs.running {
                self.synced.wait_for(&mut syncs, SYNC_LOOK);
                continue;
            }
            syncs.running = true;
            drop(syncs);
            let covered = self.written.load(Ordering::Acquire);
            let result = self.sync_now(path);
            syncs = self.syncs.lock();
            syncs.running = false;
            match result {
                Ok(()) => syncs.done = syncs.done.max(covered),
                // After a failed sync the system holds the pages for clean: a later one proves nothing.
                Err(error) => syncs.failed = Some((covered, error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()))),
            }
            self.synced.notify_all();
        }
    }

    fn sync_now(&self, path: &Path) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.folder_synced.load(Ordering::Relaxed) {
            File::open(folder_of(path))?.sync_all()?;
            self.folder_synced.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The lock that keeps processes apart, where the file system has one.
struct FileLock(Option<Arc<Open>>);

impl FileLock {
    fn take(open: &Arc<Open>) -> Self {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            match flock(&open.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Self(Some(Arc::clone(open))),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < LOCK_WAIT => {}
                Err(_) => return Self(None),
            }
            tries += 1;
            if tries <= LOCK_TRIES_AT_ONCE {
                std::thread::yield_now();
            } else {
                std::thread::park_timeout(LOCK_PAUSE);
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            flock(&open.file, FlockOperation::Unlock).ok();
        }
    }
}

/// The event as it is kept, and a newline.
///
/// # Errors
/// It has become longer than what is read again.
fn put_line(lines: &mut Vec<u8>, event: &Event) -> io::Result<()> {
    // What was taken as an event is within the limit.
    if let Some(object) = JsonObject::read(event.as_str())
        && is_as_kept(&object)
    {
        lines.extend_from_slice(event.as_str().as_bytes());
        lines.push(b'\n');
        return Ok(());
    }
    let view = event.view();
    let mut added: Vec<(&str, Value)> = Vec::new();
    if view.event_id.is_none() {
        added.push(("event_id", Ulid::generate().to_string().to_ascii_lowercase().into()));
    }
    if view.timestamp_utc.is_none() && view.timestamp.is_none() {
        let now = Timestamp::now();
        added.push(match view.schema() {
            EventSchema::Pipeline => ("timestamp_utc", now.to_string().into()),
            EventSchema::Benchmark => ("timestamp", seconds(now).into()),
        });
    }
    let kept = event.with(&added);
    if kept.as_str().len() > limits::EVENT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, EventError::TooLong(kept.as_str().len())));
    }
    lines.extend_from_slice(kept.as_str().as_bytes());
    lines.push(b'\n');
    Ok(())
}

/// Whether it has an id and a time, and no `null`.
fn is_as_kept(object: &JsonObject<'_>) -> bool {
    let (mut has_id, mut has_time) = (false, false);
    for (name, _, kind) in object.fields() {
        has_id |= name == "event_id";
        has_time |= matches!(name, "timestamp_utc" | "timestamp");
        if kind == ValueKind::Null {
            return false;
        }
    }
    has_id && has_time
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^52")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}
