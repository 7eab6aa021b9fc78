//! Executing commands in the writer.

use std::sync::Arc;

use super::command::WriteCommand;
use super::compact::compact_stream;
use super::lookup::state_of;
use super::replica::ReplicaBatch;
use super::stream_state::{StreamState, WriteContext};
use super::transaction::Transaction;
use super::writer::Writer;
use super::{AppendAck, JournalError, LineBatch, Stream, Trim};
use crate::model::Timestamp;

impl Writer {
    /// Executes one command. Its reply is sent after the commit.
    pub(super) fn execute(&mut self, command: WriteCommand) {
        match command {
            WriteCommand::Append { stream, batch, trim, permit, reply } => {
                self.pending.bytes += batch.bytes();
                self.pending.permits.push(permit);
                let result = self.append(&stream, &batch, trim);
                self.pending.reply_later(reply, result);
                self.serve_blocked();
            }
            WriteCommand::Replicate { stream, batch, permit, reply } => {
                self.pending.bytes += batch.bytes();
                self.pending.permits.push(permit);
                let result = self.replicate(&stream, &batch);
                self.pending.reply_later(reply, result);
            }
            WriteCommand::Trim { stream, trim, reply } => {
                let result = self.trim(&stream, trim);
                self.pending.reply_later(reply, result);
            }
            WriteCommand::Remove { stream, reply } => {
                let result = self.remove(&stream);
                self.pending.reply_later(reply, result);
            }
            WriteCommand::Expire { stream, at, reply } => {
                let result = self.expire(&stream, at);
                self.pending.reply_later(reply, result);
            }
            WriteCommand::Compact { stream, reply } => {
                let result = self.compact(&stream);
                self.pending.reply_later(reply, result);
            }
            WriteCommand::Transaction(transaction) => {
                self.pending.permits.push(transaction.permit);
                let callback = (transaction.run)(&mut Transaction::new(self));
                self.pending.callbacks.push(callback);
                self.serve_blocked();
            }
            WriteCommand::Unblock { client, reason } => {
                Transaction::new(self).unblock(client, reason);
            }
            WriteCommand::PutTask { id, record, reply } => {
                self.pending.has_writes = true;
                let result = self.flush_streams().and_then(|()| Ok(self.store.put_task(&id, record.as_deref())?));
                self.pending.reply_later(reply, result);
            }
            WriteCommand::PutSummary { stream, summary, reply } => {
                let result = self.put_summary(&stream, &summary);
                self.pending.reply_later(reply, result);
            }
            WriteCommand::Stop { .. } => {}
        }
    }

    /// Returns the state of a stream and adds the stream to the commit.
    fn state_for_write(&mut self, stream: &Arc<Stream>) -> Result<(&mut StreamState, WriteContext<'_>), JournalError> {
        if stream.tip().removed {
            return Err(JournalError::Removed);
        }
        let now = self.clock.read();
        let state = state_of(&mut self.states, stream);
        if state.stream.archived && state.tip.exists && state.is_expired(now.time) {
            state.delete_key(now.time);
        }
        if !state.in_commit {
            state.in_commit = true;
            self.pending.streams.push(stream.number);
        }
        let (store, counters, node_limits) = (&self.store, &self.counters, &self.node_limits);
        Ok((state, WriteContext { store, counters, node_limits, now }))
    }

    fn append(
        &mut self,
        stream: &Arc<Stream>,
        batch: &LineBatch,
        trim: Option<Trim>,
    ) -> Result<AppendAck, JournalError> {
        if let Some(error) = &batch.failed {
            return Err(error.clone());
        }
        self.check_can_grow()?;
        let (state, cx) = self.state_for_write(stream)?;
        let ack = state.append(&cx, batch)?;
        if let Some(trim) = trim {
            state.trim(&cx, trim)?;
        }
        self.mark_changed(&stream.name);
        Ok(ack)
    }

    fn replicate(&mut self, stream: &Arc<Stream>, batch: &ReplicaBatch) -> Result<u64, JournalError> {
        self.check_can_grow()?;
        let (state, cx) = self.state_for_write(stream)?;
        let last_line = state.replicate(&cx, batch)?;
        self.mark_changed(&stream.name);
        Ok(last_line)
    }

    fn trim(&mut self, stream: &Arc<Stream>, trim: Trim) -> Result<u64, JournalError> {
        let (state, cx) = self.state_for_write(stream)?;
        state.trim(&cx, trim)
    }

    /// Deletes a key. An archived stream remains, without a key.
    pub(super) fn remove_key(&mut self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        if !stream.archived {
            return self.remove(stream);
        }
        let (state, cx) = self.state_for_write(stream)?;
        state.delete_key(cx.now.time);
        Ok(())
    }

    fn remove(&mut self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        self.store.check_writable()?;
        self.pending.has_writes = true;
        self.pending.removed.push(stream.clone());
        self.last_found = None;
        self.states.remove(&stream.number);
        stream.tip.send_modify(|tip| tip.removed = true);
        self.store.remove_stream(&stream.name, stream.number)?;
        // Only now: a concurrent lookup by name must not load the stream from the store again.
        self.streams.forget(stream);
        self.mark_changed(&stream.name);
        Ok(())
    }

    fn expire(&mut self, stream: &Arc<Stream>, at: Option<Timestamp>) -> Result<(), JournalError> {
        let (state, _) = self.state_for_write(stream)?;
        *state.stream.expires.write() = at;
        state.record_dirty = true;
        Ok(())
    }

    /// Compacts a stream, unless this commit already removes some of its published blocks.
    fn compact(&mut self, stream: &Arc<Stream>) -> Result<u64, JournalError> {
        if self.states.get(&stream.number).is_some_and(StreamState::removes_published_blocks) {
            return Ok(0);
        }
        // Compaction writes the new block before it frees the old ones.
        self.check_can_rewrite()?;
        let removed = compact_stream(&self.store, stream);
        // A stream without small blocks costs no commit.
        if !matches!(removed, Ok(0)) {
            self.pending.has_writes = true;
            self.pending.compacted.push(stream.clone());
        }
        removed
    }
}
