//! The settings of a shared store.

use std::path::PathBuf;

use super::{AwsEnvironment, EngineOptions, JournalUrl, ObjectError, ObjectOptions, ObjectStore, StoreUrl};

/// A store that several servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeOptions {
    /// Redis or Valkey with the tasks and their live lines.
    pub journal: JournalUrl,
    /// Replicas that must confirm a write; `None` for one if there is a replica.
    pub journal_acks: Option<u32>,
    /// Certificates of the authorities to trust for Redis, besides those of the system.
    pub journal_ca_file: Option<PathBuf>,
    /// Start although the settings of Redis cannot be read or are not safe.
    pub journal_trust: bool,
    /// The object store with the archives.
    pub archive: StoreUrl,
    /// Address of the S3 service; `None` for that of AWS.
    pub archive_endpoint: Option<String>,
    /// Certificates of the authorities to trust for the object store, besides those of the system.
    pub archive_ca_file: Option<PathBuf>,
    /// Region of the bucket; `None` for that of the environment.
    pub archive_region: Option<String>,
}

impl HomeOptions {
    /// Returns the options of the engine for a server of this name.
    pub fn engine_options(&self, server: &str) -> EngineOptions {
        EngineOptions {
            acks: self.journal_acks,
            ca_file: self.journal_ca_file.clone(),
            trust: self.journal_trust,
            ..EngineOptions::new(server)
        }
    }

    /// Opens the object store, with the credentials of this process.
    ///
    /// # Errors
    /// As [`open_archive`].
    pub fn open_archive(&self) -> Result<ObjectStore, ObjectError> {
        let (endpoint, region) = (self.archive_endpoint.clone(), self.archive_region.clone());
        open_archive(&self.archive, endpoint, region, self.archive_ca_file.clone())
    }
}

/// Opens an object store, with the credentials of this process.
///
/// # Errors
/// As [`ObjectStore::open`].
pub fn open_archive(
    archive: &StoreUrl,
    endpoint: Option<String>,
    region: Option<String>,
    ca_file: Option<PathBuf>,
) -> Result<ObjectStore, ObjectError> {
    let environment = AwsEnvironment::of_process();
    let options = ObjectOptions { endpoint, region, ca_file, environment, ..ObjectOptions::default() };
    ObjectStore::open(&archive.to_string(), options)
}
