//! Limits on the number of connections, in total and per address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connection limits of one port.
#[derive(Debug)]
pub(in crate::server) struct ConnectionLimiter {
    total: Arc<Semaphore>,
    per_address_max: u64,
    /// Number of connections of each network that has any. Locked briefly.
    networks: Arc<Mutex<HashMap<IpAddr, u64>>>,
}

/// The limit that rejected a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum LimitReached {
    /// The total number of connections.
    Total,
    /// The number of connections from one address.
    Address,
}

/// A permit for one connection out of the total, released when dropped.
#[derive(Debug)]
pub(in crate::server) struct GlobalPermit(#[expect(dead_code, reason = "released on drop")] OwnedSemaphorePermit);

/// A permit for one connection from an address, released when dropped.
#[derive(Debug)]
pub(in crate::server) struct PerAddressPermit {
    networks: Arc<Mutex<HashMap<IpAddr, u64>>>,
    network: IpAddr,
}

/// The permits held by a request: its connection's, and behind a proxy also one of the client's address. A
/// WebSocket keeps them after the HTTP connection has ended.
#[derive(Clone, Debug)]
pub(in crate::server) struct ConnectionPermit {
    connection: Arc<(GlobalPermit, Option<PerAddressPermit>)>,
    #[expect(dead_code, reason = "released on drop")]
    client: Option<Arc<PerAddressPermit>>,
}

impl ConnectionPermit {
    /// Returns the permit of a connection. A proxy's connection has no permit of an address, since it carries
    /// the requests of many clients.
    pub(in crate::server) fn new(global: GlobalPermit, per_address: Option<PerAddressPermit>) -> Self {
        Self { connection: Arc::new((global, per_address)), client: None }
    }

    /// Returns the permit of a request that a proxy forwards on this connection from `address`.
    pub(in crate::server) fn for_client(
        &self,
        limiter: &ConnectionLimiter,
        address: IpAddr,
    ) -> Result<Self, LimitReached> {
        let client = match self.connection.1 {
            Some(_) => None,
            None => Some(Arc::new(limiter.try_acquire_for(address)?)),
        };
        Ok(Self { connection: self.connection.clone(), client })
    }
}

impl ConnectionLimiter {
    /// Returns a limiter for `total_max` connections, and `per_address_max` from each address.
    pub(in crate::server) fn new(total_max: u64, per_address_max: u64) -> Self {
        let total_max = usize::try_from(total_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { total: Arc::new(Semaphore::new(total_max)), per_address_max, networks: Arc::default() }
    }

    /// Acquires a permit out of the total, if one is free.
    pub(in crate::server) fn try_acquire(&self) -> Result<GlobalPermit, LimitReached> {
        self.total.clone().try_acquire_owned().map(GlobalPermit).map_err(|_| LimitReached::Total)
    }

    /// Acquires a permit for a connection from `address`, if one is free.
    pub(in crate::server) fn try_acquire_for(&self, address: IpAddr) -> Result<PerAddressPermit, LimitReached> {
        let network = network(address);
        let mut networks = self.networks.lock();
        let count = networks.entry(network).or_default();
        if *count >= self.per_address_max {
            return Err(LimitReached::Address);
        }
        *count += 1;
        drop(networks);
        Ok(PerAddressPermit { networks: self.networks.clone(), network })
    }
}

impl Drop for PerAddressPermit {
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

/// Returns the network that counts as one address: a provider usually assigns a whole /64 of IPv6 to each customer.
pub(in crate::server) fn network(address: IpAddr) -> IpAddr {
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
    fn connections_per_address_are_limited() {
        let limiter = ConnectionLimiter::new(10, 2);
        let first = limiter.try_acquire_for(address("192.0.2.1")).unwrap();
        let mapped = limiter.try_acquire_for(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(limiter.try_acquire_for(address("192.0.2.1")).unwrap_err(), LimitReached::Address);
        let other = limiter.try_acquire_for(address("192.0.2.2")).unwrap();
        drop(first);
        let again = limiter.try_acquire_for(address("192.0.2.1")).unwrap();
        drop((mapped, other, again));
        assert!(limiter.networks.lock().is_empty(), "an address without connections uses no memory");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one_address() {
        let limiter = ConnectionLimiter::new(10, 1);
        let _first = limiter.try_acquire_for(address("2001:db8:1:2::1")).unwrap();
        assert_eq!(limiter.try_acquire_for(address("2001:db8:1:2:ffff::9")).unwrap_err(), LimitReached::Address);
        assert!(limiter.try_acquire_for(address("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn the_total_is_limited() {
        let limiter = ConnectionLimiter::new(1, 5);
        let first = limiter.try_acquire().unwrap();
        assert_eq!(limiter.try_acquire().unwrap_err(), LimitReached::Total);
        drop(first);
        assert!(limiter.try_acquire().is_ok());
    }
}
