//! Who is connected: what `CLIENT LIST` tells of each, and the way to end one.

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

/// All clients by their ids, which are never given twice.
#[derive(Debug)]
pub(super) struct Clients {
    last_id: AtomicU64,
    /// Held for a moment.
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
    blocked: Gauge,
}

/// A client, as the others see it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) since: Instant,
    /// Cancelled by `CLIENT KILL`, and when its token is not taken any more.
    pub(super) end: CancellationToken,
    /// Who it is, if it has signed in. Held for a moment; set by its own connection only.
    pub(super) caller: Mutex<Option<Caller>>,
    /// Held for a moment; changed by its own connection only, but for `blocked`.
    pub(super) facts: Mutex<Facts>,
}

/// What changes about a client.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) name: Vec<u8>,
    pub(super) library_name: Vec<u8>,
    pub(super) library_version: Vec<u8>,
    /// The command of last time, with its subcommand.
    pub(super) command: &'static str,
    pub(super) active: Instant,
    /// Commands queued, in a transaction.
    pub(super) queued: Option<usize>,
    /// Keys watched.
    pub(super) watched: usize,
    pub(super) blocked: bool,
    pub(super) no_evict: bool,
    pub(super) no_touch: bool,
    pub(super) protocol: Protocol,
    /// Bytes that came and are not run yet.
    pub(super) buffered_bytes: usize,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) commands: u64,
}

/// While it lives, its client waits in a blocking command.
#[derive(Debug)]
pub(super) struct Blocked {
    client: Arc<Client>,
    blocked: Gauge,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.client.facts.lock().blocked = false;
        self.blocked.dec();
    }
}

impl Clients {
    /// None yet; `blocked` is how many wait.
    pub(super) fn new(blocked: Gauge) -> Self {
        Self { last_id: AtomicU64::new(0), all: Mutex::default(), blocked }
    }

    /// A new client.
    pub(super) fn add(&self, peer: SocketAddr, local: SocketAddr) -> Arc<Client> {
        let now = Instant::now();
        let facts = Facts {
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
            buffered_bytes: 0,
            bytes_in: 0,
            bytes_out: 0,
            commands: 0,
        };
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let end = CancellationToken::new();
        let client =
            Arc::new(Client { id, peer, local, since: now, end, caller: Mutex::default(), facts: Mutex::new(facts) });
        self.all.lock().insert(id, client.clone());
        client
    }

    /// A client has gone.
    pub(super) fn remove(&self, id: u64) {
        self.all.lock().remove(&id);
    }

    /// A client begins to wait.
    pub(super) fn block(&self, client: &Arc<Client>) -> Blocked {
        client.facts.lock().blocked = true;
        self.blocked.inc();
        Blocked { client: client.clone(), blocked: self.blocked.clone() }
    }

    /// Clients that wait in a blocking command.
    pub(super) fn blocked(&self) -> i64 {
        self.blocked.get()
    }

    /// Clients now.
    pub(super) fn len(&self) -> usize {
        self.all.lock().len()
    }

    /// Clients ever.
    pub(super) fn total(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// All of them, by id.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        self.all.lock().values().cloned().collect()
    }
}

impl Client {
    /// Its letters in `CLIENT LIST`.
    pub(super) fn flags(facts: &Facts) -> String {
        let letters =
            [(facts.blocked, 'b'), (facts.queued.is_some(), 'x'), (facts.no_evict, 'e'), (facts.no_touch, 'T')];
        let flags: String = letters.iter().filter_map(|(is, letter)| is.then_some(*letter)).collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }

    /// Its line in `CLIENT LIST`, with the fields and in the order clients' parsers know, without a line end.
    pub(super) fn line(&self) -> Vec<u8> {
        let facts = self.facts.lock().clone();
        let (name, library) = (&facts.name, (&facts.library_name, &facts.library_version));
        let age = self.since.elapsed().as_secs();
        let idle = facts.active.elapsed().as_secs();
        let queued = facts.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
        let mut head = String::new();
        let mut tail = String::new();
        // Writing to a String does not fail.
        write!(head, "id={} addr={} laddr={} fd=0 name=", self.id, self.peer, self.local).unwrap_or_default();
        write!(
            tail,
            " age={age} idle={idle} flags={} db=0 sub=0 psub=0 ssub=0 multi={queued} watch={} qbuf={} qbuf-free=0 \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem={} events=r cmd={} user=default redir=-1 \
             resp={}",
            Self::flags(&facts),
            facts.watched,
            facts.buffered_bytes,
            facts.buffered_bytes,
            facts.command,
            facts.protocol.version(),
        )
        .unwrap_or_default();
        let net = format!(" tot-net-in={} tot-net-out={} tot-cmds={}", facts.bytes_in, facts.bytes_out, facts.commands);
        let parts: [&[u8]; 8] =
            [head.as_bytes(), name, tail.as_bytes(), b" lib-name=", library.0, b" lib-ver=", library.1, net.as_bytes()];
        parts.concat()
    }
}
