//! The settings of a shared store.

use std::path::PathBuf;

use super::{JournalUrl, StoreUrl};

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
