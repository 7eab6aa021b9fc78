//! Which server holds a key.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::keys::slot_of;
use super::node::{NodeSettings, RequestError};
use super::url::{JournalKind, JournalUrl, NodeAddress};

/// The arrangement of the servers, as far as it is known.
#[derive(Debug)]
pub(super) struct Topology {
    kind: JournalKind,
    hosts: Vec<NodeAddress>,
    /// Held for a few instructions.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The primary, where there is one.
    primary: Option<NodeAddress>,
    /// First slot of each range, and its primary.
    slots: BTreeMap<u16, NodeAddress>,
}

impl Topology {
    pub(super) fn new(url: &JournalUrl) -> Self {
        Self { kind: url.kind.clone(), hosts: url.hosts.clone(), known: Mutex::default() }
    }

    /// Returns the address of the server that holds a key.
    pub(super) async fn address_of(&self, key: &str, _settings: &NodeSettings) -> Result<NodeAddress, RequestError> {
        match &self.kind {
            JournalKind::Single => Ok(self.hosts[0].clone()),
            _ => {
                let _ = slot_of(key.as_bytes());
                Err(RequestError::Retry("not supported yet".to_owned()))
            }
        }
    }

    /// Records that another server holds a key.
    pub(super) fn moved(&self, _key: &str, _address: &NodeAddress) {}

    /// Makes the next request ask for the arrangement again.
    pub(super) fn forget(&self) {
        let mut known = self.known.lock();
        known.primary = None;
        known.slots.clear();
    }
}
