//! Opens the store, and rescues a store that cannot be opened.
//!
//! The rescue deletes nothing. It moves the damaged folder aside under a dated name and tries a copy of
//! it without sled's snapshots. Only if that fails too does it create an empty store. A store that opens
//! but has lost its past is treated the same.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::block_index::check_index;
use super::folder::{FILE_MODE, copy_folder, create_folder, remove_rebuild_folder, sync_folder};
use super::pending::PendingWrites;
use super::replay::OpenedLog;
use super::space::{DiskSpace, Unavailable};
use super::tree_id::TreeId;
use super::trees::{Trees, is_locked, retry_while_locked};
use super::{GARBAGE, Store, StoreCounters, StoreError, StoreOptions};
use crate::model::Timestamp;

/// An error of opening a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("data folder {folder} is in use by another process; stop it, or choose another folder with --data")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be created or written.
    #[error("cannot write to the data folder {folder}: {source}")]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder cannot be read or copied.
    #[error("cannot read or copy the data folder {folder}: {source}")]
    NotReadable {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Neither the store nor a new one could be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens the store in this folder, creating it if it does not exist.
    pub fn open(folder: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let not_writable = |source| OpenError::NotWritable { folder: folder.to_owned(), source };
        create_folder(folder).map_err(not_writable)?;
        probe_writable(folder, 0).map_err(not_writable)?;
        remove_partial_snapshots(folder).map_err(not_writable)?;
        let closed_before = CLOSED.lock().contains(folder);
        let open = || Self::try_open(folder, options);
        match if closed_before { retry_while_locked(open) } else { open() } {
            Ok(store) => {
                CLOSED.lock().remove(folder);
                Ok(store)
            }
            Err(error) if is_locked(&error) => Err(OpenError::InUse { folder: folder.to_owned() }),
            Err(error) => match disk_error(error, folder) {
                Ok(source) => Err(not_writable(source)),
                Err(damage) => rescue(folder, &damage, options).map_err(not_writable)?.map_err(OpenError::from),
            },
        }
    }

    /// As [`Store::open`], without a rescue.
    pub(super) fn try_open(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        // sled asserts inside its recovery; a damaged file must become an error, not an abort.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| Self::open_trees(folder, options)));
        opened.unwrap_or_else(|_| Err(damaged(folder, RECOVERY_FAILED)))
    }

    fn open_trees(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let trees = Trees::open(folder)?;
        remove_rebuild_folder(folder).map_err(StoreError::Sync)?;
        let open_count = trees.number(OPEN_COUNT)? + 1;
        // sled silently accepts a truncated or overwritten log as a shorter one.
        if open_count <= read_open_count(folder) {
            return Err(damaged(folder, DATA_LOST));
        }
        let OpenedLog { segments, log } = OpenedLog::open(folder, &trees, options.segment_bytes)?;
        trees.of(TreeId::Meta).insert(OPEN_COUNT, &open_count.to_be_bytes())?;
        check_index(&trees, open_count, read_open_count(folder))?;
        let store = Self {
            trees: RwLock::new(Some(Arc::new(trees))),
            pending: PendingWrites::default(),
            segments,
            applied_frame: AtomicU64::new(log.next() - 1),
            log: Mutex::new(log),
            live: Mutex::default(),
            reclaiming: Mutex::default(),
            unapplied_bytes: AtomicU64::new(0),
            freed_bytes: AtomicU64::new(0),
            counters: StoreCounters::default(),
            space: DiskSpace::new(folder, options.disk_free_min),
            health: RwLock::default(),
            folder: folder.to_owned(),
            open_count,
            options,
            number_max: AtomicU64::new(0),
            in_flight_since_ms: AtomicU64::new(0),
            last_rebuild: Mutex::default(),
        };
        for row in store.scan(TreeId::Meta, GARBAGE) {
            let (key, _) = row?;
            if let Ok(number) = <[u8; 8]>::try_from(&key[GARBAGE.len()..]) {
                store.remove_content(u64::from_be_bytes(number))?;
            }
            store.delete(TreeId::Meta, &key);
        }
        store.commit()?;
        store.checkpoint()?;
        // The open count and the mark of the index are no part of a commit.
        store.trees()?.make_durable()?;
        write_open_count(folder, open_count).map_err(StoreError::Sync)?;
        Ok(store)
    }

    /// Opens sled again after it was closed.
    pub(super) fn reopen_trees(&self) -> Result<Trees, StoreError> {
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| Trees::open(&self.folder)));
        let trees = opened.unwrap_or_else(|_| Err(damaged(&self.folder, RECOVERY_FAILED)))?;
        let lacks_commits = trees.frame()? < self.applied_frame.load(Ordering::Acquire);
        if trees.number(OPEN_COUNT)? != self.open_count || lacks_commits {
            return Err(damaged(&self.folder, DATA_LOST));
        }
        Ok(trees)
    }
}

