//! Which server holds a key: the only one, the primary that Sentinels name, or the one of a cluster's slot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;
use tokio::time::Instant;

use super::connect::{NodeSettings, ask};
use super::keys::slot_of;
use super::node::RequestError;
use super::url::{JournalKind, JournalUrl, NodeAddress};
use super::value::{into_fields_of, into_number, into_text, into_values};

/// Time between two questions for the arrangement, so that a failover is not a storm of them.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// The arrangement of the servers, as far as it is known.
#[derive(Debug)]
pub(super) struct Topology {
    kind: JournalKind,
    hosts: Vec<NodeAddress>,
    /// Held for a few instructions.
    known: Mutex<KnownServers>,
    /// Held while asking: callers share one question.
    asked: tokio::sync::Mutex<Option<(Instant, Option<RequestError>)>>,
}

#[derive(Clone, Debug, Default)]
struct KnownServers {
    /// Whether it may be out of date.
    is_stale: bool,
    /// First slot of each range, and the last one and the primary of it. One primary without a cluster holds all.
    slots: BTreeMap<u16, (u16, NodeAddress)>,
}

impl KnownServers {
    fn primary(&self, slot: u16) -> Option<NodeAddress> {
        let (_, (last, address)) = self.slots.range(..=slot).next_back()?;
        (slot <= *last).then(|| address.clone())
    }

    /// Gives one slot to another primary.
    fn set(&mut self, slot: u16, address: &NodeAddress) {
        let Some((first, (last, before))) = self.slots.range(..=slot).next_back() else { return };
        let (first, last, before) = (*first, *last, before.clone());
        if slot > last || before == *address {
            return;
        }
        if first < slot {
            self.slots.insert(first, (slot - 1, before.clone()));
        }
        if slot < last {
            self.slots.insert(slot + 1, (last, before));
        }
        self.slots.insert(slot, (slot, address.clone()));
    }
}

impl Topology {
    pub(super) fn new(url: &JournalUrl) -> Self {
        let known = match url.kind {
            JournalKind::Single => only(url.hosts[0].clone()),
            _ => KnownServers { is_stale: true, ..KnownServers::default() },
        };
        Self { kind: url.kind.clone(), hosts: url.hosts.clone(), known: Mutex::new(known), asked: Default::default() }
    }

    /// Returns the address of the server that holds a key.
    pub(super) async fn address_of(&self, key: &str, settings: &NodeSettings) -> Result<NodeAddress, RequestError> {
        self.refresh(settings).await?;
        let address = self.known.lock().primary(slot_of(key.as_bytes()));
        address.ok_or_else(|| {
            self.forget();
            RequestError::Retry("no server of the cluster holds the slot".to_owned())
        })
    }

    /// Returns the addresses of all primaries.
    pub(super) async fn primaries(&self, settings: &NodeSettings) -> Result<BTreeSet<NodeAddress>, RequestError> {
        self.refresh(settings).await?;
        Ok(self.known.lock().slots.values().map(|(_, address)| address.clone()).collect())
    }

    /// Records that another server holds a key.
    pub(super) fn moved(&self, key: &str, address: &NodeAddress) {
        let mut known = self.known.lock();
        known.set(slot_of(key.as_bytes()), address);
        // Other slots may have moved too.
        known.is_stale = self.kind != JournalKind::Single;
    }

    /// Makes the next request ask for the arrangement again.
    pub(super) fn forget(&self) {
        self.known.lock().is_stale = self.kind != JournalKind::Single;
    }

    /// Asks for the arrangement if it may be out of date. Without an answer the known one remains.
    async fn refresh(&self, settings: &NodeSettings) -> Result<(), RequestError> {
        if !self.known.lock().is_stale {
            return Ok(());
        }
        let waited_from = Instant::now();
        let mut asked = self.asked.lock().await;
        let known = self.known.lock().clone();
        if !known.is_stale {
            return Ok(());
        }
        match &*asked {
            Some((at, _)) if !known.slots.is_empty() && at.elapsed() < REFRESH_INTERVAL => return Ok(()),
            // No one answered while this caller waited: one question is enough for all who did.
            Some((at, Some(error))) if *at > waited_from => return Err(error.clone()),
            _ => {}
        }
        let found = match &self.kind {
            JournalKind::Single => return Ok(()),
            JournalKind::Sentinel { master } => self.ask_sentinels(master, settings).await,
            JournalKind::Cluster => self.ask_cluster(&known, settings).await,
        };
        let error = match found {
            Ok(found) => {
                *self.known.lock() = found;
                None
            }
            Err(error) => Some(error).filter(|_| known.slots.is_empty()),
        };
        *asked = Some((Instant::now(), error.clone()));
        error.map_or(Ok(()), Err)
    }

