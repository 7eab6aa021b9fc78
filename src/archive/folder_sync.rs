//! Syncs of the archive folder, shared by all archives that wait for one.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use crate::store::sync_folder;

/// One sync of the folder, and the callers that it serves.
#[derive(Debug, Default)]
struct SyncRound {
    result: OnceLock<Result<(), Arc<io::Error>>>,
}

#[derive(Debug, Default)]
struct SyncQueue {
    /// Set while a sync runs. It began before the names of later callers existed, so it does not serve them.
    running: bool,
    /// The round of the next sync.
    next: Arc<SyncRound>,
    /// Syncs so far.
    count: u64,
}

/// The syncs of one folder. A call that begins while another sync runs waits, and shares the next one with all
/// others that wait.
#[derive(Debug)]
pub(super) struct FolderSync {
    folder: PathBuf,
    queue: Mutex<SyncQueue>,
    finished: Condvar,
}

impl FolderSync {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, queue: Mutex::default(), finished: Condvar::new() }
    }

    /// Makes all names in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.sync_with(|| sync_folder(&self.folder))
    }

    fn sync_with(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut queue = self.queue.lock();
        let round = queue.next.clone();
        while queue.running && round.result.get().is_none() {
            self.finished.wait(&mut queue);
        }
        if round.result.get().is_none() {
            (queue.running, queue.next) = (true, Arc::default());
            queue.count += 1;
            drop(queue);
            let result = sync().map_err(Arc::new);
            queue = self.queue.lock();
            queue.running = false;
            round.result.get_or_init(|| result);
            self.finished.notify_all();
        }
        drop(queue);
        match round.result.get() {
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.clone())),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Returns the number of syncs so far.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.queue.lock().count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn callers_that_wait_share_one_sync_and_its_error() {
        let folder = tempfile::tempdir().unwrap();
        let sync = FolderSync::new(folder.path().to_owned());
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                sync.sync_with(move || {
                    started.send(()).unwrap();
                    released.recv().map_err(io::Error::other)
                })
            });
            has_started.recv().unwrap();
            let waiting: Vec<_> =
                (0..10).map(|_| scope.spawn(|| sync.sync_with(|| Err(io::ErrorKind::StorageFull.into())))).collect();
            // Each waiting caller holds the round of the next sync.
            while Arc::strong_count(&sync.queue.lock().next) < 11 {
                std::thread::yield_now();
            }
            release.send(()).unwrap();
            first.join().unwrap().unwrap();
            for caller in waiting {
                assert_eq!(caller.join().unwrap().unwrap_err().kind(), io::ErrorKind::StorageFull);
            }
        });
        assert_eq!(sync.count(), 2, "one for the first caller, one for the ten that waited");
        sync.sync().unwrap();
        assert_eq!(sync.count(), 3);
    }
}
