//! The log line by line, for output that is not a terminal.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::input::{InputError, InputFeed};
use super::row::LogRow;
use super::screen::{apply_all, is_over};
use super::state::DashboardState;

/// Maximum number of items processed at once; far below the capacity of the log.
const BATCH: usize = 1024;
/// Interval at which the end of the run is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An error that ends the printing.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// Output failed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    /// The input failed.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Passes every row to `print` until the input ends, or with `exit` until the run is complete.
///
/// # Errors An error of `print` or of the input.
pub async fn follow_plain(
    mut feed: InputFeed,
    state: &mut DashboardState,
    exit: bool,
    print: &mut dyn FnMut(&LogRow) -> io::Result<()>,
) -> Result<(), PlainError> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut printed = 0;
    let mut changed_at = Instant::now();
    loop {
        match timeout(CHECK_INTERVAL, feed.recv(&mut batch, BATCH)).await {
            Ok(0) => return Ok(feed.end().await?),
            Ok(_) => changed_at = Instant::now(),
            Err(_) if exit && is_over(state, changed_at.elapsed()) => return Ok(()),
            Err(_) => continue,
        }
        apply_all(state, &mut batch);
        let new: Vec<&LogRow> = state.all().rows().rev().take_while(|row| row.id > printed).collect();
        for row in new.into_iter().rev() {
            printed = row.id;
            print(row)?;
        }
    }
}