    async fn ask_sentinels(&self, master: &str, settings: &NodeSettings) -> Result<KnownServers, RequestError> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let settings = NodeSettings { database: 0, ..settings.clone() };
        let anonymous = NodeSettings { login: None, ..settings.clone() };
        let mut reason = String::new();
        for sentinel in &self.hosts {
            // Many Sentinels have no users although the servers do.
            let mut answer = ask(sentinel, &settings, &command).await;
            if settings.login.is_some() && answer.as_ref().is_err_and(|error| !error.is_io_error()) {
                answer = ask(sentinel, &anonymous, &command).await;
            }
            match answer {
                Ok(Value::Array(parts)) => {
                    let mut parts = parts.into_iter();
                    let host = parts.next().and_then(into_text);
                    let port = parts.next().and_then(into_number).and_then(|port| u16::try_from(port).ok());
                    if let (Some(host), Some(port)) = (host, port) {
                        return Ok(only(NodeAddress { host, port }));
                    }
                }
                Ok(_) => reason = format!("the Sentinel {sentinel} knows no primary {master}"),
                Err(error) => reason = format!("the Sentinel {sentinel}: {error}"),
            }
        }
        Err(RequestError::Retry(reason))
    }

    async fn ask_cluster(&self, known: &KnownServers, settings: &NodeSettings) -> Result<KnownServers, RequestError> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SHARDS");
        let members: BTreeSet<_> = known.slots.values().map(|(_, address)| address).collect();
        let mut reason = "no server of the cluster answers".to_owned();
        for server in members.into_iter().chain(&self.hosts) {
            match ask(server, settings, &command).await {
                Ok(answer) => {
                    let slots = parse_shards(answer, server, settings.tls);
                    if let Some(slots) = slots.filter(|slots| !slots.is_empty()) {
                        return Ok(KnownServers { is_stale: false, slots });
                    }
                    reason = format!("{server} knows no slots");
                }
                Err(error) => reason = format!("{server}: {error}"),
            }
        }
        Err(RequestError::Retry(reason))
    }
}

/// Returns the arrangement in which one server holds everything.
fn only(address: NodeAddress) -> KnownServers {
    KnownServers { is_stale: false, slots: BTreeMap::from([(0, (u16::MAX, address))]) }
}

/// Reads the answer to CLUSTER SHARDS of a server: the ranges of slots and the primary of each.
fn parse_shards(answer: Value, asked: &NodeAddress, tls: bool) -> Option<BTreeMap<u16, (u16, NodeAddress)>> {
    let slot = |value| into_number(value).and_then(|slot| u16::try_from(slot).ok());
    let mut slots = BTreeMap::new();
    for shard in into_values(answer).ok()? {
        let (mut ranges, mut primary) = (Vec::new(), None);
        for (name, value) in into_fields_of(shard)? {
            match name.as_slice() {
                b"slots" => ranges = into_values(value).ok()?,
                b"nodes" => {
                    let nodes = into_values(value).ok()?.into_iter();
                    primary = nodes.filter_map(|node| parse_node(node, asked, tls)).next();
                }
                _ => {}
            }
        }
        let mut ranges = ranges.into_iter();
        while let (Some(first), Some(last), Some(primary)) = (ranges.next(), ranges.next(), &primary) {
            slots.insert(slot(first)?, (slot(last)?, primary.clone()));
        }
    }
    Some(slots)
}

/// Returns the address of a server in CLUSTER SHARDS, if it is a working primary.
fn parse_node(node: Value, asked: &NodeAddress, tls: bool) -> Option<NodeAddress> {
    let fields = into_fields_of(node)?;
    let find =
        |wanted: &[u8]| fields.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| into_text(value.clone()));
    if find(b"role")? != "master" || find(b"health").is_some_and(|health| health != "online") {
        return None;
    }
    // A server that does not know its own address leaves it out.
    let host = find(b"endpoint").filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| asked.host.clone());
    let port = find(if tls { b"tls-port".as_slice() } else { b"port".as_slice() })?;
    Some(NodeAddress { host, port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slot_moves_out_of_a_range() {
        let address = |port| NodeAddress { host: "h".to_owned(), port };
        let mut known = only(address(1));
        known.set(5, &address(2));
        known.set(0, &address(3));
        let ports = [0, 1, 4, 5, 6, 16_383].map(|slot| known.primary(slot).map(|address| address.port));
        assert_eq!(ports, [3, 1, 1, 2, 1, 1].map(Some));
    }
}
