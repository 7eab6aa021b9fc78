//! Where the clock stood, kept in the data folder: a clock that was set between two starts is noticed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::Clock;

/// The clock's file in a data folder.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("clock.json")
}

/// The clock, going on from where it stood.
pub(super) fn open(data: &Path, hold: Duration) -> Arc<Clock> {
    let seen = match std::fs::read(file(data)) {
        Ok(json) => serde_json::from_slice(&json)
            .inspect_err(|error| tracing::warn!(%error, "the clock's file cannot be read and is begun anew"))
            .ok(),
        Err(_) => None,
    };
    Arc::new(Clock::new(hold, seen))
}

/// Writes down where the clock stands. Without it only a jump between two starts goes unnoticed.
pub(super) async fn keep(clock: &Clock, file: &Path) {
    let part = file.with_extension("part");
    let kept = async {
        tokio::fs::write(&part, serde_json::to_vec(&clock.snapshot())?).await?;
        tokio::fs::rename(&part, file).await
    };
    if let Err(error) = kept.await {
        tracing::warn!(%error, "where the clock stands could not be written");
    }
}
