//! Whether the store takes writes, and how it comes to again.

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::open::{CLOSING_LOOK, CLOSING_TIMEOUT, is_locked, prove_writable};
use super::space::Refusal;
use super::trees::Trees;
use super::wal::Place;
use super::write::Log;
use super::{Store, StoreError, now_ms};

/// Between two attempts to open sled again.
const RETRY: Duration = Duration::from_secs(1);
/// What an opening of sled may take besides its snapshot.
const OPENING_BYTES: u64 = 2 * 1024 * 1024;
/// A `meta` key that means nothing.
const PROBE: &[u8] = b"probe";

/// Whether writes are taken.
#[derive(Debug, Default)]
pub(super) enum Health {
    #[default]
    Good,
    /// sled has failed for a reason that passes. All that was committed is in the log.
    Failed {
        why: String,
        /// Not before this moment is it tried to open it again.
        retry: Instant,
    },
    /// Nobody can say what reached the disk.
    Poisoned(String),
}

impl Store {
    /// Whether anything can be written.
    pub fn check(&self) -> Result<(), StoreError> {
        match &*self.health.read() {
            Health::Good => Ok(()),
            Health::Failed { why, .. } => Err(StoreError::Refused(Refusal::Reopening(why.clone()))),
            Health::Poisoned(why) => Err(StoreError::Poisoned(why.clone())),
        }
    }

    /// Whether something may be added: the store takes writes, the disk has room and answers.
    pub fn may_grow(&self) -> Result<(), StoreError> {
        self.check()?;
        let since = self.busy_since_ms.load(Ordering::Acquire);
        let hung = Duration::from_millis(now_ms().saturating_sub(since));
        if since > 0 && hung > self.options.commit_timeout {
            return Err(StoreError::Refused(Refusal::Hung(hung)));
        }
        self.space.refusal().map_or(Ok(()), |refusal| Err(StoreError::Refused(refusal)))
    }

    /// From now on nothing is written any more.
    pub fn poison(&self, error: &StoreError) {
        let mut health = self.health.write();
        if !matches!(*health, Health::Poisoned(_)) {
            tracing::error!(folder = %self.folder.display(), %error, "the store takes no more writes");
            *health = Health::Poisoned(error.to_string());
        }
        drop(health);
        self.overlay.forget_pending();
    }

    /// sled did not take in a commit that is in the log, or did not get it to the disk.
    pub(super) fn sled_failed(&self, error: &StoreError) {
        let passing = match error {
            StoreError::Sled(sled::Error::Io(source)) | StoreError::Sync(source) => Refusal::of(source, &self.folder),
            StoreError::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        };
        let Some(refusal) = passing else { return self.poison(error) };
        let mut health = self.health.write();
        if matches!(*health, Health::Good) {
            tracing::error!(folder = %self.folder.display(), %error, "the store takes no writes until it can be opened again; what was committed is in its log");
            *health = Health::Failed { why: refusal.to_string(), retry: Instant::now() + RETRY };
        }
    }

    /// sled was closed and could not be opened again: that is tried until it can.
    pub(super) fn is_closed(&self, error: &StoreError) {
        tracing::error!(folder = %self.folder.display(), %error, "the store could not be opened again; it is tried again");
        let mut health = self.health.write();
        if matches!(*health, Health::Good) {
            *health = Health::Failed { why: error.to_string(), retry: Instant::now() + RETRY };
        }
    }

    /// Whether [`Store::recover`] is worth a call.
    pub fn has_failed(&self) -> bool {
        matches!(*self.health.read(), Health::Failed { .. })
    }

    /// Opens sled again if it has failed and there is room for that by now; otherwise nothing happens.
    /// Readers wait until it is open.
    pub fn recover(&self) {
        match &mut *self.health.write() {
            Health::Failed { retry, .. } if *retry <= Instant::now() => *retry = Instant::now() + RETRY,
            _ => return,
        }
        // A sled that has failed still reads: it is not let go before another can be had.
        let reads = self.trees.read().is_some();
        if reads && (self.space.refusal().is_some() || prove_room(&self.folder).is_err()) {
            return;
        }
        match self.reopen(&mut self.log.lock(), || {}) {
            Ok(()) => {
                *self.health.write() = Health::Good;
                tracing::warn!(folder = %self.folder.display(), "the store takes writes again");
            }
            Err(error) => {
                tracing::error!(folder = %self.folder.display(), %error, "the store could not be opened again; it is tried again");
            }
        }
    }

    /// Closes sled and opens it again; `between` is called while it is closed. Readers wait until it is open.
    pub(super) fn reopen(&self, log: &mut Log, between: impl FnOnce()) -> Result<(), StoreError> {
        let mut slot = self.trees.write();
        if let Some(old) = slot.take() {
            // A checkpoint that waits for sled is told by this that sled has failed.
            let probe = old.of(Place::Meta).insert(PROBE, &[]);
            tracing::debug!(?probe, "sled is closed, to be opened again");
            let checkpointed = log.wait();
            if let Err(error) = checkpointed {
                tracing::debug!(%error, "the checkpoint that was under way");
            }
            if let Err(old) = close(old) {
                *slot = Some(old);
                return Err(StoreError::Sync(io::Error::other("somebody reads without an end")));
            }
        }
        between();
        let deadline = Instant::now() + CLOSING_TIMEOUT;
        let (trees, opened, redo) = loop {
            match self.open_again() {
                Err(error) if is_locked(&error) && Instant::now() < deadline => std::thread::park_timeout(CLOSING_LOOK),
                done => break done?,
            }
        };
        let trees = Arc::new(trees);
        // Readers go on from here, whether there is room for the rest or not.
        self.overlay.lay_over(redo.changes.clone());
        *slot = Some(trees.clone());
        drop(slot);
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| redo.apply(&trees)));
        done.unwrap_or_else(|_| Err(StoreError::Sync(io::Error::other("sled could not take in its log again"))))?;
        // Not before: its next frame is written over those that were to be done again.
        *log = opened;
        self.overlay.end_commit();
        Ok(())
    }
}

/// Whether there is room to open sled: it writes a snapshot, as large as the last at least, and takes
/// segments of 512 KiB.
fn prove_room(folder: &Path) -> io::Result<()> {
    let mut snapshots = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            snapshots += entry.metadata()?.len();
        }
    }
    prove_writable(folder, OPENING_BYTES + 2 * snapshots)
}

/// Lets sled go once nobody is in it any more.
fn close(old: Arc<Trees>) -> Result<(), Arc<Trees>> {
    let deadline = Instant::now() + CLOSING_TIMEOUT;
    while Arc::strong_count(&old) > 1 {
        if Instant::now() > deadline {
            return Err(old);
        }
        std::thread::park_timeout(CLOSING_LOOK);
    }
    drop(old);
    Ok(())
}
