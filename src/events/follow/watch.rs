//! When to look at a file again: the system tells of changes in its folder, and a slow poll is the
//! net for what it does not tell (network file systems, a full queue, no watch left).
//!
//! All followers of a process share one watcher: the system gives out few.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::source::FileIdentity;

/// Wakes the follower of one file.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    /// Holds one permit at most, so a thousand changes are one wake-up; nothing can overflow.
    wake: Arc<Notify>,
    places: Vec<Place>,
    subscriptions: Vec<Subscription>,
}

/// Where a change would show: the folder of the name, and that of the file behind a link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    folder: PathBuf,
    identity: FileIdentity,
    name: OsString,
}

impl Watch {
    pub(super) fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut watch = Self { path, wake: Arc::default(), places: Vec::new(), subscriptions: Vec::new() };
        watch.refresh();
        watch
    }

    /// Waits for a change, at most `poll`.
    pub(super) async fn changed(&mut self, poll: Duration) {
        if timeout(poll, self.wake.notified()).await.is_err() {
            self.refresh();
        }
    }

    /// Looks whether the folders are still the ones that are watched: they may have come, or a link
    /// may lead elsewhere now.
    pub(super) fn refresh(&mut self) {
        let places = self.wanted();
        if places == self.places && self.subscriptions.len() == places.len() {
            return;
        }
        self.subscriptions = places.iter().filter_map(|place| Subscription::new(place, &self.wake)).collect();
        self.places = places;
        // What happened before the watch was there.
        self.wake.notify_one();
    }

    fn wanted(&self) -> Vec<Place> {
        let place = |path: &Path| {
            let folder = folder_of(path);
            let identity = FileIdentity::of(&std::fs::metadata(&folder).ok()?);
            Some(Place { folder, identity, name: path.file_name()?.to_owned() })
        };
        let mut places: Vec<Place> = place(&self.path).into_iter().collect();
        let behind = std::fs::canonicalize(&self.path).ok().and_then(|target| place(&target));
        places.extend(
            behind.filter(|behind| places.iter().all(|p| (p.identity, &p.name) != (behind.identity, &behind.name))),
        );
        places
    }
}

/// The folder that holds a name.
pub(in crate::events) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A place in the table of the hub, as long as it lives.
#[derive(Debug)]
struct Subscription {
    hub: &'static Hub,
    folder: PathBuf,
    number: u64,
}

impl Subscription {
    fn new(place: &Place, wake: &Arc<Notify>) -> Option<Self> {
        let hub = Hub::get()?;
        let number = hub.add(place, wake)?;
        Some(Self { hub, folder: place.folder.clone(), number })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.remove(&self.folder, self.number);
    }
}

/// The one watcher. Lock order: `watcher`, then `table`; the watcher's thread takes only the table.
#[derive(Debug)]
struct Hub {
    watcher: Mutex<Adding>,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Adding {
    watcher: RecommendedWatcher,
    next_number: u64,
}

type Table = HashMap<PathBuf, Folder>;

#[derive(Debug)]
struct Folder {
    identity: FileIdentity,
    listeners: Vec<(u64, OsString, Arc<Notify>)>,
}

impl Hub {
    fn get() -> Option<&'static Hub> {
        static HUB: OnceLock<Option<Hub>> = OnceLock::new();
        HUB.get_or_init(|| Self::start().inspect_err(|error| tracing::warn!(%error, "files are polled")).ok()).as_ref()
    }

    fn start() -> notify::Result<Self> {
        let table = Arc::new(Mutex::new(Table::new()));
        let told = Arc::clone(&table);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| wake(&told.lock(), event.ok()))?;
        Ok(Self { watcher: Mutex::new(Adding { watcher, next_number: 0 }), table })
    }

    /// `None` if the folder cannot be watched.
    fn add(&self, place: &Place, wake: &Arc<Notify>) -> Option<u64> {
        let mut adding = self.watcher.lock();
        let watched = self.table.lock().get(&place.folder).map(|folder| folder.identity);
        if watched != Some(place.identity) {
            if watched.is_some() {
                // The folder was replaced by another of its name.
                adding.watcher.unwatch(&place.folder).ok();
            }
            let watch = adding.watcher.watch(&place.folder, RecursiveMode::NonRecursive);
            watch.inspect_err(|error| tracing::debug!(%error, "a folder is polled")).ok()?;
        }
        adding.next_number += 1;
        let number = adding.next_number;
        let mut table = self.table.lock();
        let folder = table.entry(place.folder.clone());
        let folder = folder.or_insert_with(|| Folder { identity: place.identity, listeners: Vec::new() });
        folder.identity = place.identity;
        folder.listeners.push((number, place.name.clone(), Arc::clone(wake)));
        Some(number)
    }

    fn remove(&self, path: &Path, number: u64) {
        let mut adding = self.watcher.lock();
        let mut table = self.table.lock();
        let Some(folder) = table.get_mut(path) else { return };
        folder.listeners.retain(|(listener, ..)| *listener != number);
        if folder.listeners.is_empty() {
            table.remove(path);
            drop(table);
            // It may have gone with its folder.
            adding.watcher.unwatch(path).ok();
        }
    }
}

/// Wakes those whose file an event touches; all of them when that is not known.
fn wake(table: &Table, event: Option<Event>) {
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
