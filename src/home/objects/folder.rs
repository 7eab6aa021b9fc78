//! A store in a folder, such as one on a shared mount.
//!
//! An object is a file of its name. It is written under a temporary name in `.tmp`, synced, and linked to its
//! name, which fails if the name exists; so it appears complete or not at all, also for other machines.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;

use super::{
    Failure, ObjectCounters, ObjectError, ObjectLimits, ObjectName, ObjectPrefix, PutOutcome, StoredObject, bad_range,
    too_large,
};

/// Folder of incomplete files.
const TEMPORARY: &str = ".tmp";
/// Age from which a temporary file is one of a server that was killed.
const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum number of attempts to create the folder of an object and the object in it.
const LINK_ATTEMPTS_MAX: u32 = 100;

/// A store in a folder.
#[derive(Debug)]
pub(super) struct FolderStore {
    root: PathBuf,
    limits: ObjectLimits,
    counters: ObjectCounters,
    /// Held by blocking operations, also by those that are no longer waited for.
    permits: Arc<Semaphore>,
}

impl fmt::Display for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file://{}", self.root.display())
    }
}

impl FolderStore {
    /// Creates the folder if it is missing.
    pub(super) fn open(root: PathBuf, limits: ObjectLimits) -> Result<Self, ObjectError> {
        let permits = Arc::new(Semaphore::new(limits.requests_at_once_max));
        let store = Self { root, limits, counters: ObjectCounters::default(), permits };
        let temporary = store.root.join(TEMPORARY);
        let created = fs::create_dir_all(&temporary).map_err(|error| Failure::local(&temporary, error));
        created.map_err(|failure| ObjectError::new("open", "the folder", &store, failure))?;
        remove_old(&temporary);
        Ok(store)
    }

    pub(super) fn counters(&self) -> &ObjectCounters {
        &self.counters
    }

    pub(super) async fn put_new(&self, name: &ObjectName, content: Bytes) -> Result<PutOutcome, ObjectError> {
        ObjectCounters::add(&self.counters.sent_bytes, content.len());
        let write = move |file: &mut File| file.write_all(&content);
        self.create("store", name, write).await
    }

    pub(super) async fn put_file_new(&self, name: &ObjectName, file: &Path) -> Result<PutOutcome, ObjectError> {
        let source = file.to_owned();
        let copy = move |target: &mut File| {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", source.display()));
            io::copy(&mut File::open(&source).map_err(named)?, target).map(drop)
        };
        self.create("store", name, copy).await
    }

    pub(super) async fn size(&self, name: &ObjectName) -> Result<u64, ObjectError> {
        self.run("read", name, |path| Ok(open(path)?.1)).await
    }

    pub(super) async fn get(&self, name: &ObjectName) -> Result<Bytes, ObjectError> {
        let limit = self.limits.get_bytes_max;
        let read = move |path: &Path| {
            let (file, size) = open(path)?;
            if size > limit {
                return Err(too_large(size, limit));
            }
            let mut content = Vec::new();
            file.take(limit).read_to_end(&mut content).map_err(|error| Failure::local(path, error))?;
            Ok(Bytes::from(content))
        };
        let content = self.run("read", name, read).await?;
        ObjectCounters::add(&self.counters.received_bytes, content.len());
        Ok(content)
    }

