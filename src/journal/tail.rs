//! The one live loop: where a reader is, and the wait for more.
//!
//! Register, look, then wait: the watch is taken before the first look, so no entry can come
//! unseen between the two. What wakes a reader carries nothing; it reads the page itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Journal, JournalError, LinePage, PageLimits, Stream, Tip};

/// A reader's place in a stream: the next line number it wants.
#[derive(Debug)]
pub struct TailReader {
    journal: Journal,
    stream: Arc<Stream>,
    tip: watch::Receiver<Tip>,
    next: u64,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailEvent {
    /// There is something to read.
    Grown,
    /// The stream was removed, or its time has run out; a time that was set during the wait is not
    /// known to it.
    Removed,
}

impl TailReader {
    /// A reader that begins with line `next` (from 1), there or not.
    pub fn new(journal: &Journal, stream: &Arc<Stream>, next: u64) -> Self {
        Self { journal: journal.clone(), tip: stream.watch(), stream: stream.clone(), next }
    }

    /// The line number it wants next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Goes on at another line.
    pub fn seek(&mut self, next: u64) {
        self.next = next;
    }

    /// The stream it reads.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// What is there, without a wait, and moves behind it. Lines that were trimmed before they
    /// could be read are passed over: [`LinePage::first_line`] tells.
    pub fn read(&mut self, limits: PageLimits) -> Result<LinePage, JournalError> {
        let page = self.journal.read(&self.stream, self.next, limits)?;
        if let Some(last) = page.lines.last() {
            self.next = last.n + 1;
        }
        Ok(page)
    }

    /// Waits until there is something at or behind its place, or the stream is gone. Cancel-safe.
    pub async fn wait(&mut self) -> TailEvent {
        let next = self.next;
        loop {
            let gone =
                self.stream.expires().map(|at| at.as_millis().saturating_sub(self.journal.clock().now().as_millis()));
            let expiry = async {
                match gone {
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
                // It may have been given more time meanwhile.
                () = expiry => if self.stream.is_expired(self.journal.clock().now()) {
                    return TailEvent::Removed;
                },
            }
        }
    }
}
