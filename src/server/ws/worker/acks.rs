//! Batches on their way to the disk, and what follows when they are there.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use super::Ingest;
use super::Pending;
use crate::tasks::{Appended, TasksError, Ticket};
use crate::wire::worker::TaskRef;

/// What was received before a shutdown has this long to become durable and be acked.
const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// A batch that the store has not made durable yet.
pub(in crate::server) struct InFlight {
    task: TaskRef,
    ticket: Ticket,
    bytes: usize,
    lines: u64,
}

impl Ingest {
    /// Gives the pending batch to the store; waits only for room in its queue.
    pub(in crate::server) async fn flush(&mut self) {
        let Some(Pending { task, batch, .. }) = self.pending.take() else { return };
        if !self.has_room(&task) {
            return;
        }
        let (bytes, lines) = (batch.bytes(), batch.len() as u64);
        let appended = match self.spoken.handle(&self.state.tasks, &task.id).await {
            Ok(handle) => handle.append(batch).await,
            Err(error) => Err(error),
        };
        match appended {
            Ok(ticket) => {
                self.in_flight_bytes += bytes;
                self.in_flight.push_back(InFlight { task, ticket, bytes, lines });
            }
            Err(error) => self.failed(&task, &error),
        }
    }

    /// A batch is durable, or is not: the worker is told.
    pub(in crate::server) fn settle(&mut self, (in_flight, settled): (InFlight, Result<Appended, TasksError>)) {
        self.in_flight_bytes -= in_flight.bytes;
        match settled {
            Ok(appended) => {
                self.state.metrics.lines_stored.inc_by(appended.count);
                self.state.hops.worker_socket.stored(appended.count);
                self.state.hops.worker_socket.dropped(appended.over);
                let rest = in_flight.lines.saturating_sub(appended.over);
                self.state.hops.worker_socket.deduplicated(rest.saturating_sub(appended.count));
                if let Some(seq) = appended.acked_seq {
                    self.outbox.ack(&in_flight.task, seq);
                }
            }
            Err(error) => self.failed(&in_flight.task, &error),
        }
    }

    /// Before the server ends: what was received becomes durable, and is acked.
    pub(in crate::server) async fn settle_all(&mut self) {
        self.flush().await;
        let settled = timeout(SETTLE_WAIT, async {
            while !self.in_flight.is_empty() {
                let settled = oldest(&mut self.in_flight).await;
                self.settle(settled);
            }
        });
        if settled.await.is_err() {
            tracing::warn!("lines were not durable in time for their acks");
        }
    }
}

/// Waits for the oldest batch. Cancel-safe: it leaves the queue only when it is done.
pub(in crate::server) async fn oldest(in_flight: &mut VecDeque<InFlight>) -> (InFlight, Result<Appended, TasksError>) {
    let settled = match in_flight.front_mut() {
        Some(oldest) => (&mut oldest.ticket).await,
        None => std::future::pending().await,
    };
    match in_flight.pop_front() {
        Some(oldest) => (oldest, settled),
        None => std::future::pending().await,
    }
}
