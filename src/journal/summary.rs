//! Summaries of runs, and positions of streams that are not loaded.

use std::sync::Arc;

use super::command::WriteCommand;
use super::writer::Writer;
use super::{Journal, JournalError, Stream, Tip};
use crate::store::{RunRecord, StoreError, block};

/// The identity of a stream and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    number: u64,
    /// Random number that distinguishes the stream from earlier ones with the same name.
    pub incarnation: u64,
    /// Line number of its last entry.
    pub last_line: u64,
    /// Set if no entry was removed, so that a summary up to the last line covers the same entries as when it was
    /// stored.
    pub is_whole: bool,
}

impl StreamEnd {
    fn of(stream: &Stream) -> Self {
        let Tip { first_line, shown_line, shown_len, last_line, .. } = stream.tip();
        let is_whole = first_line <= 1 && shown_line <= 1 && shown_len == last_line;
        Self { number: stream.number, incarnation: stream.incarnation(), last_line, is_whole }
    }
}

impl Journal {
    /// Returns the position of the stream with this name; `None` if it does not exist or has expired. Reads at most
    /// its last block, and does not load the stream.
    pub fn position(&self, name: &[u8]) -> Result<Option<StreamEnd>, JournalError> {
        let (now, store) = (self.inner.options.clock.now(), &self.inner.store);
        if let Some(stream) = self.inner.streams.cached(name) {
            return Ok((!stream.is_unavailable(now)).then(|| StreamEnd::of(&stream)));
        }
        let Some(record) = store.stream(name)? else { return Ok(None) };
        if record.expires_ms.is_some_and(|at| at <= now.as_millis()) && !self.inner.streams.is_archived(name) {
            return Ok(None);
        }
        let mut last_line = record.last_line;
        if let Some(first) = store.last_block(record.number)?
            && let Some(head) = store.block(record.number, first, 0)?
        {
            let Ok(header) = block::decode_header(&head) else {
                // Damaged, or the header is longer than the first part of its block.
                return Ok(self.stream(name)?.map(|stream| StreamEnd::of(&stream)));
            };
            last_line = last_line.max((header.first_line + u64::from(header.count)).saturating_sub(1));
        }
        let is_whole = record.first_line <= 1 && record.key.shown_line <= 1 && record.key.deleted == 0;
        Ok(Some(StreamEnd { number: record.number, incarnation: record.incarnation, last_line, is_whole }))
    }

    /// Returns the stored summary of the run of a stream, if it has one that is not damaged. It may be of an earlier
    /// state. There is none once entries were removed.
    pub fn summary(&self, position: &StreamEnd) -> Result<Option<RunRecord>, JournalError> {
        if !position.is_whole {
            return Ok(None);
        }
        match self.inner.store.summary(position.number) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::debug!(%error, "ignored the summary of a run; its events are read instead");
                Ok(None)
            }
            summary => Ok(summary?),
        }
    }

    /// Writes the summary of the run of a stream, after everything that is already queued.
    pub fn put_summary(
        &self,
        stream: &Arc<Stream>,
        summary: RunRecord,
    ) -> impl Future<Output = Result<(), JournalError>> + Send + 'static + use<> {
        let stream = stream.clone();
        let journal = self.clone();
        let (reply, receiver) = tokio::sync::oneshot::channel();
        self.inner.queue.send(WriteCommand::PutSummary { stream, summary, reply });
        async move { journal.with_timeout(receiver).await }
    }
}

impl Writer {
    /// Writes the summary of a stream, unless the stream was removed.
    pub(super) fn put_summary(&mut self, stream: &Stream, summary: &RunRecord) -> Result<(), JournalError> {
        if stream.tip().removed {
            return Err(JournalError::Removed);
        }
        self.pending.has_writes = true;
        // A summary never becomes durable before what it summarizes.
        self.flush_streams()?;
        Ok(self.store.put_summary(stream.number, summary)?)
    }
}
