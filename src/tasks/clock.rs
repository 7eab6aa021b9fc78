//! The last time of the clock, saved in the data folder to detect a clock that was set between two runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Clock, ClockSnapshot, Timestamp};
use crate::store::write_private;

/// Returns the path of the clock's file in a data folder.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("clock.json")
}

/// Opens the clock and continues from the saved time. Returns it with the system time at which it was saved.
pub(super) fn open(data: &Path, hold: Duration) -> (Arc<Clock>, Option<Timestamp>) {
    let seen = match std::fs::read(file(data)) {
        Ok(json) => serde_json::from_slice::<ClockSnapshot>(&json)
            .inspect_err(|error| tracing::warn!(%error, "failed to read the clock's file; it will be replaced"))
            .ok(),
        Err(_) => None,
    };
    let saved_at = seen.map(|seen| Timestamp::from_millis(seen.system_ms));
    (Arc::new(Clock::new(hold, seen)), saved_at)
}

/// Saves the current time. If that fails, only a jump between two runs remains undetected.
pub(super) async fn save(clock: &Clock, file: &Path) {
    let part = file.with_extension("part");
    let saved = async {
        write_private(&part, &serde_json::to_vec(&clock.snapshot())?)?;
        tokio::fs::rename(&part, file).await
    };
    if let Err(error) = saved.await {
        tracing::warn!(%error, "failed to save the clock");
    }
}
