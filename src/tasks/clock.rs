//! The last time of the clock, saved in the data folder to detect a clock that was set between two runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::Clock;

/// Returns the path of the clock's file in a data folder.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("clock.json")
}

/// Opens the clock and continues from the saved time.
pub(super) fn open(data: &Path, hold: Duration) -> Arc<Clock> {
    let seen = match std::fs::read(file(data)) {
        Ok(json) => serde_json::from_slice(&json)
            .inspect_err(|error| tracing::warn!(%error, "failed to read the clock's file; it will be replaced"))
            .ok(),
        Err(_) => None,
    };
    Arc::new(Clock::new(hold, seen))
}

/// Saves the current time. If that fails, only a jump between two runs remains undetected.
pub(super) async fn save(clock: &Clock, file: &Path) {
    let part = file.with_extension("part");
    let saved = async {
        tokio::fs::write(&part, serde_json::to_vec(&clock.snapshot())?).await?;
        tokio::fs::rename(&part, file).await
    };
    if let Err(error) = saved.await {
        tracing::warn!(%error, "failed to save the clock");
    }
}
