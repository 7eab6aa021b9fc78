//! The runs folder: events of `RUN/events.jsonl` are appended to the run `RUN` as the file grows.
//!
//! Each file is read from its start and then followed. Events stored before are recognized by their ids, so a
//! restart adds no duplicates. New runs are detected by file notifications, with slow polling as a fallback.
//! The folder may be created later. At most [`FOLLOWED_MAX`] files are followed at a time: idle files are
//! released for others and followed again when they change.

mod file;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Runs;
use crate::model::{RunId, limits};
use file::{FollowedFile, IdleSince};

/// Maximum files followed at the same time.
const FOLLOWED_MAX: usize = 256;
/// Idle time after which a file may be released for another. Longer than the polling interval of its follower,
/// so that everything written before has been read.
const IDLE_MIN: Duration = Duration::from_secs(3);
/// Minimum interval between two scans of the folder.
const SCAN_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Maximum invalid names that are logged one by one.
const LOGGED_NAMES_MAX: usize = 10_000;
/// Name of the events file in a run's folder.
const EVENTS_FILE: &str = "events.jsonl";

/// Size and modification time of a file; `None` if it does not exist.
type RunFileStamp = Option<(u64, SystemTime)>;

/// The runs folder and the state of its files.
struct RunsFolder {
    path: PathBuf,
    runs: Runs,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    following: HashMap<RunId, FollowedFile>,
    /// Stamps of released files at the time of their release.
    released: HashMap<RunId, RunFileStamp>,
    /// Invalid names that were logged.
    logged_names: HashSet<String>,
    /// Set once an error of the folder was logged, until it can be read again.
    error_logged: bool,
}

/// The entries found by one scan of the folder.
struct FolderListing {
    runs: Vec<(RunId, RunFileStamp)>,
    invalid_names: Vec<String>,
}

impl Runs {
    /// Appends the events of a runs folder to their runs, until shutdown.
    pub async fn bridge_folder(&self, path: PathBuf, shutdown: CancellationToken, tracker: TaskTracker) {
        let mut folder = RunsFolder {
            path: std::path::absolute(&path).unwrap_or(path),
            runs: self.clone(),
            shutdown: shutdown.clone(),
            tracker,
            following: HashMap::new(),
            released: HashMap::new(),
            logged_names: HashSet::new(),
            error_logged: false,
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = folder.run() => {}
        }
    }
}

impl RunsFolder {
    async fn run(&mut self) {
        let changed = Arc::new(Notify::new());
        let mut watch: Option<RecommendedWatcher> = None;
        loop {
            // Watched before it is listed, so that no change is missed.
            if watch.is_none() {
                watch = self.watch(&changed);
            }
            let path = self.path.clone();
            let listed = tokio::task::spawn_blocking(move || list(&path)).await.unwrap_or_else(|e| Err(e.into()));
            match listed {
                Ok(listing) => self.apply(listing),
                Err(error) => {
                    self.log_error(&error);
                    watch = None;
                }
            }
            sleep(SCAN_INTERVAL_MIN).await;
            // On a timeout the folder is polled.
            timeout(limits::FILE_POLL, changed.notified()).await.ok();
        }
    }

    fn watch(&self, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
        let wake = changed.clone();
        let watcher = notify::recommended_watcher(move |_| wake.notify_one());
        let watched = watcher.and_then(|mut watcher| {
            watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        watched.inspect_err(|error| tracing::debug!(%error, "cannot watch the runs folder; polling only")).ok()
    }

    fn log_error(&mut self, error: &io::Error) {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let problem = if missing { "does not exist yet; waiting for it" } else { "cannot be read; will retry" };
        let text = format!("runs folder {} {problem}: {error}", self.path.display());
        if !missing {
            self.runs.meters().runs_folder.failed(&text);
        }
        if !std::mem::replace(&mut self.error_logged, true) {
            tracing::warn!("{text}");
        }
    }

    /// Follows new and changed files.
    fn apply(&mut self, listing: FolderListing) {
        self.error_logged = false;
        for name in listing.invalid_names {
            if self.logged_names.len() < LOGGED_NAMES_MAX && self.logged_names.insert(name.clone()) {
                let text = format!("{}: the name is not a valid run id", self.path.join(&name).display());
                self.runs.meters().runs_folder.rejected("bad_run_id", &text);
                tracing::warn!("{text}");
            }
        }
        self.following.retain(|_, file| !file.is_stopped());
        let known = |(run, stamp): &(RunId, RunFileStamp)| {
            self.following.contains_key(run) || self.released.get(run).is_some_and(|released| released == stamp)
        };
        let mut new: Vec<(RunId, RunFileStamp)> = listing.runs.into_iter().filter(|run| !known(run)).collect();
        // The most recently written runs come first: they are the ones being watched.
        new.sort_by_key(|(_, stamp)| std::cmp::Reverse(stamp.map(|(_, modified)| modified)));
        for (run, stamp) in new {
            if self.following.len() >= FOLLOWED_MAX && !self.release_idlest() {
                return;
            }
            // Runs without a file are followed only while half of the slots are free.
            if stamp.is_none() && self.following.len() >= FOLLOWED_MAX / 2 {
                continue;
            }
            self.released.remove(&run);
            let path = self.path.join(run.as_str()).join(EVENTS_FILE);
            let file =
                FollowedFile::start(&self.tracker, self.runs.get_or_new(&run), path, self.shutdown.child_token());
            self.following.insert(run, file);
        }
    }

    /// Releases the file that has been idle for longest. Returns false if none is idle for long enough.
    fn release_idlest(&mut self) -> bool {
        let now = Instant::now();
        let idle = self.following.iter().filter_map(|(run, file)| Some((run, file.idle_since()?)));
        let idle = idle.filter(|(_, IdleSince { since, .. })| now.duration_since(*since) >= IDLE_MIN);
        let idlest = idle.min_by_key(|(_, IdleSince { since, .. })| *since);
        let Some((run, IdleSince { stamp, .. })) = idlest.map(|(run, idle)| (run.clone(), idle)) else { return false };
        if let Some(file) = self.following.remove(&run) {
            file.stop();
        }
        self.released.insert(run, stamp);
        true
    }
}

/// Lists the folder.
fn list(path: &Path) -> io::Result<FolderListing> {
    let mut listing = FolderListing { runs: Vec::new(), invalid_names: Vec::new() };
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // A link to a folder counts as a folder.
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.parse::<RunId>() {
            Ok(run) => listing.runs.push((run, stamp(&entry.path().join(EVENTS_FILE)))),
            Err(_) => listing.invalid_names.push(name),
        }
    }
    Ok(listing)
}

/// Returns the stamp of a file.
fn stamp(path: &Path) -> RunFileStamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
}
