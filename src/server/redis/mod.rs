//! The Redis port: Redis commands on the journals, for any client that speaks RESP.
//!
//! ```text
//! accept ── connection ── batch ──┬─ snapshot      read-only batches
//!                                 └─ transaction   all others, one transaction per batch
//! ```
//! - `event_loop` is the thread on which all connections run, so that their writes share commits.
//! - `connection` reads requests, runs them as a `batch` and sends the replies;
//!   `plan` determines the resources a batch needs.
//! - `access` checks permissions for each command before it runs or is queued.
//! - `table` resolves a request to a command; `list` and `subcommands` define them.
//! - `commands` implements them; `transaction` implements MULTI, DISCARD, WATCH and UNWATCH.
//! - `values` has strings, hashes and lists, on temporary servers only.
//! - `table`, `list`, `commands`, `values` and `session` refer to each other: a table of functions that COMMAND itself
//!   reads.
//! - `session` is the state of a connection, `clients` the part that other connections can see.

mod accept;
mod access;
mod batch;
mod clients;
mod commands;
mod connection;
mod event_loop;
mod exec_context;
mod list;
mod pending_add;
mod plan;
mod session;
mod subcommands;
mod table;
mod transaction;
mod values;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::state::SharedState;
use crate::model::limits::Limits;
use crate::tasks::keys::PreparedTransaction;
use clients::RedisClients;
use table::CommandTable;
use values::ValueStore;

/// The Redis version reported by HELLO and INFO: the one whose behaviour clients can expect, above all in
/// the `lag` of groups, which later versions count differently.
const VERSION: &str = "7.0.15";

/// State shared by all connections of the port.
#[derive(Debug)]
pub(super) struct RedisPort {
    state: SharedState,
    /// Strings, hashes and lists; only a temporary server has them.
    values: Option<Arc<ValueStore>>,
    clients: RedisClients,
    connections: TaskTracker,
    /// Writes of this turn of the event loop. Locked only briefly.
    turn_writes: Mutex<Vec<PreparedTransaction>>,
    /// Notified if there are any.
    turn_end: Notify,
    addr: SocketAddr,
    started: Instant,
    /// Random, different after every start.
    run_id: String,
    /// Counters at the last CONFIG RESETSTAT. Locked only briefly.
    baseline: Mutex<RedisCounters>,
    /// Time of the last sample, commands processed by then, and the rate. Locked only briefly.
    rate: Mutex<(Instant, u64, u64)>,
}

/// The counters of INFO.
#[derive(Clone, Copy, Debug, Default)]
struct RedisCounters {
    connections: u64,
    rejected: u64,
    commands: u64,
    errors: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Starts serving Redis clients in the background, until the server shuts down.
///
/// # Errors
/// The thread of the port does not start.
pub(super) fn start(listener: TcpListener, addr: SocketAddr, state: SharedState) -> io::Result<()> {
    let now = Instant::now();
    let port = Arc::new(RedisPort {
        values: state.options.redis_values.then(|| ValueStore::new(state.options.limits.resp_values_bytes_max)),
        clients: RedisClients::new(state.metrics.redis.blocked.clone()),
        state,
        connections: TaskTracker::new(),
        turn_writes: Mutex::default(),
        turn_end: Notify::new(),
        addr,
        started: now,
        run_id: format!("{:040x}", ulid::Ulid::generate().0),
        baseline: Mutex::default(),
        rate: Mutex::new((now, 0, 0)),
    });
    event_loop::start(listener, port)
}

/// Interval between checks for expired tokens.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Closes the connections of expired and revoked tokens, until the server shuts down.
async fn close_revoked_clients(port: Arc<RedisPort>) {
    let auth = &port.state.auth;
    let mut tokens = auth.keyring();
    loop {
        tokio::select! {
            () = port.state.shutdown.cancelled() => return,
            _ = tokens.changed() => {}
            () = tokio::time::sleep(TOKEN_CHECK_INTERVAL) => {}
        }
        if !auth.auth_required() {
            continue;
        }
        for client in port.clients.all() {
            let reason = client.caller.lock().as_ref().and_then(|caller| auth.end_reason(caller));
            if let Some(reason) = reason {
                tracing::debug!(client = client.id, %reason, "closing a Redis connection: its token is no longer valid");
                client.disconnect.cancel();
            }
        }
    }
}

impl RedisPort {
    /// Returns the commands that this server has.
    fn commands(&self) -> CommandTable {
        if self.values.is_some() { CommandTable::WITH_VALUES } else { CommandTable::STREAMS }
    }

    fn limits(&self) -> &Limits {
        &self.state.options.limits
    }

    fn reply_bytes_max(&self) -> usize {
        usize::try_from(self.limits().resp_reply_bytes_max).unwrap_or(usize::MAX)
    }

    /// Returns the counters since the last reset.
    fn counters(&self) -> RedisCounters {
        let (all, before) = (self.total_counters(), *self.baseline.lock());
        RedisCounters {
            connections: all.connections - before.connections,
            rejected: all.rejected - before.rejected,
            commands: all.commands - before.commands,
            errors: all.errors - before.errors,
            bytes_in: all.bytes_in - before.bytes_in,
            bytes_out: all.bytes_out - before.bytes_out,
        }
    }

    fn total_counters(&self) -> RedisCounters {
        let metrics = &self.state.metrics.redis;
        RedisCounters {
            connections: self.clients.total(),
            rejected: metrics.refused.get(),
            commands: metrics.commands.get(),
            errors: metrics.errors.get(),
            bytes_in: metrics.bytes_in.get(),
            bytes_out: metrics.bytes_out.get(),
        }
    }

    fn reset_counters(&self) {
        *self.baseline.lock() = self.total_counters();
    }

    /// Returns the commands per second since the previous call.
    fn commands_per_second(&self) -> u64 {
        let mut rate = self.rate.lock();
        let commands = self.state.metrics.redis.commands.get();
        let ms = u64::try_from(rate.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        if ms >= RATE_MS_MIN {
            *rate = (Instant::now(), commands, (commands - rate.1).saturating_mul(1_000) / ms);
        }
        rate.2
    }
}

/// Shortest interval that yields a meaningful rate, in milliseconds.
const RATE_MS_MIN: u64 = 100;
