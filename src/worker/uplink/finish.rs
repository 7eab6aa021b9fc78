//! The wait for the delivery after the end of the output.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::worker::WorkerOptions;
use crate::worker::shared::SharedBuffer;

/// Maximum time without progress after the end, if the spool keeps the rest.
const SPOOL_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// The same if the server was never reached.
const SPOOL_UNREACHED_TIMEOUT: Duration = Duration::from_secs(2);
/// Delay before the user is told that the end waits for a server that was never reached.
const UNREACHED_NOTE_DELAY: Duration = Duration::from_secs(1);
/// Delay before the progress of a delivery is reported, and its interval.
const PROGRESS_DELAY: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Waits, after the end, until there was no progress for the configured time.
pub(super) async fn wait_delivery_timeout(shared: &SharedBuffer, options: &WorkerOptions) {
    shared.wait_finished().await;
    tokio::select! {
        () = wait_stalled(shared, options) => {}
        () = shared.wait_aborted() => {}
        () = note_unreached(shared, options) => {}
    }
}

async fn wait_stalled(shared: &SharedBuffer, options: &WorkerOptions) {
    loop {
        let before = (shared.acked_seq(), shared.was_reached());
        let limit = match (before.1, &options.local_log.spool) {
            (false, _) => unreached_limit(options),
            (true, None) => options.delivery_timeout,
            (true, Some(_)) => options.delivery_timeout.min(SPOOL_DELIVERY_TIMEOUT),
        };
        sleep(limit).await;
        if before == (shared.acked_seq(), shared.was_reached()) {
            return;
        }
    }
}

/// Returns how long the end waits for a server that was never reached.
fn unreached_limit(options: &WorkerOptions) -> Duration {
    match options.local_log.spool {
        None => options.delivery_timeout_unreached,
        Some(_) => options.delivery_timeout_unreached.min(SPOOL_UNREACHED_TIMEOUT),
    }
}

/// Tells the user that the end waits for a server. Never returns.
async fn note_unreached(shared: &SharedBuffer, options: &WorkerOptions) {
    sleep(UNREACHED_NOTE_DELAY).await;
    let rest = unreached_limit(options).saturating_sub(UNREACHED_NOTE_DELAY);
    if !shared.was_reached() && rest > UNREACHED_NOTE_DELAY {
        let seconds = rest.as_secs();
        (options.notes)(&format!("no server was reached yet: trying for another {seconds} s; Ctrl-C stops"));
    }
    std::future::pending().await
}

/// Reports, after the end, how much was sent. Never returns.
pub(super) async fn report_progress(shared: &Arc<SharedBuffer>, options: &WorkerOptions) {
    shared.wait_finished().await;
    let Some(report) = &options.progress else { return std::future::pending().await };
    sleep(PROGRESS_DELAY).await;
    let counting = Arc::clone(shared);
    let mut progress = tokio::task::spawn_blocking(move || counting.progress()).await.unwrap_or_default();
    loop {
        progress.sent_lines = shared.sent_lines();
        report(progress);
        sleep(PROGRESS_INTERVAL).await;
    }
}
