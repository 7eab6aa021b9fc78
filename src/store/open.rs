//! Opening the store, and the rescue when it does not open.
//!
//! The rescue deletes nothing: the folder that does not open is kept aside under a dated name, a
//! copy of it without sled's snapshots is tried, and only if that fails too is a new store begun.
//! A store that opens and knows nothing of its past is treated the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::write::Log;
use super::{GARBAGE, Store, StoreError};
use crate::model::Timestamp;

/// Bytes that sled may keep in memory.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// How often sled's own thread runs; without it freed space is never given back.
const FLUSH_EVERY_MS: u64 = 500;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data folder {folder} is in use by another process: stop that one, or name another folder with --data")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be made or written.
    #[error("the data folder {folder} cannot be written: {source}")]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither the store nor a new one could be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens the store in this folder, made if it is not there.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let not_writable = |source| OpenError::NotWritable { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(not_writable)?;
        prove_writable(folder).map_err(not_writable)?;
        remove_half_made_snapshots(folder).map_err(not_writable)?;
        let closed_before = CLOSED.lock().contains(folder);
        let deadline = Instant::now() + CLOSING_TIMEOUT;
        let mut opened = Self::try_open(folder);
        while closed_before && opened.as_ref().is_err_and(is_locked) && Instant::now() < deadline {
            std::thread::park_timeout(CLOSING_LOOK);
            opened = Self::try_open(folder);
        }
        match opened {
            Ok(store) => {
                CLOSED.lock().remove(folder);
                Ok(store)
            }
            Err(error) if is_locked(&error) => Err(OpenError::InUse { folder: folder.to_owned() }),
            Err(StoreError::Sled(sled::Error::Io(source))) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(not_writable(source))
            }
            Err(error) => rescue(folder, &error).map_err(not_writable)?.map_err(OpenError::from),
        }
    }

    fn try_open(folder: &Path) -> Result<Self, StoreError> {
        // sled asserts inside its recovery; a damaged file must become an error, not an abort.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| Self::open_trees(folder)));
        opened.unwrap_or_else(|_| {
            Err(StoreError::Damaged { at: folder.display().to_string(), what: "its recovery failed".into() })
        })
    }

    fn open_trees(folder: &Path) -> Result<Self, StoreError> {
        let db =
            sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS)).open()?;
        let names = ["blocks", "streams", "tasks", "groups", "meta"];
        let [blocks, streams, tasks, groups, meta] = names.map(|name| db.open_tree(name));
        let (blocks, streams, tasks, groups, meta) = (blocks?, streams?, tasks?, groups?, meta?);
        let opening = match meta.get(OPENING)?.as_deref().map(<[u8; 8]>::try_from) {
            Some(Ok(bytes)) => u64::from_be_bytes(bytes) + 1,
            _ => 1,
        };
        // sled takes a log that is cut or overwritten for a shorter one, and says nothing.
        if opening <= witnessed(folder) {
            let what = "it has forgotten what it held, its files were cut or overwritten".into();
            return Err(StoreError::Damaged { at: folder.display().to_string(), what });
        }
        let file = Arc::new(File::open(folder.join("db")).map_err(StoreError::Sync)?);
        let trees = [&blocks, &streams, &tasks, &groups, &meta];
        let log = Mutex::new(Log::open(folder, &db, trees, &file)?);
        meta.insert(OPENING, &opening.to_be_bytes())?;
        let store = Self {
            db,
            blocks,
            streams,
            tasks,
            groups,
            meta,
            file,
            log,
            folder: folder.to_owned(),
            opening,
            poison: RwLock::new(None),
        };
        for key in store.meta.scan_prefix(GARBAGE).keys().collect::<Result<Vec<_>, _>>()? {
            if let Ok(number) = <[u8; 8]>::try_from(&key[GARBAGE.len()..]) {
                store.finish_removal(u64::from_be_bytes(number))?;
            }
        }
        store.commit()?;
        store.checkpoint()?;
        fs::write(folder.join(WITNESS), format!("{opening}\n")).map_err(StoreError::Sync)?;
        // New names in a folder are durable only once the folder is.
        for place in [Some(folder), folder.parent()].into_iter().flatten() {
            File::open(place).and_then(|dir| dir.sync_all()).map_err(StoreError::Sync)?;
        }
        Ok(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end_checkpoint();
        CLOSED.lock().insert(self.folder.clone());
    }
}

/// Folders that this process had open and has closed: sled's own threads may hold one a little longer.
static CLOSED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// How long such a folder is waited for, and between two looks.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSING_LOOK: Duration = Duration::from_millis(2);

/// The `meta` key of the counter of openings.
const OPENING: &[u8] = b"opening";

