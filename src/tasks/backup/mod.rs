//! Backups: a consistent copy of a data folder that is in use, and its way back.
//!
//! ```text
//! DATA/backup.stage/journal    a copy of the store, with every commit before it       while a snapshot lives
//! DATA/backup.stage/archive    links to the archives of the same moment
//!
//! DIR/2026-11-30T222500.123Z/  one backup: a data folder of its own
//!   journal/ archive/          sealed archives are links to those of the backup before
//!   tokens.json share.key ..
//!   backup.json                written last
//! ```
//! A snapshot takes the time of a copy of the journal, in which commits wait. Archives are neither written nor
//! removed meanwhile, so records and archives are those of one moment; lines are accepted. The files are then
//! copied without any lock.

mod restore;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedRwLockReadGuard, RwLock};
use tokio::time::timeout;

use super::registry::Tasks;
use crate::archive::ArchiveFile;
use crate::store::{StoreError, create_folder};

pub use restore::{RestoreError, restore};
pub use write::{BackupError, BackupReport, write_backup};

/// Name of the folder of a snapshot.
const STAGE: &str = "backup.stage";
/// Maximum time that a snapshot waits for the one before it, which is removed in the background.
const STAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The locks of backups.
#[derive(Debug, Default)]
pub(super) struct BackupLocks {
    /// Shared by every change of an archive together with its record; exclusive while a snapshot is made.
    pub(super) archives: Arc<RwLock<()>>,
    /// Locked while a snapshot exists.
    stage: Arc<Mutex<()>>,
}

/// A change of an archive and its record, which no snapshot may divide.
#[derive(Debug)]
pub(super) struct ArchiveChange(#[expect(dead_code, reason = "held until it is dropped")] OwnedRwLockReadGuard<()>);

/// A data folder at one moment. It is removed when it is dropped.
#[derive(Debug)]
pub struct DataSnapshot {
    folder: PathBuf,
    files: Vec<ArchiveFile>,
    stage: Option<OwnedMutexGuard<()>>,
}

/// A snapshot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DataSnapshotError {
    /// Another one exists.
    #[error("another backup is in progress; wait until it ends")]
    InProgress,
    /// The store could not be copied.
    #[error("cannot copy the journal: {0}")]
    Store(#[from] StoreError),
    /// The archives could not be linked.
    #[error("cannot link the archives: {0}")]
    Archives(#[from] io::Error),
    /// The server is being closed.
    #[error("the store is closed")]
    Closed,
}

impl Tasks {
    /// Waits until no snapshot is being made, and keeps the next one from starting until the change is dropped.
    pub(super) async fn begin_archive_change(&self) -> ArchiveChange {
        ArchiveChange(self.inner.backup.archives.clone().read_owned().await)
    }

    /// Makes a snapshot of the data folder `data`, with every line that has been acknowledged.
    ///
    /// # Errors
    /// There is another snapshot for longer than 5 s, or the disk failed.
    pub async fn data_snapshot(&self, data: &Path) -> Result<DataSnapshot, DataSnapshotError> {
        let stage = timeout(STAGE_TIMEOUT, self.inner.backup.stage.clone().lock_owned());
        let stage = stage.await.map_err(|_| DataSnapshotError::InProgress)?;
        let snapshot = DataSnapshot { folder: data.join(STAGE), files: Vec::new(), stage: Some(stage) };
        let _archives_unchanged = self.inner.backup.archives.clone().write_owned().await;
        let tasks = self.clone();
        let made = tokio::task::spawn_blocking(move || tasks.fill(snapshot));
        made.await.map_err(|_| DataSnapshotError::Closed)?
    }

    fn fill(&self, mut snapshot: DataSnapshot) -> Result<DataSnapshot, DataSnapshotError> {
        remove_if_exists(&snapshot.folder)?;
        create_folder(&snapshot.archive())?;
        self.inner.journal.store().copy_commits(&snapshot.journal())?;
        snapshot.files = self.inner.archives.link_all(&snapshot.archive())?;
        Ok(snapshot)
    }
}

impl DataSnapshot {
    /// Returns the folder with `journal` and `archive`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the files in `archive`, with the bytes that belong to the snapshot.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|file| (file.name.as_str(), file.bytes))
    }

    fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    fn archive(&self) -> PathBuf {
        self.folder.join("archive")
    }
}

impl Drop for DataSnapshot {
    fn drop(&mut self) {
        let (folder, stage) = (self.folder.clone(), self.stage.take());
        // On a thread of its own: removing many links takes time, and a request's future is dropped here.
        let remove = move || {
            if let Err(error) = remove_if_exists(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "failed to remove a snapshot; the next start retries");
            }
            drop(stage);
        };
        if let Err(error) = std::thread::Builder::new().name("backup".into()).spawn(remove) {
            tracing::warn!(%error, "failed to remove a snapshot; the next start retries");
        }
    }
}

/// Removes the snapshot that a killed server left. The caller must hold the store's lock.
pub(super) fn remove_stale_snapshot(data: &Path) {
    if let Err(error) = remove_if_exists(&data.join(STAGE)) {
        tracing::warn!(data = %data.display(), %error, "failed to remove an old snapshot");
    }
}

fn remove_if_exists(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
