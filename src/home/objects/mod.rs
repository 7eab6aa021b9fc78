//! The object store of archives: S3 or a folder, with few operations, each bounded in time and memory.
//!
//! An object is written once, under a name that is never used again, and appears complete or not at all.
//! [`ObjectStore::put_new`] reports which of several writers created it, also if the answer to the request that
//! created it was lost: S3 objects carry the id of their write as metadata (`x-amz-meta-write`), which is read
//! when the store reports an existing object.
//!
//! Requests are repeated with pauses up to [`ObjectLimits::attempts_max`] times; every attempt has a timeout.
//! Errors name the object, the store and the remedy.
//!
//! Not here: what an object contains, and which objects are obsolete.

mod counters;
mod error;
mod folder;
mod name;
mod options;
mod s3;
mod url;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use counters::{ObjectCounters, ObjectCounts};
pub use error::{ObjectError, ObjectErrorKind};
pub use name::{BadObjectName, ObjectName, ObjectPrefix};
pub use options::{ObjectLimits, ObjectOptions};
pub use s3::AwsEnvironment;
pub use url::{BadStoreUrl, StoreUrl};

use error::Failure;
use folder::FolderStore;
use s3::S3Store;

/// Maximum number of objects in one call of [`ObjectStore::list`].
pub const LIST_OBJECTS_MAX: usize = 1000;

/// A handle of a store; clones share connections and limits.
#[derive(Clone, Debug)]
pub struct ObjectStore(Arc<Backend>);

#[derive(Debug)]
enum Backend {
    S3(S3Store),
    Folder(FolderStore),
}

/// The result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// This call created the object.
    Created,
    /// The object existed and was not changed.
    Exists,
}

/// An object, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its name.
    pub name: ObjectName,
    /// Its size in bytes.
    pub bytes: u64,
    /// Time of its creation in milliseconds since 1970, by the store's clock.
    pub created_ms: u64,
}

/// Properties of a store that [`ObjectStore::check_writable`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteCheck {
    /// The store refuses to replace an object if asked to. Without this a second write of a name replaces the first.
    pub conditional_put: bool,
}

impl ObjectStore {
    /// Opens the store at an address. Connects with the first operation; see [`ObjectStore::check_writable`].
    ///
    /// # Errors
    /// The address or a setting is invalid, the folder cannot be created, or there are no credentials.
    pub fn open(address: &str, options: ObjectOptions) -> Result<Self, ObjectError> {
        let url: StoreUrl = address.parse().map_err(|error: BadStoreUrl| {
            // The address is not repeated: it may contain a password.
            let failure = Failure::with(ObjectErrorKind::Settings, error.to_string(), "correct the setting `archive`");
            ObjectError::new("open", "the store", "the setting `archive`", failure)
        })?;
        let backend = match url {
            StoreUrl::S3 { bucket, prefix } => Backend::S3(S3Store::open(&bucket, prefix, options)?),
            StoreUrl::Folder(root) => Backend::Folder(FolderStore::open(root, options.limits)?),
        };
        Ok(Self(Arc::new(backend)))
    }

    /// Writes, reads, lists and deletes a small object.
    ///
    /// # Errors
    /// The first of these operations that fails, or another content than written.
    pub async fn check_writable(&self) -> Result<WriteCheck, ObjectError> {
        let name = ObjectName::Probe { nonce: self.nonce()? };
        let content = Bytes::from(name.to_string());
        self.put_new(&name, content.clone()).await?;
        let conditional_put = self.put_new(&name, content.clone()).await? == PutOutcome::Exists;
        let read = self.get(&name).await?;
        let listed = self.list(&ObjectPrefix::Probes, None, LIST_OBJECTS_MAX).await?;
        self.delete(&name).await?;
        // More probes than fit into one list can only be left by many killed servers.
        let is_listed = listed.len() == LIST_OBJECTS_MAX || listed.iter().any(|object| object.name == name);
        if read != content || !is_listed {
            let why = "an object that was written is not read or listed with the same content";
            let remedy = "use a store with read-after-write consistency, as S3 has";
            let failure = Failure::with(ObjectErrorKind::Unusable, why, remedy);
            return Err(ObjectError::new("check", &name, self, failure));
        }
        Ok(WriteCheck { conditional_put })
    }

    /// Creates an object unless one of this name exists.
    ///
    /// # Errors
    /// See [`ObjectErrorKind`]. After [`ObjectErrorKind::Unavailable`] the object may exist, complete.
    pub async fn put_new(&self, name: &ObjectName, content: Bytes) -> Result<PutOutcome, ObjectError> {
        match &*self.0 {
            Backend::S3(store) => store.put_new(name, content).await,
            Backend::Folder(store) => store.put_new(name, content).await,
        }
    }

    /// Creates an object with the contents of a file, which must not change meanwhile, unless one of this
    /// name exists. Large files are sent in parts.
    ///
    /// # Errors
    /// As [`ObjectStore::put_new`], and [`ObjectErrorKind::Local`] if the file cannot be read.
    pub async fn put_file_new(&self, name: &ObjectName, file: &Path) -> Result<PutOutcome, ObjectError> {
        match &*self.0 {
            Backend::S3(store) => store.put_file_new(name, file).await,
            Backend::Folder(store) => store.put_file_new(name, file).await,
        }
    }