const RECOVERY_FAILED: &str = "recovery failed";
const DATA_LOST: &str = "data is missing; its files were truncated or overwritten";

fn damaged(folder: &Path, what: &str) -> StoreError {
    StoreError::Damaged { at: folder.display().to_string(), what: what.to_owned() }
}

/// Records the open count outside of sled, so that a loss of sled's files is noticed. Makes the store's
/// files and their names durable first: sled does not sync all of them.
pub(super) fn write_open_count(folder: &Path, open_count: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    // Atomically: half a number would make a good store look damaged.
    let part = folder.join(format!("{OPEN_COUNT_FILE}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&part)?;
    file.write_all(format!("{open_count}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, folder.join(OPEN_COUNT_FILE))?;
    sync_folder(folder)
}

impl Drop for Store {
    fn drop(&mut self) {
        self.final_checkpoint();
        CLOSED.lock().insert(self.folder.clone());
    }
}

/// Folders that this process has opened and closed: sled's threads may hold their locks a little longer.
static CLOSED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The `meta` key of the open count.
const OPEN_COUNT: &[u8] = b"opening";

/// The file that holds the open count independently of sled's files.
const OPEN_COUNT_FILE: &str = "openings";

/// Returns how often the store was opened at least; 0 if unknown.
fn read_open_count(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join(OPEN_COUNT_FILE)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Returns the system's error if the disk is full or not writable. That is no damage, and nothing must be
/// moved aside because of it.
fn disk_error(error: StoreError, folder: &Path) -> Result<io::Error, StoreError> {
    match error {
        StoreError::Sled(sled::Error::Io(source)) | StoreError::Sync(source)
            if source.kind() == io::ErrorKind::PermissionDenied || Unavailable::from_io(&source, folder).is_some() =>
        {
            Ok(source)
        }
        StoreError::Unavailable(reason) if reason.is_full() => {
            Ok(io::Error::new(io::ErrorKind::StorageFull, reason.to_string()))
        }
        StoreError::Unavailable(reason) => Ok(io::Error::other(reason.to_string())),
        damage => Err(damage),
    }
}

/// Checks that a file of `bytes` bytes can be written to the folder.
pub(super) fn probe_writable(folder: &Path, bytes: u64) -> io::Result<()> {
    // A unique name: another process may open the folder at the same moment.
    let probe = folder.join(format!(".writable-{}", std::process::id()));
    let written = File::create(&probe).and_then(|mut file| io::copy(&mut io::repeat(0).take(bytes), &mut file));
    // Even after a failed write, or the probe itself would use up the space.
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

/// Removes partial snapshots that a kill during an earlier start left; sled would read one as complete
/// and report a corrupt store.
fn remove_partial_snapshots(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_partial_snapshot(name) {
            // Under sled's own lock: another process may be writing this snapshot now.
            let db = File::open(folder.join("db"));
            if !db.as_ref().is_ok_and(|db| db.try_lock().is_ok()) {
                continue;
            }
            tracing::warn!(file = %path.display(), "removing a partial snapshot; no data is lost");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Reports whether a file of this name is a snapshot that sled has not finished.
pub(super) fn is_partial_snapshot(name: &str) -> bool {
    name.starts_with("snap.") && name.ends_with(".generating")
}

/// Moves the folder aside and opens a copy without snapshots, or else an empty store in its place.
fn rescue(folder: &Path, error: &StoreError, options: StoreOptions) -> io::Result<Result<Store, StoreError>> {
    let date = Timestamp::now().to_string().replace(':', "").replace('.', "-");
    let mut aside = folder.as_os_str().to_owned();
    aside.push(format!(".damaged-{date}"));
    let aside = PathBuf::from(aside);
    fs::rename(folder, &aside)?;
    tracing::error!(%error, moved_to = %aside.display(), "cannot open the store; moved it aside, nothing was deleted");
    copy_folder(&aside, folder, &|name| name.starts_with("snap.") || name == OPEN_COUNT_FILE)?;
    match Store::try_open(folder, options) {
        Ok(store) => {
            tracing::warn!("rebuilt the store from a copy without its snapshots");
            Ok(Ok(store))
        }
        Err(error) => {
            tracing::error!(%error, moved_to = %aside.display(), "recovery failed; starting with an empty store (archives are unaffected)");
            fs::remove_dir_all(folder)?;
            create_folder(folder)?;
            Ok(Store::try_open(folder, options))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StreamRecord;

    fn record(number: u64) -> StreamRecord {
        StreamRecord { number, ..StreamRecord::default() }
    }

    #[test]
    fn opening_twice_reports_folder_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        assert!(matches!(Store::open(folder.path(), StoreOptions::default()), Err(OpenError::InUse { .. })));
        drop(store);
        assert_eq!(Store::open(folder.path(), StoreOptions::default()).unwrap().open_count(), 2);
    }

    #[test]
    fn unwritable_disk_is_not_treated_as_damage() {
        let folder = Path::new("/data");
        let system = |code: i32| io::Error::from_raw_os_error(code);
        let (enospc, erofs, eacces, eio) = (28, 30, 13, 5);
        for (error, kind) in [
            (StoreError::Sled(sled::Error::Io(system(enospc))), Some(io::ErrorKind::StorageFull)),
            (StoreError::Sled(sled::Error::Io(system(erofs))), Some(io::ErrorKind::ReadOnlyFilesystem)),
            (StoreError::Sled(sled::Error::Io(system(eacces))), Some(io::ErrorKind::PermissionDenied)),
            (StoreError::Sync(system(enospc)), Some(io::ErrorKind::StorageFull)),
            (StoreError::Unavailable(Unavailable::NoSpace("no space".to_owned())), Some(io::ErrorKind::StorageFull)),
            (StoreError::Unavailable(Unavailable::ReadOnly(folder.to_owned())), Some(io::ErrorKind::Other)),
            (StoreError::Sled(sled::Error::Io(system(eio))), None),
            (StoreError::Damaged { at: "block 1".to_owned(), what: "it is truncated".to_owned() }, None),
        ] {
            let text = error.to_string();
            assert_eq!(disk_error(error, folder).ok().map(|source| source.kind()), kind, "{text}");
        }
    }

    #[test]
    fn partial_snapshot_does_not_prevent_opening() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        store.put_stream(b"a", &record(7)).unwrap();
        store.commit().unwrap();
        drop(store);
        fs::write(folder.path().join("snap.00000000000FFFFF.generating"), b"half").unwrap();
        assert_eq!(Store::open(folder.path(), StoreOptions::default()).unwrap().stream(b"a").unwrap(), Some(record(7)));
    }

    #[test]
    fn damaged_store_is_moved_aside_and_bad_snapshots_lose_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let store = Store::open(&folder, StoreOptions::default()).unwrap();
        store.put_stream(b"a", &record(7)).unwrap();
        store.commit().unwrap();
        drop(store);
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("snap.") {
                fs::write(&path, b"not a snapshot at all").unwrap();
            }
        }
        fs::write(folder.join("snap.0000000000FFFFFF"), b"not a snapshot either").unwrap();
        let store = Store::open(&folder, StoreOptions::default()).unwrap();
        assert_eq!(store.stream(b"a").unwrap(), Some(record(7)));
        drop(store);

        // sled itself would open this as an empty store.
        fs::write(folder.join("db"), b"").unwrap();
        let moved_aside = |parent: &Path| {
            let entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name());
            entries.filter(|name| name.to_string_lossy().starts_with("journal.damaged-")).count()
        };
        let before = moved_aside(parent.path());
        assert_eq!(
            Store::open(&folder, StoreOptions::default()).unwrap().stream(b"a").unwrap(),
            Some(record(7)),
            "it is replayed from the log"
        );
        assert_eq!(moved_aside(parent.path()), before + 1);

        fs::write(folder.join("db"), b"").unwrap();
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.file_name().unwrap().to_string_lossy().starts_with("segment.") {
                fs::write(entry, b"").unwrap();
            }
        }
        assert_eq!(Store::open(&folder, StoreOptions::default()).unwrap().stream(b"a").unwrap(), None);
        assert_eq!(moved_aside(parent.path()), before + 2);

        fs::write(folder.join("conf"), b"garbage").unwrap();
        fs::write(folder.join("db"), vec![0xA5; 300_000]).unwrap();
        let store = Store::open(&folder, StoreOptions::default()).unwrap();
        store.put_stream(b"b", &record(8)).unwrap();
        store.commit().unwrap();
        assert!(moved_aside(parent.path()) >= 1);
    }
}
