//! Connected clients: the fields of `CLIENT LIST`, and disconnecting.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::auth::Caller;
use crate::wire::resp::Protocol;

/// All clients by ID. IDs are never reused.
#[derive(Debug)]
pub(super) struct RedisClients {
    last_id: AtomicU64,
    /// Locked only briefly.
    all: Mutex<BTreeMap<u64, Arc<RedisClient>>>,
    blocked: Gauge,
}

/// A client, as other connections see it.
#[derive(Debug)]
pub(super) struct RedisClient {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) since: Instant,
    /// Cancelled by `CLIENT KILL`, and when the client's token is no longer valid.
    pub(super) disconnect: CancellationToken,
    /// Identity of the client, if authenticated. Locked only briefly; set only by its own connection.
    pub(super) caller: Mutex<Option<Caller>>,
    /// Locked only briefly; changed only by its own connection, except for `blocked`.
    pub(super) status: Mutex<ClientStatus>,
}

/// The changing properties of a client.
#[derive(Clone, Debug)]
pub(super) struct ClientStatus {
    pub(super) name: Vec<u8>,
    pub(super) library_name: Vec<u8>,
    pub(super) library_version: Vec<u8>,
    /// Name of the last command, with its subcommand.
    pub(super) command: &'static str,
    pub(super) active: Instant,
    /// Number of queued commands, inside a transaction.
    pub(super) queued: Option<usize>,
    /// Number of watched keys.
    pub(super) watched: usize,
    pub(super) blocked: bool,
    pub(super) no_evict: bool,
    pub(super) no_touch: bool,
    pub(super) protocol: Protocol,
    /// Number of the selected database.
    pub(super) database: u8,
    /// Bytes received but not yet processed.
    pub(super) buffered_bytes: usize,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) commands: u64,
}

/// A guard that counts its client as blocked until dropped.
#[derive(Debug)]
pub(super) struct BlockedGuard {
    client: Arc<RedisClient>,
    blocked: Gauge,
}

impl Drop for BlockedGuard {
    fn drop(&mut self) {
        self.client.status.lock().blocked = false;
        self.blocked.dec();
    }
}

impl RedisClients {
    /// Creates an empty list; `blocked` counts the blocked clients.
    pub(super) fn new(blocked: Gauge) -> Self {
        Self { last_id: AtomicU64::new(0), all: Mutex::default(), blocked }
    }

    /// Adds a client and assigns its ID.
    pub(super) fn add(&self, peer: SocketAddr, local: SocketAddr) -> Arc<RedisClient> {
        let now = Instant::now();
        let status = ClientStatus {
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            command: "NULL",
            active: now,
            queued: None,
            watched: 0,
            blocked: false,
            no_evict: false,
            no_touch: false,
            protocol: Protocol::default(),
            database: 0,
            buffered_bytes: 0,
            bytes_in: 0,
            bytes_out: 0,
            commands: 0,
        };
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let disconnect = CancellationToken::new();
        let client = Arc::new(RedisClient {
            id,
            peer,
            local,
            since: now,
            disconnect,
            caller: Mutex::default(),
            status: Mutex::new(status),
        });
        self.all.lock().insert(id, client.clone());
        client
    }

    /// Removes a disconnected client.
    pub(super) fn remove(&self, id: u64) {
        self.all.lock().remove(&id);
    }

    /// Marks a client as blocked.
    pub(super) fn block(&self, client: &Arc<RedisClient>) -> BlockedGuard {
        client.status.lock().blocked = true;
        self.blocked.inc();
        BlockedGuard { client: client.clone(), blocked: self.blocked.clone() }
    }

    /// Returns the number of clients blocked in a command.
    pub(super) fn blocked(&self) -> i64 {
        self.blocked.get()
    }

    /// Returns the number of connected clients.
    pub(super) fn len(&self) -> usize {
        self.all.lock().len()
    }

    /// Returns the number of clients since the start.
    pub(super) fn total(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// Returns all clients, ordered by ID.
    pub(super) fn all(&self) -> Vec<Arc<RedisClient>> {
        self.all.lock().values().cloned().collect()
    }
}

impl RedisClient {
    /// Returns the client's flags for `CLIENT LIST`.
    pub(super) fn flags(status: &ClientStatus) -> String {
        let letters =
            [(status.blocked, 'b'), (status.queued.is_some(), 'x'), (status.no_evict, 'e'), (status.no_touch, 'T')];
        let flags: String = letters.iter().filter_map(|(is, letter)| is.then_some(*letter)).collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }

    /// Formats the client's line for `CLIENT LIST`, without a line end. Client libraries parse these
    /// fields in this order.
    pub(super) fn line(&self) -> Vec<u8> {
        let status = self.status.lock().clone();
        let (name, library) = (&status.name, (&status.library_name, &status.library_version));
        let age = self.since.elapsed().as_secs();
        let idle = status.active.elapsed().as_secs();
        let queued = status.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
        let mut head = String::new();
        let mut tail = String::new();
        // Writing to a String never fails.
        write!(head, "id={} addr={} laddr={} fd=0 name=", self.id, self.peer, self.local).unwrap_or_default();
        write!(
            tail,
            " age={age} idle={idle} flags={} db={} sub=0 psub=0 ssub=0 multi={queued} watch={} qbuf={} qbuf-free=0 \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem={} events=r cmd={} user=default redir=-1 \
             resp={}",
            Self::flags(&status),
            status.database,
            status.watched,
            status.buffered_bytes,
            status.buffered_bytes,
            status.command,
            status.protocol.version(),
        )
        .unwrap_or_default();
        let net =
            format!(" tot-net-in={} tot-net-out={} tot-cmds={}", status.bytes_in, status.bytes_out, status.commands);
        let parts: [&[u8]; 8] =
            [head.as_bytes(), name, tail.as_bytes(), b" lib-name=", library.0, b" lib-ver=", library.1, net.as_bytes()];
        parts.concat()
    }
}
