//! Wake-ups for the follower of a file: file system notifications for its folder, and a slow poll
//! for changes that the system does not report (network file systems, a full queue, no watch left).
//!
//! All followers of a process share one watcher, because the number of watchers per user is
//! limited.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::file::FileIdentity;

/// Wakes the follower of one file.
#[derive(Debug)]
pub(super) struct FileWatch {
    path: PathBuf,
    /// Holds at most one permit, so a thousand changes are one wake-up and nothing can overflow.
    wake: Arc<Notify>,
    targets: Vec<WatchTarget>,
    subscriptions: Vec<WatchSubscription>,
}

/// A folder to watch, and a file name in it: the path's own, and the one a symbolic link points to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WatchTarget {
    folder: PathBuf,
    identity: FileIdentity,
    name: OsString,
}

impl FileWatch {
    pub(super) fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut watch = Self { path, wake: Arc::default(), targets: Vec::new(), subscriptions: Vec::new() };
        watch.refresh();
        watch
    }

    /// Waits for a change, but no longer than `poll`.
    pub(super) async fn changed(&mut self, poll: Duration) {
        if timeout(poll, self.wake.notified()).await.is_err() {
            self.refresh();
        }
    }

    /// Updates the subscriptions: a folder may have been created, or a link may point elsewhere.
    pub(super) fn refresh(&mut self) {
        let targets = self.current_targets();
        if targets == self.targets && self.subscriptions.len() == targets.len() {
            return;
        }
        self.subscriptions = targets.iter().filter_map(|target| WatchSubscription::new(target, &self.wake)).collect();
        self.targets = targets;
        // Covers changes before the watch was active.
        self.wake.notify_one();
    }

    fn current_targets(&self) -> Vec<WatchTarget> {
        let target_of = |path: &Path| {
            let folder = folder_of(path);
            let identity = FileIdentity::of(&std::fs::metadata(&folder).ok()?);
            Some(WatchTarget { folder, identity, name: path.file_name()?.to_owned() })
        };
        let mut targets: Vec<WatchTarget> = target_of(&self.path).into_iter().collect();
        let link = std::fs::canonicalize(&self.path).ok().and_then(|path| target_of(&path));
        targets.extend(link.filter(|link| {
            targets.iter().all(|target| (target.identity, &target.name) != (link.identity, &link.name))
        }));
        targets
    }
}

/// Returns the folder that contains a path.
pub(in crate::events) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A registration in the hub, removed on drop.
#[derive(Debug)]
struct WatchSubscription {
    hub: &'static WatchHub,
    folder: PathBuf,
    number: u64,
}

impl WatchSubscription {
    fn new(target: &WatchTarget, wake: &Arc<Notify>) -> Option<Self> {
        let hub = WatchHub::get()?;
        let number = hub.add(target, wake)?;
        Some(Self { hub, folder: target.folder.clone(), number })
    }
}

impl Drop for WatchSubscription {
    fn drop(&mut self) {
        self.hub.remove(&self.folder, self.number);
    }
}

/// The shared watcher. Lock order: `watcher`, then `table`; the watcher's thread locks only the
/// table.
#[derive(Debug)]
struct WatchHub {
    watcher: Mutex<WatcherState>,
    table: Arc<Mutex<FolderTable>>,
}

#[derive(Debug)]
struct WatcherState {
    watcher: RecommendedWatcher,
    next_number: u64,
}

type FolderTable = HashMap<PathBuf, WatchedFolder>;

#[derive(Debug)]
struct WatchedFolder {
    identity: FileIdentity,
    listeners: Vec<(u64, OsString, Arc<Notify>)>,
}

impl WatchHub {
    fn get() -> Option<&'static WatchHub> {
        static HUB: OnceLock<Option<WatchHub>> = OnceLock::new();
        HUB.get_or_init(|| {
            Self::start().inspect_err(|error| tracing::warn!(%error, "no file watcher, polling files instead")).ok()
        })
        .as_ref()
    }

    fn start() -> notify::Result<Self> {
        let table = Arc::new(Mutex::new(FolderTable::new()));
        let reported = Arc::clone(&table);
        let watcher =
            notify::recommended_watcher(move |event: notify::Result<Event>| wake(&reported.lock(), event.ok()))?;
        Ok(Self { watcher: Mutex::new(WatcherState { watcher, next_number: 0 }), table })
    }

    /// Registers a listener. Returns `None` if the folder cannot be watched.
    fn add(&self, target: &WatchTarget, wake: &Arc<Notify>) -> Option<u64> {
        let mut state = self.watcher.lock();
        let watched = self.table.lock().get(&target.folder).map(|folder| folder.identity);
        if watched != Some(target.identity) {
            if watched.is_some() {
                // The folder was replaced by another of the same name.
                state.watcher.unwatch(&target.folder).ok();
            }
            let watch = state.watcher.watch(&target.folder, RecursiveMode::NonRecursive);
            watch.inspect_err(|error| tracing::debug!(%error, "cannot watch a folder, polling it instead")).ok()?;
        }
        state.next_number += 1;
        let number = state.next_number;
        let mut table = self.table.lock();
        let folder = table.entry(target.folder.clone());
        let folder = folder.or_insert_with(|| WatchedFolder { identity: target.identity, listeners: Vec::new() });
        folder.identity = target.identity;
        folder.listeners.push((number, target.name.clone(), Arc::clone(wake)));
        Some(number)
    }

    fn remove(&self, path: &Path, number: u64) {
        let mut state = self.watcher.lock();
        let mut table = self.table.lock();
        let Some(folder) = table.get_mut(path) else { return };
        folder.listeners.retain(|(listener, ..)| *listener != number);
        if folder.listeners.is_empty() {
            table.remove(path);
            drop(table);
            // The watch may already be removed, along with its folder.
            state.watcher.unwatch(path).ok();
        }
    }
}

/// Wakes the listeners of the files an event names, or all listeners if it names none.
fn wake(table: &FolderTable, event: Option<Event>) {
    let event = event.filter(|event| !event.need_rescan() && !event.paths.is_empty());
    let Some(event) = event else {
        table.values().flat_map(|folder| &folder.listeners).for_each(|(.., wake)| wake.notify_one());
        return;
    };
    if matches!(event.kind, EventKind::Access(_)) {
        return;
    }
    for path in &event.paths {
        let Some(folder) = path.parent().and_then(|folder| table.get(folder)) else { continue };
        let touched = path.file_name().unwrap_or_else(|| OsStr::new(""));
        let touched = folder.listeners.iter().filter(|(_, name, _)| name == touched);
        touched.for_each(|(.., wake)| wake.notify_one());
    }
}
