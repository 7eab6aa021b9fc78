//! Opening the store, and the rescue when it does not open.
//!
//! The rescue deletes nothing: the folder that does not open is kept aside under a dated name, a
//! copy of it without sled's snapshots is tried, and only if that fails too is a new store begun.
//! A store that opens and knows nothing of its past is treated the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::overlay::Overlay;
use super::rebuild::remove_beside;
use super::space::{Refusal, Space};
use super::trees::Trees;
use super::wal::Place;
use super::write::{Log, Redo};
use super::{GARBAGE, Store, StoreError, StoreOptions};
use crate::model::Timestamp;

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
    /// The folder cannot be read, or not be copied.
    #[error("the data folder {folder} cannot be read or copied: {source}")]
    NotReadable {
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
    pub fn open(folder: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let not_writable = |source| OpenError::NotWritable { folder: folder.to_owned(), source };
        create_folder(folder).map_err(not_writable)?;
        prove_writable(folder, 0).map_err(not_writable)?;
        remove_half_made_snapshots(folder).map_err(not_writable)?;
        let closed_before = CLOSED.lock().contains(folder);
        let deadline = Instant::now() + CLOSING_TIMEOUT;
        let mut opened = Self::try_open(folder, options);
        while closed_before && opened.as_ref().is_err_and(is_locked) && Instant::now() < deadline {
            std::thread::park_timeout(CLOSING_LOOK);
            opened = Self::try_open(folder, options);
        }
        match opened {
            Ok(store) => {
                CLOSED.lock().remove(folder);
                Ok(store)
            }
            Err(error) if is_locked(&error) => Err(OpenError::InUse { folder: folder.to_owned() }),
            Err(error) => match of_the_disk(error, folder) {
                Ok(source) => Err(not_writable(source)),
                Err(damage) => rescue(folder, &damage, options).map_err(not_writable)?.map_err(OpenError::from),
            },
        }
    }

    pub(super) fn try_open(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        // sled asserts inside its recovery; a damaged file must become an error, not an abort.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| Self::open_trees(folder, options)));
        opened.unwrap_or_else(|_| {
            Err(StoreError::Damaged { at: folder.display().to_string(), what: "its recovery failed".into() })
        })
    }

    fn open_trees(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let trees = Trees::open(folder)?;
        remove_beside(folder).map_err(StoreError::Sync)?;
        let opening = trees.number(OPENING)? + 1;
        // sled takes a log that is cut or overwritten for a shorter one, and says nothing.
        if opening <= witnessed(folder) {
            let what = "it has forgotten what it held, its files were cut or overwritten".into();
            return Err(StoreError::Damaged { at: folder.display().to_string(), what });
        }
        let (log, redo) = Log::open(folder, &trees, 0)?;
        redo.apply(&trees)?;
        trees.of(Place::Meta).insert(OPENING, &opening.to_be_bytes())?;
        let store = Self {
            trees: RwLock::new(Some(Arc::new(trees))),
            overlay: Overlay::default(),
            log: Mutex::new(log),
            space: Space::new(folder, options.disk_free_min),
            health: RwLock::default(),
            folder: folder.to_owned(),
            opening,
            options,
            number_max: AtomicU64::new(0),
            given_back: Mutex::default(),
            busy_since_ms: AtomicU64::new(0),
        };
        for row in store.scan(Place::Meta, GARBAGE) {
            let (key, _) = row?;
            if let Ok(number) = <[u8; 8]>::try_from(&key[GARBAGE.len()..]) {
                store.finish_removal(u64::from_be_bytes(number))?;
            }
            store.take(Place::Meta, &key);
        }
        store.commit()?;
        store.settle();
        store.trees()?.make_durable()?;
        note_opening(folder, opening).map_err(StoreError::Sync)?;
        Ok(store)
    }

    /// Opens sled again after it failed; what it had not written is in the log of commits.
    pub(super) fn open_again(&self) -> Result<(Trees, Log, Redo), StoreError> {
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let trees = Trees::open(&self.folder)?;
            let (log, redo) = Log::open(&self.folder, &trees, self.number_max.load(Ordering::Acquire))?;
            Ok((trees, log, redo))
        }));
        let damaged = |what: &str| StoreError::Damaged { at: self.folder.display().to_string(), what: what.to_owned() };
        let opened = opened.unwrap_or_else(|_| Err(damaged("its recovery failed")))?;
        if opened.0.number(OPENING)? != self.opening {
            return Err(damaged("it has forgotten what it held, its files were cut or overwritten"));
        }
        Ok(opened)
    }
}