/// The file that knows how often the store was opened, whatever becomes of sled's own.
const WITNESS: &str = "openings";

/// How often the store was opened at least.
fn witnessed(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join(WITNESS)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn is_locked(error: &StoreError) -> bool {
    let StoreError::Sled(sled::Error::Io(source)) = error else { return false };
    source.kind() == io::ErrorKind::WouldBlock || source.to_string().contains("could not acquire lock")
}

fn prove_writable(folder: &Path) -> io::Result<()> {
    // A name of its own: another process may open the folder at the same moment.
    let probe = folder.join(format!(".writable-{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}

/// A kill during an earlier opening can leave a snapshot that is not whole; sled would take it for
/// one and call the store corrupt.
fn remove_half_made_snapshots(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            // Under sled's own lock: one that another process is making now is not ours to remove.
            let db = File::open(folder.join("db"));
            if !db.as_ref().is_ok_and(|db| db.try_lock().is_ok()) {
                continue;
            }
            tracing::warn!(file = %path.display(), "a snapshot left half made by a kill is removed; it holds nothing that the store does not");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Keeps the folder aside and opens a copy without snapshots, or else a new store in its place.
fn rescue(folder: &Path, error: &StoreError) -> io::Result<Result<Store, StoreError>> {
    let date = Timestamp::now().to_string().replace(':', "").replace('.', "-");
    let mut aside = folder.as_os_str().to_owned();
    aside.push(format!(".damaged-{date}"));
    let aside = PathBuf::from(aside);
    fs::rename(folder, &aside)?;
    tracing::error!(%error, kept = %aside.display(), "the store does not open; it is kept aside, nothing is deleted");
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(&aside)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_owned();
        if path.is_file() && !name.to_string_lossy().starts_with("snap.") && name != WITNESS {
            fs::copy(&path, folder.join(name))?;
        } else if path.is_dir() {
            copy_folder(&path, &folder.join(name))?;
        }
    }
    match Store::try_open(folder) {
        Ok(store) => {
            tracing::warn!("the store was rebuilt from a copy without its snapshots");
            Ok(Ok(store))
        }
        Err(error) => {
            tracing::error!(%error, kept = %aside.display(), "the copy does not open either; a new store is begun, archives are not concerned");
            fs::remove_dir_all(folder)?;
            fs::create_dir_all(folder)?;
            Ok(Store::try_open(folder))
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StreamRecord;

    fn record(number: u64) -> StreamRecord {
        StreamRecord { number, ..StreamRecord::default() }
    }

    #[test]
    fn a_second_opening_is_told_that_the_folder_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(OpenError::InUse { .. })));
        drop(store);
        assert_eq!(Store::open(folder.path()).unwrap().opening(), 2);
    }

    #[test]
    fn a_half_made_snapshot_does_not_keep_the_store_shut() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put_stream(b"a", &record(7)).unwrap();
        store.commit().unwrap();
        drop(store);
        fs::write(folder.path().join("snap.00000000000FFFFF.generating"), b"half").unwrap();
        assert_eq!(Store::open(folder.path()).unwrap().stream(b"a").unwrap(), Some(record(7)));
    }

    #[test]
    fn a_damaged_store_is_kept_aside_and_a_bad_snapshot_costs_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let store = Store::open(&folder).unwrap();
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
        let store = Store::open(&folder).unwrap();
        assert_eq!(store.stream(b"a").unwrap(), Some(record(7)));
        drop(store);

        // sled itself would take this for an empty store.
        fs::write(folder.join("db"), b"").unwrap();
        let kept = |parent: &Path| {
            let entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name());
            entries.filter(|name| name.to_string_lossy().starts_with("journal.damaged-")).count()
        };
        let before = kept(parent.path());
        assert_eq!(Store::open(&folder).unwrap().stream(b"a").unwrap(), Some(record(7)), "it is in the log of commits");
        assert_eq!(kept(parent.path()), before + 1, "what was forgotten is kept aside");

        for name in ["db", "wal.0", "wal.1"] {
            fs::write(folder.join(name), b"").unwrap();
        }
        assert_eq!(Store::open(&folder).unwrap().stream(b"a").unwrap(), None);
        assert_eq!(kept(parent.path()), before + 2, "what was forgotten is kept aside");

        fs::write(folder.join("conf"), b"garbage").unwrap();
        fs::write(folder.join("db"), vec![0xA5; 300_000]).unwrap();
        let store = Store::open(&folder).unwrap();
        store.put_stream(b"b", &record(8)).unwrap();
        store.commit().unwrap();
        let aside = fs::read_dir(parent.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("journal.damaged-"));
        assert!(aside.count() >= 1, "the damaged folder is kept");
    }
}
