//! The store that several servers share, and the folder with this server's copy of it.

mod secrets;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use self::secrets::SharedSecrets;
use super::options::{ServeError, ServeOptions};
use crate::auth::session::BrowserSessions;
use crate::home::{Engine, EngineOptions, HomeOptions};
use crate::tasks::{SharedStore, create_folder};
use crate::wire::worker::RetainLimits;

/// Lines of a stream beyond the live window from which appends wait for the archive. Above the lines of a segment.
const STREAM_LINES_BEYOND: u64 = 20_000;
/// What workers keep of the acknowledged lines: a failover of Redis may lose the last ones.
pub(crate) const RETAIN: RetainLimits = RetainLimits { lines: 10_000, bytes: 8 * 1024 * 1024 };
/// Beginning of the names of folders with copies.
const COPY_PREFIX: &str = "copy-";
/// Name of the file in such a folder that a server locks while it uses the folder.
const LOCK_FILE: &str = "lock";

/// The shared store, as opened by this server.
#[derive(Debug)]
pub(crate) struct SharedHome {
    /// The store.
    pub(crate) store: SharedStore,
    /// Tokens, sessions and the key of links, until they are kept the same.
    secrets: Mutex<Option<SharedSecrets>>,
    /// The copy of this server, deleted with it.
    copy: TempDir,
    /// Locked while the copy is in use.
    _lock: File,
}

impl SharedHome {
    /// Connects to the store, checks that it can be used, and creates the folder of the copy.
    pub(super) async fn open(options: &ServeOptions, home: &HomeOptions) -> Result<Self, ServeError> {
        let unusable = |reason: String| ServeError::Home { reason };
        let server = Ulid::generate().to_string();
        let engine_options = EngineOptions {
            stream_lines_max: options.limits.live_window_lines.saturating_add(STREAM_LINES_BEYOND),
            ..home.engine_options(&server)
        };
        let engine =
            Engine::connect(&home.journal, engine_options).await.map_err(|error| unusable(error.to_string()))?;
        for warning in &engine.durability().warnings {
            tracing::warn!("{warning}");
        }
        let objects = home.open_archive().map_err(|error| unusable(error.to_string()))?;
        let check = objects.check_writable().await.map_err(|error| unusable(error.to_string()))?;
        if !check.conditional_put {
            tracing::warn!(
                archive = %objects,
                "the object store ignores If-None-Match: two servers that seal the same log may both write its objects"
            );
        }
        let data = options.data.clone();
        let folder = create_copy(&data).map_err(|source| ServeError::DataFolder { data, source });
        let (copy, lock) = folder?;
        let secrets = SharedSecrets::open(engine.clone(), &options.data).await;
        let secrets = Mutex::new(Some(secrets.map_err(|error| unusable(error.to_string()))?));
        Ok(Self { store: SharedStore::new(engine, objects), secrets, copy, _lock: lock })
    }

    /// Keeps tokens, sessions and the key of links the same on all servers until `shutdown`.
    pub(super) async fn share_secrets(&self, sessions: &BrowserSessions, shutdown: &CancellationToken) {
        let secrets = self.secrets.lock().take();
        if let Some(secrets) = secrets {
            secrets.run(sessions, shutdown).await;
        }
    }

    /// Returns the folder of the copy.
    pub(super) fn folder(&self) -> &Path {
        self.copy.path()
    }
}

/// Creates a locked folder for a copy, and removes those of servers that were killed.
fn create_copy(data: &Path) -> io::Result<(TempDir, File)> {
    create_folder(data)?;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(COPY_PREFIX) && !is_in_use(&entry.path()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let copy = tempfile::Builder::new().prefix(COPY_PREFIX).tempdir_in(data)?;
    let lock = File::create(lock_file(copy.path()))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok((copy, lock))
}

fn is_in_use(copy: &Path) -> bool {
    // Without the file the folder is being created or removed; a new one is younger than its lock.
    let Ok(lock) = File::open(lock_file(copy)) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn lock_file(copy: &Path) -> PathBuf {
    copy.join(LOCK_FILE)
}
