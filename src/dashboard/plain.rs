//! The log line by line, where there is no terminal to show a screen on.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::input::{Feed, InputError};
use super::row::Row;
use super::screen::{is_over, take};
use super::state::State;

/// Items taken at once; far fewer than the log keeps rows.
const BATCH: usize = 1024;
/// How often it is looked whether a run is over.
const LOOK: Duration = Duration::from_secs(1);

/// Why the log is not printed to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// It cannot be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    /// The input fails.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Gives every row to `print` as it comes, until the input is over, or with `exit` until the run is.
///
/// # Errors
/// What `print` gives, and what ends the input.
pub async fn follow_plain(
    mut feed: Feed,
    state: &mut State,
    exit: bool,
    print: &mut dyn FnMut(&Row) -> io::Result<()>,
) -> Result<(), PlainError> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut printed = 0;
    let mut came = Instant::now();
    loop {
        match timeout(LOOK, feed.take(&mut batch, BATCH)).await {
            Ok(0) => return Ok(feed.end().await?),
            Ok(_) => came = Instant::now(),
            Err(_) if exit && is_over(state, came.elapsed()) => return Ok(()),
            Err(_) => continue,
        }
        take(state, &mut batch);
        let new: Vec<&Row> = state.all().rows().rev().take_while(|row| row.id > printed).collect();
        for row in new.into_iter().rev() {
            printed = row.id;
            print(row)?;
        }
    }
}