    /// Returns the size of an object in bytes.
    ///
    /// # Errors
    /// See [`ObjectErrorKind`].
    pub async fn size(&self, name: &ObjectName) -> Result<u64, ObjectError> {
        match &*self.0 {
            Backend::S3(store) => store.size(name).await,
            Backend::Folder(store) => store.size(name).await,
        }
    }

    /// Returns the content of an object of at most [`ObjectLimits::get_bytes_max`].
    ///
    /// # Errors
    /// See [`ObjectErrorKind`]; [`ObjectErrorKind::Unusable`] for a larger object.
    pub async fn get(&self, name: &ObjectName) -> Result<Bytes, ObjectError> {
        match &*self.0 {
            Backend::S3(store) => store.get(name).await,
            Backend::Folder(store) => store.get(name).await,
        }
    }

    /// Returns a range of the bytes of an object, exactly as long as asked for.
    ///
    /// # Errors
    /// As [`ObjectStore::get`]; [`ObjectErrorKind::Unusable`] if the object ends before the range does.
    pub async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, ObjectError> {
        match &*self.0 {
            Backend::S3(store) => store.get_range(name, range).await,
            Backend::Folder(store) => store.get_range(name, range).await,
        }
    }

    /// Writes the content of an object to a file and returns its size. The file appears complete or not at all,
    /// and replaces an existing one. It is not synced to the disk.
    ///
    /// # Errors
    /// As [`ObjectStore::get`], and [`ObjectErrorKind::Local`] if the file cannot be written.
    pub async fn get_to_file(&self, name: &ObjectName, file: &Path) -> Result<u64, ObjectError> {
        match &*self.0 {
            Backend::S3(store) => store.get_to_file(name, file).await,
            Backend::Folder(store) => store.get_to_file(name, file).await,
        }
    }

    /// Lists at most `limit` objects (and at most [`LIST_OBJECTS_MAX`]) whose names follow `after`, in the order
    /// of the bytes of their names. Fewer than `limit` are the last ones. Objects with other names are left out.
    ///
    /// # Errors
    /// See [`ObjectErrorKind`].
    pub async fn list(
        &self,
        prefix: &ObjectPrefix,
        after: Option<&ObjectName>,
        limit: usize,
    ) -> Result<Vec<StoredObject>, ObjectError> {
        let limit = limit.min(LIST_OBJECTS_MAX);
        match &*self.0 {
            Backend::S3(store) => store.list(prefix, after, limit).await,
            Backend::Folder(store) => store.list(prefix, after, limit).await,
        }
    }

    /// Deletes an object; it may be missing.
    ///
    /// # Errors
    /// See [`ObjectErrorKind`].
    pub async fn delete(&self, name: &ObjectName) -> Result<(), ObjectError> {
        match &*self.0 {
            Backend::S3(store) => store.delete(name).await,
            Backend::Folder(store) => store.delete(name).await,
        }
    }

    /// Deletes all objects under a prefix and returns their number.
    ///
    /// # Errors
    /// See [`ObjectErrorKind`]; some objects may be deleted then.
    pub async fn delete_prefix(&self, prefix: &ObjectPrefix) -> Result<u64, ObjectError> {
        let mut deleted = 0;
        let mut after = None;
        loop {
            let page = self.list(prefix, after.as_ref(), LIST_OBJECTS_MAX).await?;
            for object in &page {
                self.delete(&object.name).await?;
                deleted += 1;
            }
            if page.len() < LIST_OBJECTS_MAX {
                return Ok(deleted);
            }
            after = page.into_iter().last().map(|object| object.name);
        }
    }

    /// Returns the counters.
    pub fn counts(&self) -> ObjectCounts {
        match &*self.0 {
            Backend::S3(store) => store.counters().counts(),
            Backend::Folder(store) => store.counters().counts(),
        }
    }

    fn nonce(&self) -> Result<u64, ObjectError> {
        random_u64().map_err(|failure| ObjectError::new("check", "the store", self, failure))
    }
}

impl fmt::Display for ObjectStore {
    /// Formats the address, with the endpoint for S3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Backend::S3(store) => store.fmt(f),
            Backend::Folder(store) => store.fmt(f),
        }
    }
}

fn random_u64() -> Result<u64, Failure> {
    getrandom::u64().map_err(|error| {
        let why = format!("no random numbers: {error}");
        Failure::with(ObjectErrorKind::Local, why, "check that this system provides getrandom")
    })
}

/// The error of a range that is longer than the object or the limit.
fn bad_range(range: &Range<u64>, limit: u64) -> Failure {
    let why = format!("bytes {}..{} are outside it, or more than the limit of {limit} bytes", range.start, range.end);
    Failure::with(ObjectErrorKind::Unusable, why, "the object is not the one that was written; run verify")
}

/// The error of an object that is too large for memory.
fn too_large(size: u64, limit: u64) -> Failure {
    let why = format!("it has {size} bytes, and the limit is {limit}");
    Failure::with(ObjectErrorKind::Unusable, why, "read it with get_to_file or in ranges")
}
