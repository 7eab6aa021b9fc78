//! The wait for the delivery after the end of the output.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::worker::WorkerOptions;
use crate::worker::shared::SharedBuffer;

/// Maximum time without progress after the end, if the spool keeps the rest.
const SPOOL_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before the progress of a delivery is reported, and its interval.
const PROGRESS_DELAY: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Waits, after the end, until there was no progress for the configured time.
pub(super) async fn wait_delivery_timeout(shared: &SharedBuffer, options: &WorkerOptions) {
    shared.wait_finished().await;
    loop {
        let before = (shared.acked_seq(), shared.was_reached());
        let limit = match (before.1, &options.local_log.spool) {
            (false, _) => options.delivery_timeout_unreached,
            (true, None) => options.delivery_timeout,
            (true, Some(_)) => options.delivery_timeout.min(SPOOL_DELIVERY_TIMEOUT),
        };
        tokio::select! {
            () = sleep(limit) => {}
            () = shared.wait_aborted() => return,
        }
        if before == (shared.acked_seq(), shared.was_reached()) {
            return;
        }
    }
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
