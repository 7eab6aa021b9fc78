//! Readers that wait for a key to change (Redis: XREAD BLOCK, XREADGROUP BLOCK).
//!
//! They are served where the change is made, between one command and the next: whatever the next
//! one takes away again, they have seen what was there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::keys::Transaction;
use super::writer::CommitCallback;

/// Looks again for a client that waits. Gives the answer, or `None` to go on waiting, which it may
/// only for [`WakeReason::Changed`].
pub type RetryFn = Box<dyn FnMut(&mut Transaction<'_>, WakeReason) -> Option<CommitCallback> + Send>;

/// A client that waits.
pub struct BlockedClient {
    /// The client.
    pub client: u64,
    /// The keys it waits for.
    pub keys: Vec<Box<[u8]>>,
    /// What is done when one of them has changed.
    pub retry: RetryFn,
}

/// Why a client that waits is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// One of its keys has changed.
    Changed,
    /// Its time is over, it went away, or `CLIENT UNBLOCK id TIMEOUT`.
    TimedOut,
    /// `CLIENT UNBLOCK id ERROR`.
    Unblocked,
}

/// All who wait, in the order they came.
#[derive(Default)]
pub(super) struct Waitings {
    clients: HashMap<u64, (u64, BlockedClient)>,
    /// By key and order, the client.
    keys: HashMap<Box<[u8]>, BTreeMap<u64, u64>>,
    /// Orders and clients whose keys have changed.
    due: BTreeSet<(u64, u64)>,
    next: u64,
    /// The place of the client that was taken last.
    taken: Option<u64>,
}

impl Waitings {
    pub(super) fn add(&mut self, waiting: BlockedClient) {
        self.next += 1;
        self.insert(self.next, waiting);
    }

    fn insert(&mut self, order: u64, waiting: BlockedClient) {
        for key in &waiting.keys {
            self.keys.entry(key.clone()).or_default().insert(order, waiting.client);
        }
        self.clients.insert(waiting.client, (order, waiting));
    }

    /// Takes a client out, with the place it had.
    pub(super) fn take(&mut self, client: u64) -> Option<BlockedClient> {
        let (order, waiting) = self.clients.remove(&client)?;
        for key in &waiting.keys {
            if let Some(clients) = self.keys.get_mut(key) {
                clients.remove(&order);
                if clients.is_empty() {
                    self.keys.remove(key);
                }
            }
        }
        self.taken = Some(order);
        Some(waiting)
    }

    /// Puts back the client that was taken last.
    pub(super) fn put_back(&mut self, waiting: BlockedClient) {
        match self.taken.take() {
            Some(order) => self.insert(order, waiting),
            None => self.add(waiting),
        }
    }

    /// A key has changed.
    pub(super) fn changed(&mut self, key: &[u8]) {
        if let Some(clients) = self.keys.get(key) {
            self.due.extend(clients.iter().map(|(order, client)| (*order, *client)));
        }
    }

    /// The next client to be looked at.
    pub(super) fn next_due(&mut self) -> Option<u64> {
        self.due.pop_first().map(|(_, client)| client)
    }

    /// The keys that are waited for.
    pub(super) fn keys(&self) -> Vec<Box<[u8]>> {
        self.keys.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }
}
