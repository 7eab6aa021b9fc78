//! Following a stream: a position in it, and waiting for new entries.
//!
//! The reader subscribes to the tip before its first read, so it cannot miss an entry between reading
//! and waiting. The wake-up itself carries no data; the reader then reads the page from the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Journal, JournalError, LinePage, PageLimits, Stream, Tip};

/// A reader that follows a stream from a line number.
#[derive(Debug)]
pub struct TailReader {
    journal: Journal,
    stream: Arc<Stream>,
    tip: watch::Receiver<Tip>,
    next: u64,
}

/// The event that ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailEvent {
    /// There are lines to read.
    Grown,
    /// The stream was removed or has expired. An expiration time set during the wait is not noticed.
    Removed,
}

impl TailReader {
    /// Creates a reader that starts at line `next` (at least 1), which may not exist yet.
    pub fn new(journal: &Journal, stream: &Arc<Stream>, next: u64) -> Self {
        Self { journal: journal.clone(), tip: stream.watch(), stream: stream.clone(), next }
    }

    /// Returns the number of the next line to read.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Continues at another line.
    pub fn seek(&mut self, next: u64) {
        self.next = next;
    }

    /// Returns the stream.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Reads the existing lines without waiting, and moves after them. Lines trimmed before they could be
    /// read are skipped; see [`LinePage::first_line`].
    pub fn read(&mut self, limits: PageLimits) -> Result<LinePage, JournalError> {
        let page = self.journal.read(&self.stream, self.next, limits)?;
        if let Some(last) = page.lines.last() {
            self.next = last.n + 1;
        }
        Ok(page)
    }

    /// Waits until the next line exists, or the stream was removed or has expired. Cancel-safe.
    pub async fn wait(&mut self) -> TailEvent {
        let next = self.next;
        loop {
            let ms_left =
                self.stream.expires().map(|at| at.as_millis().saturating_sub(self.journal.clock().now().as_millis()));
            let expiry = async {
                match ms_left {
                    Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    None => std::future::pending().await,
                }
            };
            let grown = self.tip.wait_for(|tip| tip.last_line >= next || tip.removed);
            tokio::select! {
                biased;
                tip = grown => return match tip {
                    Ok(tip) if tip.last_line >= next && !tip.removed => TailEvent::Grown,
                    _ => TailEvent::Removed,
                },
                // The expiration time may have been moved meanwhile.
                () = expiry => if self.stream.is_expired(self.journal.clock().now()) {
                    return TailEvent::Removed;
                },
            }
        }
    }
}
