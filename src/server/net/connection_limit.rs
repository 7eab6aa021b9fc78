//! Places for connections: how many there may be in all, and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one port.
#[derive(Debug)]
pub(in crate::server) struct Places {
    all: Arc<Semaphore>,
    each_max: u64,
    /// Connections of each network that has any. Held for a moment.
    networks: Arc<Mutex<HashMap<IpAddr, u64>>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Full {
    /// All are taken.
    All,
    /// This address has as many as one may have.
    Address,
}

/// A connection's place among all; free again when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Seat(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// A connection's part of what its address may have; free again when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Share {
    networks: Arc<Mutex<HashMap<IpAddr, u64>>>,
    network: IpAddr,
}

/// What a request holds while it is answered: its connection's place, and where a proxy brought it, a
/// part of what its client's address may have. A WebSocket keeps it after the HTTP connection is done.
#[derive(Clone, Debug)]
pub(in crate::server) struct Place {
    connection: Arc<(Seat, Option<Share>)>,
    #[expect(dead_code, reason = "held")]
    client: Option<Arc<Share>>,
}

impl Place {
    /// Of a connection; none of an address if it is a proxy's, which brings the requests of many.
    pub(in crate::server) fn new(seat: Seat, share: Option<Share>) -> Self {
        Self { connection: Arc::new((seat, share)), client: None }
    }

    /// Of a request on this connection, which a proxy brought from that address.
    pub(in crate::server) fn of_client(&self, places: &Places, address: IpAddr) -> Result<Self, Full> {
        let client = match self.connection.1 {
            Some(_) => None,
            None => Some(Arc::new(places.share(address)?)),
        };
        Ok(Self { connection: self.connection.clone(), client })
    }
}

impl Places {
    /// So many in all, and so many for each address.
    pub(in crate::server) fn new(all_max: u64, each_max: u64) -> Self {
        let all_max = usize::try_from(all_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(all_max)), each_max, networks: Arc::default() }
    }

    /// A place, if one is free.
    pub(in crate::server) fn seat(&self) -> Result<Seat, Full> {
        self.all.clone().try_acquire_owned().map(Seat).map_err(|_| Full::All)
    }

    /// A part of what this address may have.
    pub(in crate::server) fn share(&self, address: IpAddr) -> Result<Share, Full> {
        let network = network(address);
        let mut networks = self.networks.lock();
        let count = networks.entry(network).or_default();
        if *count >= self.each_max {
            return Err(Full::Address);
        }
        *count += 1;
        drop(networks);
        Ok(Share { networks: self.networks.clone(), network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut networks = self.networks.lock();
        if let Some(count) = networks.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&self.network);
            }
        }
    }
}

/// What counts as one address: a provider gives each of its customers a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let places = Places::new(10, 2);
        let first = places.share(address("192.0.2.1")).unwrap();
        let mapped = places.share(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(places.share(address("192.0.2.1")).unwrap_err(), Full::Address);
        let other = places.share(address("192.0.2.2")).unwrap();
        drop(first);
        let again = places.share(address("192.0.2.1")).unwrap();
        drop((mapped, other, again));
        assert!(places.networks.lock().is_empty(), "an address that has gone takes no memory");
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let places = Places::new(10, 1);
        let _first = places.share(address("2001:db8:1:2::1")).unwrap();
        assert_eq!(places.share(address("2001:db8:1:2:ffff::9")).unwrap_err(), Full::Address);
        assert!(places.share(address("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn all_places_are_limited() {
        let places = Places::new(1, 5);
        let first = places.seat().unwrap();
        assert_eq!(places.seat().unwrap_err(), Full::All);
        drop(first);
        assert!(places.seat().is_ok());
    }
}
