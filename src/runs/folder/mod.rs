//! A folder of runs, bridged as it grows: the events of `RUN/events.jsonl` belong to the run `RUN`.
//!
//! Each file is read from its begin and then followed; what was there already is known by its id, so
//! a restart doubles nothing. A new run is found by itself: the system tells of it, and a slow look is
//! the net. The folder may come later. At most [`FOLLOWED_MAX`] files are followed at a time: those in
//! which nothing happens are let go for others, and taken up again when they change.

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
use file::{Follow, Quiet};

/// Files that are followed at the same time.
const FOLLOWED_MAX: usize = 256;
/// A file in which nothing has happened for this long may be let go for another. Longer than the
/// net of its follower is slow: what was written while it was looked at last has been seen by then.
const QUIET_MIN: Duration = Duration::from_secs(3);
/// Between two looks at the folder at least, however much happens in it.
const PACE: Duration = Duration::from_millis(50);
/// Names that are no run's, told of one by one.
const TOLD_MAX: usize = 10_000;
/// The file of a run.
const EVENTS_FILE: &str = "events.jsonl";

/// How a file looked.
type Stamp = Option<(u64, SystemTime)>;

/// The folder and what is known of its files.
struct Folder {
    path: PathBuf,
    runs: Runs,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    following: HashMap<RunId, Follow>,
    /// Files that were let go, as they looked then.
    quiet: HashMap<RunId, Stamp>,
    /// Names that are no run's, and were told of.
    told: HashSet<String>,
    told_missing: bool,
}

/// What one look gave.
struct Listed {
    runs: Vec<(RunId, Stamp)>,
    strange: Vec<String>,
}

impl Runs {
    /// Bridges a folder of runs, until the server ends.
    pub async fn bridge_folder(&self, path: PathBuf, shutdown: CancellationToken, tracker: TaskTracker) {
        let mut folder = Folder {
            path: std::path::absolute(&path).unwrap_or(path),
            runs: self.clone(),
            shutdown: shutdown.clone(),
            tracker,
            following: HashMap::new(),
            quiet: HashMap::new(),
            told: HashSet::new(),
            told_missing: false,
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = folder.keep() => {}
        }
    }
}

impl Folder {
    async fn keep(&mut self) {
        let changed = Arc::new(Notify::new());
        let mut watch: Option<RecommendedWatcher> = None;
        loop {
            // First the watch, then the look: what comes between is seen.
            if watch.is_none() {
                watch = self.watch(&changed);
            }
            let path = self.path.clone();
            let listed = tokio::task::spawn_blocking(move || list(&path)).await.unwrap_or_else(|e| Err(e.into()));
            match listed {
                Ok(listed) => self.take(listed),
                Err(error) => {
                    self.fault(&error);
                    watch = None;
                }
            }
            sleep(PACE).await;
            // An error is the time's end: then it is looked at all the same.
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
        watched.inspect_err(|error| tracing::debug!(%error, "the folder of runs is only polled")).ok()
    }

    fn fault(&mut self, error: &io::Error) {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let what = if missing { "is not there yet, it is waited for" } else { "cannot be read, it is tried again" };
        let text = format!("the folder of runs {} {what}: {error}", self.path.display());
        if !missing {
            self.runs.meters().runs_folder.failed(&text);
        }
        if !std::mem::replace(&mut self.told_missing, true) {
            tracing::warn!("{text}");
        }
    }

    fn take(&mut self, listed: Listed) {
        self.told_missing = false;
        for name in listed.strange {
            if self.told.len() < TOLD_MAX && self.told.insert(name.clone()) {
                let text = format!("{}: its name cannot be a run's id", self.path.join(&name).display());
                self.runs.meters().runs_folder.rejected("bad_run_id", &text);
                tracing::warn!("{text}");
            }
        }
        self.following.retain(|_, follow| !follow.is_over());
        let known = |(run, stamp): &(RunId, Stamp)| {
            self.following.contains_key(run) || self.quiet.get(run).is_some_and(|quiet| quiet == stamp)
        };
        let mut new: Vec<(RunId, Stamp)> = listed.runs.into_iter().filter(|run| !known(run)).collect();
        // What was written last is what somebody waits for.
        new.sort_by_key(|(_, stamp)| std::cmp::Reverse(stamp.map(|(_, modified)| modified)));
        for (run, stamp) in new {
            if self.following.len() >= FOLLOWED_MAX && !self.let_one_go() {
                return;
            }
            // A run without a file is worth a look only while there is room for it.
            if stamp.is_none() && self.following.len() >= FOLLOWED_MAX / 2 {
                continue;
            }
            self.quiet.remove(&run);
            let path = self.path.join(run.as_str()).join(EVENTS_FILE);
            let follow = Follow::begin(&self.tracker, self.runs.get_or_new(&run), path, self.shutdown.child_token());
            self.following.insert(run, follow);
        }
    }

    /// Lets the file go in which nothing has happened for longest.
    fn let_one_go(&mut self) -> bool {
        let now = Instant::now();
        let quiet = self.following.iter().filter_map(|(run, follow)| Some((run, follow.quiet()?)));
        let quiet = quiet.filter(|(_, Quiet { since, .. })| now.duration_since(*since) >= QUIET_MIN);
        let oldest = quiet.min_by_key(|(_, Quiet { since, .. })| *since);
        let Some((run, Quiet { stamp, .. })) = oldest.map(|(run, quiet)| (run.clone(), quiet)) else { return false };
        if let Some(follow) = self.following.remove(&run) {
            follow.end();
        }
        self.quiet.insert(run, stamp);
        true
    }
}

/// What is in the folder now.
fn list(path: &Path) -> io::Result<Listed> {
    let mut listed = Listed { runs: Vec::new(), strange: Vec::new() };
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // A link to a folder counts as one.
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.parse::<RunId>() {
            Ok(run) => listed.runs.push((run, stamp(&entry.path().join(EVENTS_FILE)))),
            Err(_) => listed.strange.push(name),
        }
    }
    Ok(listed)
}

/// How a file looks; none if it is not there.
fn stamp(path: &Path) -> Stamp {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.len(), facts.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
}
