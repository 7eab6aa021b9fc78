//! Appending: one write per call, and one sync for all threads that wait for it.
//!
//! Writers are serialized twice: threads by a mutex, processes by an advisory lock on the file. The
//! lock covers both the check of the file's last byte and the write, so a torn last line (of a
//! killed writer, or a full disk) is ended before the next event is written. A writer that ignores
//! the lock still cannot interleave with ours: the file is opened in append mode, and every call is
//! one write.

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

use super::SyncMode;
use crate::events::follow::{FileIdentity, folder_of};
use crate::model::json::{JsonObject, ValueKind};
use crate::model::{Event, EventError, EventSchema, Timestamp, limits};

/// A new log is readable and writable only by its owner.
const FILE_MODE: u32 = 0o600;
/// Another process holds the lock for microseconds. One that holds it for longer than this was
/// suspended: then we write without the lock rather than block forever.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Attempts to lock without a pause, and the pause between further attempts.
const LOCK_TRIES_AT_ONCE: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_micros(100);
/// Interval at which a waiting thread checks whether the running sync was abandoned.
const SYNC_RECHECK: Duration = Duration::from_secs(1);
/// Estimated size of one event, in bytes.
const EVENT_BYTES: usize = 512;

/// The writing side of a log.
#[derive(Debug, Default)]
pub(super) struct Appender {
    /// Locked for one write at a time.
    open: Mutex<Option<Arc<OpenLogFile>>>,
}

/// The open file, until another file has its name.
#[derive(Debug)]
struct OpenLogFile {
    file: File,
    identity: FileIdentity,
    /// Length of the file after our last append, or 0 if unknown.
    ends: AtomicU64,
    /// Number of appends written to the file. Only increased under the appender's lock.
    written: AtomicU64,
    /// The file's directory entry is on disk.
    folder_synced: AtomicBool,
    syncs: Mutex<SyncState>,
    synced: Condvar,
}

/// The running sync, and the appends already on disk.
#[derive(Debug, Default)]
struct SyncState {
    running: bool,
    /// All appends up to this number are on disk.
    done: u64,
    /// The last append a failed sync covered, and the error number: those not on disk before may be
    /// lost.
    failed: Option<(u64, i32)>,
}

impl Appender {
    pub(super) fn append(&self, path: &Path, events: &[Event], sync: SyncMode) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(events.len() * EVENT_BYTES + 1);
        // The newline that ends a torn line; skipped if there is none.
        lines.push(b'\n');
        for event in events {
            write_line(&mut lines, event)?;
        }
        let (number, open) = self.write(path, &lines)?;
        match sync {
            SyncMode::Flush => Ok(()),
            SyncMode::Disk => open.sync(number, path),
        }
    }

    /// Writes once. Returns the number of the append and its file.
    fn write(&self, path: &Path, lines: &[u8]) -> io::Result<(u64, Arc<OpenLogFile>)> {
        let mut current = self.open.lock();
        let (open, _lock, bytes) = loop {
            let open = match current.take() {
                Some(open) => open,
                None => Arc::new(OpenLogFile::create_or_open(path)?),
            };
            let lock = FileLock::acquire(&open);
            // Checked with the lock held: a file that was rotated or deleted before is detected and
            // reopened.
            match std::fs::metadata(path) {
                Ok(metadata) if FileIdentity::of(&metadata) == open.identity => break (open, lock, metadata.len()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        };
        let open = current.insert(open);
        let known = open.ends.swap(0, Ordering::Relaxed) == bytes;
        let lines = if !known && open.has_torn_end(bytes) { lines } else { lines.get(1..).unwrap_or_default() };
        // One call, unless the system writes less; then the rest follows, still under the lock. An
        // event that an error left incomplete is ended by the next append. It is not truncated: a
        // writer that ignores the lock may have appended after it.
        (&open.file).write_all(lines)?;
        // If the file's length differs at the next append, another writer has appended.
        open.ends.store(bytes + lines.len() as u64, Ordering::Relaxed);
        let number = open.written.load(Ordering::Relaxed) + 1;
        open.written.store(number, Ordering::Release);
        Ok((number, Arc::clone(open)))
    }
}

impl OpenLogFile {
    fn create_or_open(path: &Path) -> io::Result<Self> {
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

    /// Reports whether the last line has no newline.
    fn has_torn_end(&self, bytes: u64) -> bool {
        let mut last = [b'\n'];
        let read = bytes.checked_sub(1).map(|position| self.file.read_at(&mut last, position));
        matches!(read, Some(Ok(1))) && last != [b'\n']
    }

    /// Waits until an append is on disk: one of the waiting threads syncs for all.
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
                self.synced.wait_for(&mut syncs, SYNC_RECHECK);
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
                // After a failed sync the kernel marks the pages clean, so a later success proves
                // nothing.
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

/// The advisory lock between processes, if the file system supports it.
struct FileLock(Option<Arc<OpenLogFile>>);

impl FileLock {
    fn acquire(open: &Arc<OpenLogFile>) -> Self {
        let started = Instant::now();
        let mut tries = 0;
        loop {
            match flock(&open.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Self(Some(Arc::clone(open))),
                Err(Errno::WOULDBLOCK | Errno::INTR) if started.elapsed() < LOCK_WAIT => {}
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

/// Writes the event as stored, and a newline.
///
/// # Errors The stored event is longer than the read limit.
fn write_line(lines: &mut Vec<u8>, event: &Event) -> io::Result<()> {
    // A parsed event is within the limit.
    if let Some(object) = JsonObject::read(event.as_str())
        && is_storable(&object)
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
    let stored = event.with(&added);
    if stored.as_str().len() > limits::EVENT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, EventError::TooLong(stored.as_str().len())));
    }
    lines.extend_from_slice(stored.as_str().as_bytes());
    lines.push(b'\n');
    Ok(())
}

/// Reports whether the event has an id, a time and no `null`, so it can be stored as is.
fn is_storable(object: &JsonObject<'_>) -> bool {
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
