//! The thread that makes checkpoints of the store and frees the space of removed blocks, so that no commit waits for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::store::{Store, StoreError};

/// The handle of the thread. Dropping it waits until the thread has released the store.
pub(super) struct CheckpointThread {
    signal: Arc<CheckpointSignal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct CheckpointSignal {
    wanted: Mutex<CheckpointRequests>,
    changed: Condvar,
}

/// Requests to the thread. A request while it is busy is carried out afterwards, once.
#[derive(Clone, Copy, Default)]
struct CheckpointRequests {
    checkpoint: bool,
    stop: bool,
}

impl CheckpointThread {
    pub(super) fn start(store: Arc<Store>) -> Self {
        let signal = Arc::new(CheckpointSignal::default());
        let of_thread = signal.clone();
        let thread = std::thread::Builder::new().name("journal-checkpoint".into());
        let thread = thread.spawn(move || run(&store, &of_thread));
        let thread = thread.inspect_err(|error| tracing::error!(%error, "failed to start the checkpoint thread"));
        Self { signal, thread: thread.ok() }
    }

    /// Requests a checkpoint.
    pub(super) fn wake(&self) {
        self.signal.wanted.lock().checkpoint = true;
        self.signal.changed.notify_one();
    }
}

impl Drop for CheckpointThread {
    fn drop(&mut self) {
        self.signal.wanted.lock().stop = true;
        self.signal.changed.notify_one();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn run(store: &Store, signal: &CheckpointSignal) {
    loop {
        {
            let mut wanted = signal.wanted.lock();
            while !wanted.checkpoint && !wanted.stop {
                signal.changed.wait(&mut wanted);
            }
            if wanted.stop {
                return;
            }
            wanted.checkpoint = false;
        }
        match std::panic::catch_unwind(AssertUnwindSafe(|| store.reclaim(false))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to free space of the journal; will retry"),
            Err(_) => store.poison(&StoreError::Poisoned("a checkpoint panicked".to_owned())),
        }
    }
}
