//! The thread that syncs a named log, records what the server has confirmed, and returns its space. The command's
//! output never waits for it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::folder::SessionFolder;
use crate::worker::NoteFn;
use crate::worker::local_log::LocalLog;

/// Minimum interval between syncs, and delay after a failed one.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// Time allowed for the last writes at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a folder after closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum SpoolCloseOutcome {
    /// The server has confirmed everything, and the folder was removed.
    Removed,
    /// The folder holds everything that the server has not confirmed.
    Retained,
    /// The same, but some of it could not be written.
    PartlyRetained,
}

/// A handle to the thread, owned by the uplink.
#[derive(Debug)]
pub(in crate::worker) struct SpoolKeeper {
    log: Arc<LocalLog>,
    ended: oneshot::Receiver<SpoolCloseOutcome>,
}

impl SpoolKeeper {
    /// Starts the thread for the log in this folder.
    pub(in crate::worker) fn start(folder: SessionFolder, log: &Arc<LocalLog>, notes: NoteFn) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let thread_log = Arc::clone(log);
        std::thread::Builder::new().name("spool".into()).spawn(move || {
            let outcome = keep(folder, &thread_log, &notes);
            // The receiver is dropped if the worker was dropped.
            end.send(outcome).ok();
        })?;
        Ok(Self { log: Arc::clone(log), ended })
    }

    /// Writes the rest, or removes the folder if the log is `delivered` as a whole.
    pub(in crate::worker) async fn close(mut self, delivered: bool) -> SpoolCloseOutcome {
        self.log.close_keeper(delivered);
        let outcome = timeout(CLOSE_TIMEOUT, &mut self.ended).await.ok().and_then(Result::ok);
        outcome.unwrap_or(SpoolCloseOutcome::PartlyRetained)
    }
}

impl Drop for SpoolKeeper {
    fn drop(&mut self) {
        self.log.close_keeper(false);
    }
}

fn keep(folder: SessionFolder, log: &LocalLog, notes: &NoteFn) -> SpoolCloseOutcome {
    let mut failed = false;
    let delivered = loop {
        let began = Instant::now();
        let closing = log.wait_keeper_work();
        if closing == Some(true) {
            break true;
        }
        let result = sync(&folder, log);
        if let (false, Err(error)) = (failed, &result) {
            let path = folder.path().display();
            notes(&format!("cannot sync the spool in {path}: {error}; a power cut may lose its newest lines"));
        }
        failed = result.is_err();
        if closing.is_some() {
            break false;
        }
        log.wait_closing(began + SYNC_INTERVAL);
    };
    if delivered {
        if let Err(error) = folder.remove() {
            notes(&format!("cannot remove the spool of a delivered task: {error}"));
        }
        return SpoolCloseOutcome::Removed;
    }
    let saved = log.save_memory(|| folder.free_reserve());
    match sync(&folder, log) {
        Ok(()) if saved => SpoolCloseOutcome::Retained,
        _ => SpoolCloseOutcome::PartlyRetained,
    }
}

/// Syncs what was written, then records what was confirmed of it, and returns its space.
fn sync(folder: &SessionFolder, log: &LocalLog) -> io::Result<()> {
    let confirmed = log.take_confirmed();
    log.sync_segments(|| folder.sync_names())?;
    if let Some(cursor) = confirmed {
        folder.record_position(&cursor)?;
        log.release_to(&cursor);
    }
    Ok(())
}