/// Whoever loses the store's other files is to notice: they are durable before this is said, with their
/// names. sled does not see to all of its own.
pub(super) fn note_opening(folder: &Path, opening: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    // Whole or not at all: half a number would call a good store damaged.
    let part = folder.join(format!("{WITNESS}.part"));
    let mut file = File::create(&part)?;
    file.write_all(format!("{opening}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, folder.join(WITNESS))?;
    sync_folder(folder)
}

/// New names in a folder are durable only once the folder is.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it that are not there, durable as names. One that is there is left alone.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent.unwrap_or(Path::new(".")))
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
pub(super) const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const CLOSING_LOOK: Duration = Duration::from_millis(2);

/// The `meta` key of the counter of openings.
const OPENING: &[u8] = b"opening";

/// The file that knows how often the store was opened, whatever becomes of sled's own.
const WITNESS: &str = "openings";

/// How often the store was opened at least.
fn witnessed(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join(WITNESS)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// What the system said, if that is why: a disk that is full or takes no writes is no damage, and
/// nothing is moved about on it.
fn of_the_disk(error: StoreError, folder: &Path) -> Result<io::Error, StoreError> {
    match error {
        StoreError::Sled(sled::Error::Io(source)) | StoreError::Sync(source)
            if source.kind() == io::ErrorKind::PermissionDenied || Refusal::of(&source, folder).is_some() =>
        {
            Ok(source)
        }
        StoreError::Refused(refusal) if refusal.is_full() => {
            Ok(io::Error::new(io::ErrorKind::StorageFull, refusal.to_string()))
        }
        StoreError::Refused(refusal) => Ok(io::Error::other(refusal.to_string())),
        damage => Err(damage),
    }
}

pub(super) fn is_locked(error: &StoreError) -> bool {
    let StoreError::Sled(sled::Error::Io(source)) = error else { return false };
    source.kind() == io::ErrorKind::WouldBlock || source.to_string().contains("could not acquire lock")
}

/// Whether a file of so many bytes can be made.
pub(super) fn prove_writable(folder: &Path, bytes: u64) -> io::Result<()> {
    // A name of its own: another process may open the folder at the same moment.
    let probe = folder.join(format!(".writable-{}", std::process::id()));
    let written = File::create(&probe).and_then(|mut file| io::copy(&mut io::repeat(0).take(bytes), &mut file));
    // What there is of it goes, or it would take the room itself.
    let removed = fs::remove_file(&probe);
    written.and(removed)
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
fn rescue(folder: &Path, error: &StoreError, options: StoreOptions) -> io::Result<Result<Store, StoreError>> {
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
    match Store::try_open(folder, options) {
        Ok(store) => {
            tracing::warn!("the store was rebuilt from a copy without its snapshots");
            Ok(Ok(store))
        }
        Err(error) => {
            tracing::error!(%error, kept = %aside.display(), "the copy does not open either; a new store is begun, archives are not concerned");
            fs::remove_dir_all(folder)?;
            fs::create_dir_all(folder)?;
            Ok(Store::try_open(folder, options))
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
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        assert!(matches!(Store::open(folder.path(), StoreOptions::default()), Err(OpenError::InUse { .. })));
        drop(store);
        assert_eq!(Store::open(folder.path(), StoreOptions::default()).unwrap().opening(), 2);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_no_damage() {
        let folder = Path::new("/data");
        let system = |code: i32| io::Error::from_raw_os_error(code);
        let (enospc, erofs, eacces, eio) = (28, 30, 13, 5);
        for (error, kind) in [
            (StoreError::Sled(sled::Error::Io(system(enospc))), Some(io::ErrorKind::StorageFull)),
            (StoreError::Sled(sled::Error::Io(system(erofs))), Some(io::ErrorKind::ReadOnlyFilesystem)),
            (StoreError::Sled(sled::Error::Io(system(eacces))), Some(io::ErrorKind::PermissionDenied)),
            (StoreError::Sync(system(enospc)), Some(io::ErrorKind::StorageFull)),
            (StoreError::Refused(Refusal::NoSpace("no room".to_owned())), Some(io::ErrorKind::StorageFull)),
            (StoreError::Refused(Refusal::ReadOnly(folder.to_owned())), Some(io::ErrorKind::Other)),
            (StoreError::Sled(sled::Error::Io(system(eio))), None),
            (StoreError::Damaged { at: "block 1".to_owned(), what: "it is cut".to_owned() }, None),
        ] {
            let said = error.to_string();
            assert_eq!(of_the_disk(error, folder).ok().map(|source| source.kind()), kind, "{said}");
        }
    }

    #[test]
    fn a_half_made_snapshot_does_not_keep_the_store_shut() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        store.put_stream(b"a", &record(7)).unwrap();
        store.commit().unwrap();
        drop(store);
        fs::write(folder.path().join("snap.00000000000FFFFF.generating"), b"half").unwrap();
        assert_eq!(Store::open(folder.path(), StoreOptions::default()).unwrap().stream(b"a").unwrap(), Some(record(7)));
    }

    #[test]
    fn a_damaged_store_is_kept_aside_and_a_bad_snapshot_costs_nothing() {
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

        // sled itself would take this for an empty store.
        fs::write(folder.join("db"), b"").unwrap();
        let kept = |parent: &Path| {
            let entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name());
            entries.filter(|name| name.to_string_lossy().starts_with("journal.damaged-")).count()
        };
        let before = kept(parent.path());
        assert_eq!(
            Store::open(&folder, StoreOptions::default()).unwrap().stream(b"a").unwrap(),
            Some(record(7)),
            "it is in the log of commits"
        );
        assert_eq!(kept(parent.path()), before + 1, "what was forgotten is kept aside");

        for name in ["db", "wal.0", "wal.1"] {
            fs::write(folder.join(name), b"").unwrap();
        }
        assert_eq!(Store::open(&folder, StoreOptions::default()).unwrap().stream(b"a").unwrap(), None);
        assert_eq!(kept(parent.path()), before + 2, "what was forgotten is kept aside");

        fs::write(folder.join("conf"), b"garbage").unwrap();
        fs::write(folder.join("db"), vec![0xA5; 300_000]).unwrap();
        let store = Store::open(&folder, StoreOptions::default()).unwrap();
        store.put_stream(b"b", &record(8)).unwrap();
        store.commit().unwrap();
        let aside = fs::read_dir(parent.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("journal.damaged-"));
        assert!(aside.count() >= 1, "the damaged folder is kept");
    }
}
