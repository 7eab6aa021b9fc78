//! Clients that are blocked until a key changes (Redis: XREAD BLOCK, XREADGROUP BLOCK).
//!
//! They are served at the change, between two commands: they see the key before the next command
//! can change it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::command::WakeReason;
use super::commit::CommitCallback;
use super::transaction::Transaction;

/// Interval between two checks whether a key that a client is blocked on has expired (Redis checks
/// ten times a second).
pub(super) const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);

/// A closure that retries the read of a blocked client. Returns its reply, or `None` to stay
/// blocked, which is allowed only for [`WakeReason::Changed`].
pub type RetryFn = Box<dyn FnMut(&mut Transaction<'_>, WakeReason) -> Option<CommitCallback> + Send>;

/// A client that is blocked on keys.
pub struct BlockedClient {
    /// ID of the client.
    pub client: u64,
    /// Keys that it is blocked on.
    pub keys: Vec<Box<[u8]>>,
    /// Called when one of them has changed.
    pub retry: RetryFn,
}

/// All blocked clients, in the order in which they were blocked.
pub(super) struct BlockedClients {
    /// By client ID: its order and the client.
    clients: HashMap<u64, (u64, BlockedClient)>,
    /// By key and order: the client ID.
    keys: HashMap<Box<[u8]>, BTreeMap<u64, u64>>,
    /// Orders and IDs of the clients whose keys have changed.
    ready: BTreeSet<(u64, u64)>,
    last_order: u64,
    /// Order of the client that was removed last.
    removed_order: Option<u64>,
    /// Time of the last check for expired keys.
    expiry_checked: Instant,
}

impl BlockedClients {
    pub(super) fn new() -> Self {
        Self {
            clients: HashMap::new(),
            keys: HashMap::new(),
            ready: BTreeSet::new(),
            last_order: 0,
            removed_order: None,
            expiry_checked: Instant::now(),
        }
    }

    /// Adds a client after all others.
    pub(super) fn push(&mut self, client: BlockedClient) {
        self.last_order += 1;
        self.insert(self.last_order, client);
    }

    fn insert(&mut self, order: u64, client: BlockedClient) {
        for key in &client.keys {
            self.keys.entry(key.clone()).or_default().insert(order, client.client);
        }
        self.clients.insert(client.client, (order, client));
    }

    /// Removes a client and remembers its order for [`Self::reinsert`].
    pub(super) fn remove(&mut self, id: u64) -> Option<BlockedClient> {
        let (order, client) = self.clients.remove(&id)?;
        for key in &client.keys {
            if let Some(clients) = self.keys.get_mut(key) {
                clients.remove(&order);
                if clients.is_empty() {
                    self.keys.remove(key);
                }
            }
        }
        self.removed_order = Some(order);
        Some(client)
    }

    /// Inserts the client that was removed last at its former position.
    pub(super) fn reinsert(&mut self, client: BlockedClient) {
        match self.removed_order.take() {
            Some(order) => self.insert(order, client),
            None => self.push(client),
        }
    }

    /// Marks the clients that are blocked on this key as ready.
    pub(super) fn mark_ready(&mut self, key: &[u8]) {
        if let Some(clients) = self.keys.get(key) {
            self.ready.extend(clients.iter().map(|(order, id)| (*order, *id)));
        }
    }

    /// Returns the next ready client, in blocking order.
    pub(super) fn pop_ready(&mut self) -> Option<u64> {
        self.ready.pop_first().map(|(_, id)| id)
    }

    /// Returns the keys to check for expiry if the check is due.
    pub(super) fn keys_to_check(&mut self) -> Vec<Box<[u8]>> {
        if self.is_empty() || self.expiry_checked.elapsed() < EXPIRY_INTERVAL {
            return Vec::new();
        }
        self.expiry_checked = Instant::now();
        self.keys.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}
