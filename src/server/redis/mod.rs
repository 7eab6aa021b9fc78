//! The Redis port: Redis' own commands on the journals, for any client that speaks RESP.
//!
//! ```text
//! accept ── connection ── batch ──┬─ published keys     nothing but reads
//!                                 └─ the writer's keys  everything else, one job a pipeline
//! ```
//! - `connection` reads what has come, hands it over as a `batch`, sends the replies;
//!   `plan` says what a batch needs.
//! - `access` says whether a client may run a command, asked of each before it runs or is queued.
//! - `table` finds the command of a request; `list` is all of them.
//! - `commands` is what each does; `transaction` what MULTI, EXEC and WATCH do.
//! - `session` is what a connection is, `clients` what the others see of it.

mod accept;
mod access;
mod batch;
mod clients;
mod commands;
mod connection;
mod exec_context;
mod list;
mod pending_add;
mod plan;
mod session;
mod table;
mod transaction;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::state::SharedState;
use crate::model::limits::Limits;
use clients::Clients;

/// The version of Redis that clients take the server for, in HELLO and INFO: of its stream and key
/// commands all are here that are not listed as missing.
const VERSION: &str = "7.4.0";

/// What all connections of the port share.
#[derive(Debug)]
pub(super) struct Port {
    state: SharedState,
    clients: Clients,
    addr: SocketAddr,
    since: Instant,
    /// New with every start.
    run_id: String,
    /// What was counted at the last CONFIG RESETSTAT. Held for a moment.
    counted: Mutex<Counts>,
    /// When commands were last counted for a rate, how many they were, and the rate. Held for a moment.
    rate: Mutex<(Instant, u64, u64)>,
}

/// What INFO counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    connections: u64,
    refused: u64,
    commands: u64,
    errors: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Serves Redis clients in the background, until the server's shutdown.
pub(super) fn start(listener: TcpListener, addr: SocketAddr, state: SharedState) {
    let now = Instant::now();
    let port = Arc::new(Port {
        clients: Clients::new(state.metrics.redis.blocked.clone()),
        state,
        addr,
        since: now,
        run_id: format!("{:040x}", ulid::Ulid::generate().0),
        counted: Mutex::default(),
        rate: Mutex::new((now, 0, 0)),
    });
    let tracker = port.state.tracker.clone();
    tracker.spawn(end_with_tokens(port.clone()));
    tracker.spawn(accept::serve(listener, port));
}

/// Between two looks at tokens whose time may be over.
const EXPIRY_CHECK: Duration = Duration::from_millis(250);

/// Ends the connections of tokens that are not taken any more, until the server ends.
async fn end_with_tokens(port: Arc<Port>) {
    let gate = &port.state.auth;
    let mut tokens = gate.keyring();
    loop {
        tokio::select! {
            () = port.state.shutdown.cancelled() => return,
            _ = tokens.changed() => {}
            () = tokio::time::sleep(EXPIRY_CHECK) => {}
        }
        if !gate.auth_required() {
            continue;
        }
        for client in port.clients.all() {
            let ended = client.caller.lock().as_ref().and_then(|caller| gate.end_reason(caller));
            if let Some(ended) = ended {
                tracing::debug!(client = client.id, %ended, "a Redis client's connection is ended");
                client.end.cancel();
            }
        }
    }
}

impl Port {
    fn limits(&self) -> &Limits {
        &self.state.options.limits
    }

    fn reply_bytes_max(&self) -> usize {
        usize::try_from(self.limits().resp_reply_bytes_max).unwrap_or(usize::MAX)
    }

    /// What was counted since the last reset.
    fn counts(&self) -> Counts {
        let (all, before) = (self.counts_ever(), *self.counted.lock());
        Counts {
            connections: all.connections - before.connections,
            refused: all.refused - before.refused,
            commands: all.commands - before.commands,
            errors: all.errors - before.errors,
            bytes_in: all.bytes_in - before.bytes_in,
            bytes_out: all.bytes_out - before.bytes_out,
        }
    }

    fn counts_ever(&self) -> Counts {
        let metrics = &self.state.metrics.redis;
        Counts {
            connections: self.clients.total(),
            refused: metrics.refused.get(),
            commands: metrics.commands.get(),
            errors: metrics.errors.get(),
            bytes_in: metrics.bytes_in.get(),
            bytes_out: metrics.bytes_out.get(),
        }
    }

    fn reset_counts(&self) {
        *self.counted.lock() = self.counts_ever();
    }

    /// Commands in a second, since it was last asked.
    fn rate(&self) -> u64 {
        let mut rate = self.rate.lock();
        let commands = self.state.metrics.redis.commands.get();
        let ms = u64::try_from(rate.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        if ms >= RATE_MS_MIN {
            *rate = (Instant::now(), commands, (commands - rate.1).saturating_mul(1_000) / ms);
        }
        rate.2
    }
}

/// A rate over less time says little.
const RATE_MS_MIN: u64 = 100;
