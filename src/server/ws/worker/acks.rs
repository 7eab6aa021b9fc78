//! Passing batches to the store, and acknowledging them once durable.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use super::PendingBatch;
use super::WorkerConnection;
use crate::server::ws::attached_tasks::IfEnded;
use crate::tasks::{AppendedLines, LineTicket, TaskHandle, TasksError};
use crate::wire::worker::{ServerReply, TaskRef};

/// Time allowed at shutdown for received lines to become durable and be acknowledged.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A batch that is not yet durable.
pub(in crate::server) struct InFlightBatch {
    task: TaskRef,
    ticket: LineTicket,
    bytes: usize,
    lines: u64,
}

impl WorkerConnection {
    /// Passes the pending batch to the store. Waits only for space in the store's queue.
    pub(in crate::server) async fn flush(&mut self) {
        let Some(PendingBatch { task, batch, .. }) = self.pending.take() else { return };
        if !self.check_capacity(&task) {
            return;
        }
        let (bytes, lines) = (batch.bytes(), batch.len() as u64);
        let if_ended = if self.outbox.replies_enabled() { IfEnded::Reject } else { IfEnded::NewAttempt };
        let appended = match self.attached.handle(&self.state.tasks, &task.id, if_ended).await {
            Ok(handle) => {
                let appended = handle.append(batch).await;
                if matches!(appended, Err(TasksError::Ended(_))) {
                    self.confirm_stored(&task, &handle);
                }
                appended
            }
            Err(error) => Err(error),
        };
        match appended {
            Ok(ticket) => {
                self.in_flight_bytes += bytes;
                self.in_flight.push_back(InFlightBatch { task, ticket, bytes, lines });
            }
            Err(error) => self.failed(&task, &error),
        }
    }

    /// Acknowledges, before the error that ends the delivery, the lines that were stored before the task's end.
    fn confirm_stored(&self, task: &TaskRef, handle: &TaskHandle) {
        let seq = handle.acked_seq(self.attached.session(&task.id));
        if seq > 0 {
            self.outbox.reply(&self.state, ServerReply::Ack { work_request_id: task.clone(), seq, sealed: false });
        }
    }

    /// Acknowledges a durable batch, or reports its failure to the worker.
    pub(in crate::server) fn record_ack(
        &mut self,
        (batch, result): (InFlightBatch, Result<AppendedLines, TasksError>),
    ) {
        self.in_flight_bytes -= batch.bytes;
        match result {
            Ok(appended) => {
                self.state.metrics.lines_stored.inc_by(appended.count);
                self.state.stages.worker_socket.stored(appended.count);
                self.state.stages.worker_socket.dropped(appended.dropped);
                let rest = batch.lines.saturating_sub(appended.dropped);
                self.state.stages.worker_socket.deduplicated(rest.saturating_sub(appended.count));
                if let Some(seq) = appended.acked_seq {
                    self.outbox.ack(&batch.task, seq);
                }
            }
            Err(error) => self.failed(&batch.task, &error),
        }
    }

    /// Waits, at shutdown, until the received lines are durable, and acknowledges them.
    pub(in crate::server) async fn flush_acks(&mut self) {
        self.flush().await;
        let flushed = timeout(FLUSH_TIMEOUT, async {
            while !self.in_flight.is_empty() {
                let batch = next_result(&mut self.in_flight).await;
                self.record_ack(batch);
            }
        });
        if flushed.await.is_err() {
            tracing::warn!("shutdown timed out before all received lines were durable");
        }
    }
}

/// Waits for the result of the oldest batch, and removes it from the queue. Cancel-safe.
pub(in crate::server) async fn next_result(
    in_flight: &mut VecDeque<InFlightBatch>,
) -> (InFlightBatch, Result<AppendedLines, TasksError>) {
    let result = match in_flight.front_mut() {
        Some(oldest) => (&mut oldest.ticket).await,
        None => std::future::pending().await,
    };
    match in_flight.pop_front() {
        Some(oldest) => (oldest, result),
        None => std::future::pending().await,
    }
}
