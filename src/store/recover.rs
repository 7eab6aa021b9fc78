//! The store's health: rejecting writes after a failure, and recovering from a failure of sled.

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::live::LiveBlocks;
use super::open::probe_writable;
use super::space::Unavailable;
use super::trees::{CLOSE_POLL, CLOSE_TIMEOUT, Trees, retry_while_locked};
use super::{Store, StoreError, now_ms};

/// Interval between two attempts to reopen sled.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that opening sled may write besides its snapshot.
const OPENING_BYTES: u64 = 2 * 1024 * 1024;

/// Health of the store; only a good one accepts writes.
#[derive(Debug, Default)]
pub(super) enum Health {
    #[default]
    Good,
    /// sled has failed for a temporary reason. Everything committed is in the log.
    Failed {
        why: String,
        /// Earliest time of the next attempt to reopen sled.
        retry: Instant,
    },
    /// The state on disk is unknown.
    Poisoned(String),
}

impl Store {
    /// Returns an error if the store accepts no writes.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        match &*self.health.read() {
            Health::Good => Ok(()),
            Health::Failed { why, .. } => Err(StoreError::Unavailable(Unavailable::Reopening(why.clone()))),
            Health::Poisoned(why) => Err(StoreError::Poisoned(why.clone())),
        }
    }

    /// Returns an error if nothing may be added: the store accepts no writes, the disk is nearly full, or
    /// it does not respond.
    pub fn check_can_grow(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        let since = self.in_flight_since_ms.load(Ordering::Acquire);
        let elapsed = Duration::from_millis(now_ms().saturating_sub(since));
        if since > 0 && elapsed > self.options.commit_timeout {
            return Err(StoreError::Unavailable(Unavailable::Hung(elapsed)));
        }
        self.space.unavailable().map_or(Ok(()), |reason| Err(StoreError::Unavailable(reason)))
    }

    /// Returns the reason if only a restart can help: the state on disk is unknown, or the disk does not respond.
    pub fn needs_restart(&self) -> Option<String> {
        match self.check_can_grow() {
            Err(error @ (StoreError::Poisoned(_) | StoreError::Unavailable(Unavailable::Hung(_)))) => {
                Some(error.to_string())
            }
            _ => None,
        }
    }

    /// Rejects all writes from now on, until the next start.
    pub fn poison(&self, error: &StoreError) {
        let mut health = self.health.write();
        if !matches!(*health, Health::Poisoned(_)) {
            tracing::error!(folder = %self.folder.display(), %error, "the store is read-only until the next start");
            *health = Health::Poisoned(error.to_string());
        }
        drop(health);
        self.pending.discard_next();
    }

    /// Records that sled failed to apply a commit from the log, or failed to write it to disk.
    pub(super) fn sled_failed(&self, error: &StoreError) {
        let temporary = match error {
            StoreError::Sled(sled::Error::Io(source)) | StoreError::Sync(source) => {
                Unavailable::from_io(source, &self.folder)
            }
            StoreError::Unavailable(reason) => Some(reason.clone()),
            _ => None,
        };
        let Some(reason) = temporary else { return self.poison(error) };
        let mut health = self.health.write();
        if matches!(*health, Health::Good) {
            tracing::error!(folder = %self.folder.display(), %error, "store unavailable until it can be reopened; every commit is in its log");
            *health = Health::Failed { why: reason.to_string(), retry: Instant::now() + RETRY };
        }
    }

    /// Records that sled was closed and could not be reopened; [`Store::recover`] will retry.
    pub(super) fn set_closed(&self, error: &StoreError) {
        tracing::error!(folder = %self.folder.display(), %error, "failed to reopen the store; will retry");
        let mut health = self.health.write();
        if matches!(*health, Health::Good) {
            *health = Health::Failed { why: error.to_string(), retry: Instant::now() + RETRY };
        }
    }

    /// Reports whether [`Store::recover`] should be called.
    pub fn has_failed(&self) -> bool {
        matches!(*self.health.read(), Health::Failed { .. })
    }

    /// Reopens sled if it has failed and the disk has space for it; otherwise does nothing. Readers block
    /// meanwhile.
    pub fn recover(&self) {
        match &mut *self.health.write() {
            Health::Failed { retry, .. } if *retry <= Instant::now() => *retry = Instant::now() + RETRY,
            _ => return,
        }
        // A failed sled still serves reads: it is closed only if reopening is likely to succeed.
        let can_read = self.trees.read().is_some();
        if can_read && (self.space.unavailable().is_some() || probe_space(&self.folder).is_err()) {
            return;
        }
        match self.reopen(&mut self.live.lock(), || {}) {
            Ok(()) => {
                *self.health.write() = Health::Good;
                tracing::warn!(folder = %self.folder.display(), "the store accepts writes again");
            }
            Err(error) => {
                tracing::error!(folder = %self.folder.display(), %error, "failed to reopen the store; will retry");
            }
        }
    }

    /// Closes sled and opens it again, and makes it receive the commits that it failed to apply. `while_closed` is called
    /// in between. Readers wait until sled is open.
    pub(super) fn reopen(&self, live: &mut LiveBlocks, while_closed: impl FnOnce()) -> Result<(), StoreError> {
        let mut slot = self.trees.write();
        if let Some(old) = slot.take()
            && let Err(old) = close(old)
        {
            *slot = Some(old);
            return Err(StoreError::Sync(io::Error::other("timed out waiting for readers")));
        }
        while_closed();
        let trees = Arc::new(retry_while_locked(|| self.reopen_trees())?);
        // Readers can continue from here, even if there is no space to apply the rest.
        *slot = Some(trees.clone());
        drop(slot);
        live.forget();
        let applied = std::panic::catch_unwind(AssertUnwindSafe(|| {
            trees.skip_numbers(self.number_max.load(Ordering::Acquire))?;
            trees.make_durable()?;
            if let Some(frozen) = self.pending.frozen() {
                trees.apply_durably(&frozen)?;
                self.set_applied(&frozen);
            }
            Ok(())
        }));
        applied.unwrap_or_else(|_| Err(StoreError::Sync(io::Error::other("sled failed to apply the last commits"))))
    }
}

/// Checks that there is space to open sled: it writes a snapshot at least as large as the last, and
/// allocates segments of 512 KiB.
fn probe_space(folder: &Path) -> io::Result<()> {
    let mut snapshots = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            snapshots += entry.metadata()?.len();
        }
    }
    probe_writable(folder, OPENING_BYTES + 2 * snapshots)
}

/// Closes sled once its last reader is done. Returns the handle on a timeout.
fn close(old: Arc<Trees>) -> Result<(), Arc<Trees>> {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    while Arc::strong_count(&old) > 1 {
        if Instant::now() > deadline {
            return Err(old);
        }
        std::thread::park_timeout(CLOSE_POLL);
    }
    drop(old);
    Ok(())
}