    pub(super) async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let limit = self.limits.get_bytes_max;
        let read = move |path: &Path| {
            let (file, size) = open(path)?;
            let length = range.end.saturating_sub(range.start);
            let (true, Ok(length)) = (range.end <= size && length <= limit, usize::try_from(length)) else {
                return Err(bad_range(&range, limit));
            };
            let mut content = vec![0; length];
            file.read_exact_at(&mut content, range.start).map_err(|error| Failure::local(path, error))?;
            Ok(Bytes::from(content))
        };
        let content = self.run("read", name, read).await?;
        ObjectCounters::add(&self.counters.received_bytes, content.len());
        Ok(content)
    }

    pub(super) async fn get_to_file(&self, name: &ObjectName, target: &Path) -> Result<u64, ObjectError> {
        let target = target.to_owned();
        let copy = move |path: &Path| {
            let (mut file, size) = open(path)?;
            let failed = |error: io::Error| Failure::local(&target, error);
            let mut temporary = NamedTempFile::new_in(parent_of(&target)).map_err(failed)?;
            let copied = io::copy(&mut file, temporary.as_file_mut()).map_err(failed)?;
            if copied != size {
                return Err(Failure::transient(format!("read {copied} of {size} bytes")));
            }
            temporary.persist(&target).map_err(|error| failed(error.error))?;
            Ok(size)
        };
        self.run("read", name, copy).await
    }

    pub(super) async fn list(
        &self,
        prefix: &ObjectPrefix,
        after: Option<&ObjectName>,
        limit: usize,
    ) -> Result<Vec<StoredObject>, ObjectError> {
        let (root, start) = (self.root.clone(), prefix.to_string());
        let after = after.map(ObjectName::to_string);
        let list = move |_: &Path| {
            let mut found = Vec::new();
            let walk = Walk { root: &root, after: after.as_deref(), limit };
            walk.folder(&start, &mut found).map_err(|error| Failure::local(&root.join(&start), error))?;
            Ok(found)
        };
        self.run_at("list", prefix.to_string(), self.root.clone(), list).await
    }

    pub(super) async fn delete(&self, name: &ObjectName) -> Result<(), ObjectError> {
        let root = self.root.clone();
        let delete = move |path: &Path| match fs::remove_file(path) {
            Ok(()) => {
                // The folders that are empty now; others remain.
                path.ancestors().skip(1).take_while(|folder| *folder != root).all(|f| fs::remove_dir(f).is_ok());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Failure::local(path, error)),
        };
        self.run("delete", name, delete).await
    }

    /// Writes a temporary file and links it to the name of the object.
    async fn create<W>(&self, action: &'static str, name: &ObjectName, write: W) -> Result<PutOutcome, ObjectError>
    where
        W: FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    {
        let folder = self.root.join(TEMPORARY);
        let create = move |path: &Path| {
            let failed = |error: io::Error| Failure::local(path, error);
            if path.exists() {
                return Ok(PutOutcome::Exists);
            }
            let mut temporary = NamedTempFile::new_in(&folder).map_err(failed)?;
            write(temporary.as_file_mut()).and_then(|()| temporary.as_file().sync_all()).map_err(failed)?;
            let outcome = link(temporary.path(), path).map_err(failed)?;
            File::open(parent_of(path)).and_then(|folder| folder.sync_all()).map_err(failed)?;
            Ok(outcome)
        };
        self.run(action, name, create).await
    }

    async fn run<T, F>(&self, action: &'static str, name: &ObjectName, work: F) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, Failure> + Send + 'static,
    {
        let path = self.root.join(name.to_string());
        self.run_at(action, name.to_string(), path, work).await
    }

    /// Runs a blocking operation. A mount that does not respond keeps its thread and its permit, so that at most
    /// [`ObjectLimits::requests_at_once_max`] threads are lost to it.
    async fn run_at<T, F>(&self, action: &'static str, object: String, path: PathBuf, work: F) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, Failure> + Send + 'static,
    {
        ObjectCounters::add(&self.counters.attempts, 1);
        let permits = self.permits.clone();
        let blocking = async move {
            let permit = permits.acquire_owned().await;
            let result = tokio::task::spawn_blocking(move || (work(&path), permit).0).await;
            result.unwrap_or_else(|error| Err(Failure::transient(error.to_string())))
        };
        let limit = self.limits.attempt_timeout;
        let timed_out = |_| Err(Failure::transient(format!("no result within {} s", limit.as_secs_f32())));
        tokio::time::timeout(limit, blocking).await.unwrap_or_else(timed_out).map_err(|failure| {
            ObjectCounters::add(&self.counters.failures, 1);
            ObjectError::new(action, object, self, failure)
        })
    }
}

/// A walk through the files of a store in the order of their names.
struct Walk<'a> {
    root: &'a Path,
    after: Option<&'a str>,
    limit: usize,
}

impl Walk<'_> {
    fn folder(&self, name: &str, found: &mut Vec<StoredObject>) -> io::Result<()> {
        let mut children = Vec::new();
        match fs::read_dir(self.root.join(name)) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    let is_folder = entry.file_type()?.is_dir();
                    let Ok(child) = entry.file_name().into_string() else { continue };
                    // A folder sorts as the names of its files do.
                    children.push((format!("{name}/{child}{}", if is_folder { "/" } else { "" }), entry));
                }
            }
            // Deleted since, or never created.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        children.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (child, entry) in children {
            if found.len() >= self.limit {
                return Ok(());
            }
            if let Some(folder) = child.strip_suffix('/') {
                let is_before = self.after.is_some_and(|after| !after.starts_with(&child) && child.as_str() < after);
                if !is_before {
                    self.folder(folder, found)?;
                }
            } else if self.after.is_none_or(|after| child.as_str() > after)
                && let Ok(name) = child.parse()
            {
                match entry.metadata() {
                    Ok(metadata) => {
                        found.push(StoredObject { name, bytes: metadata.len(), created_ms: created_ms(&metadata) })
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Opens the file of an object and returns its size.
fn open(path: &Path) -> Result<(File, u64), Failure> {
    let failed = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound { Failure::missing() } else { Failure::local(path, error) }
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    Ok((file, size))
}

/// Links a temporary file to its final name, and creates the folders of that name.
fn link(temporary: &Path, path: &Path) -> io::Result<PutOutcome> {
    // A folder may be removed by the deletion of its last object in between.
    for _ in 0..LINK_ATTEMPTS_MAX {
        fs::create_dir_all(parent_of(path))?;
        match fs::hard_link(temporary, path) {
            Ok(()) => return Ok(PutOutcome::Created),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // NFS may report this for a link that was created by a request whose answer was lost.
                let linked = fs::metadata(temporary)?.nlink() == 2;
                return Ok(if linked { PutOutcome::Created } else { PutOutcome::Exists });
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn created_ms(metadata: &fs::Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

/// Removes temporary files that a killed server left.
fn remove_old(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let age = entry.metadata().ok().and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age > TEMPORARY_AGE_MAX)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!(%error, path = %entry.path().display(), "cannot remove a temporary file");
        }
    }
}
