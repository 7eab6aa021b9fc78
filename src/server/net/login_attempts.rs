//! Tokens that are wrong, counted by address.
//!
//! A token has 256 random bits: nobody guesses one. What this does is to make trying slow and to show it,
//! without ever keeping out whoever has a good one from the same address (a proxy, a firewall).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::Semaphore;

/// Over this time failures are counted.
pub(in crate::server) const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are told apart; what comes from more is counted together.
const ADDRESSES_MAX: usize = 4096;
/// An answer over the limit waits so long, if not too many wait already.
const DELAY: Duration = Duration::from_secs(1);
const DELAYED_MAX: usize = 256;
/// All addresses beyond those that are told apart.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Why somebody was not let in, and at which door.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::server) struct FailureLabel {
    door: &'static str,
    reason: &'static str,
}

/// Failures of all doors.
#[derive(Debug)]
pub(in crate::server) struct Throttle {
    /// Held for a moment.
    failed: Mutex<HashMap<IpAddr, Failed>>,
    delayed: Arc<Semaphore>,
    /// For `/metrics`.
    pub(in crate::server) failures: Family<FailureLabel, Counter>,
}

#[derive(Debug)]
struct Failed {
    count: u64,
    since: Instant,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Failure {
    /// It is told.
    Told,
    /// There were too many from this address; the first one over the limit in this window is marked.
    TooMany { first: bool },
}

impl Default for Throttle {
    fn default() -> Self {
        Self { failed: Mutex::default(), delayed: Arc::new(Semaphore::new(DELAYED_MAX)), failures: Family::default() }
    }
}

impl Throttle {
    /// Counts somebody who was not let in.
    pub(in crate::server) fn count(&self, door: &'static str, reason: &'static str) {
        self.failures.get_or_create(&FailureLabel { door, reason }).inc();
    }

    /// A token from this address was wrong; `max` may be in a window.
    pub(in crate::server) fn failed(&self, address: IpAddr, max: u64) -> Failure {
        let now = Instant::now();
        let mut failed = self.failed.lock();
        let mut address = network(address);
        if !failed.contains_key(&address) && failed.len() >= ADDRESSES_MAX {
            failed.retain(|_, failed| now.duration_since(failed.since) < WINDOW);
            if failed.len() >= ADDRESSES_MAX {
                address = OTHERS;
            }
        }
        let entry = failed.entry(address).or_insert(Failed { count: 0, since: now });
        if now.duration_since(entry.since) >= WINDOW {
            *entry = Failed { count: 0, since: now };
        }
        entry.count += 1;
        if entry.count > max { Failure::TooMany { first: entry.count == max + 1 } } else { Failure::Told }
    }

    /// What an answer over the limit waits for.
    pub(in crate::server) async fn delay(&self) {
        if let Ok(_place) = self.delayed.try_acquire() {
            tokio::time::sleep(DELAY).await;
        }
    }
}

/// Who has one address of IPv6 has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_told_so_often_and_the_table_is_bounded() {
        let throttle = Throttle::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(throttle.failed(address, 3), Failure::Told);
        }
        assert_eq!(throttle.failed("::ffff:192.0.2.1".parse().unwrap(), 3), Failure::TooMany { first: true });
        assert_eq!(throttle.failed(address, 3), Failure::TooMany { first: false });
        assert_eq!(throttle.failed("2001:db8::1".parse().unwrap(), 1), Failure::Told);
        assert_eq!(throttle.failed("2001:db8::2".parse().unwrap(), 1), Failure::TooMany { first: true });
        for n in 0..10_000_u32 {
            throttle.failed(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), 1);
        }
        assert!(throttle.failed.lock().len() <= ADDRESSES_MAX + 1);
        assert_eq!(throttle.failed("10.255.255.1".parse().unwrap(), 1), Failure::TooMany { first: false });
    }
}
