//! Counting of failed logins by address.
//!
//! A token has 256 random bits and cannot be guessed. Counting makes attempts slow and visible, but never
//! locks out a valid token from the same address (a proxy, a firewall).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::Semaphore;

use super::connection_limit::network;

/// The time window over which failures are counted.
pub(in crate::server) const WINDOW: Duration = Duration::from_secs(60);
/// Number of addresses counted separately; further ones are counted together.
const ADDRESSES_MAX: usize = 4096;
/// Delay of a response over the limit, unless too many are delayed already.
const DELAY: Duration = Duration::from_secs(1);
const DELAYED_MAX: usize = 256;
/// The key under which further addresses are counted.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The labels of the failure counter. The name `door`, for the entry point, is part of the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::server) struct FailureLabel {
    door: &'static str,
    reason: &'static str,
}

/// Failed login attempts at all entry points.
#[derive(Debug)]
pub(in crate::server) struct LoginAttempts {
    /// Failures of each address in the current window. Locked briefly.
    by_address: Mutex<HashMap<IpAddr, FailureCount>>,
    delayed: Arc<Semaphore>,
    /// Counter for `/metrics`.
    pub(in crate::server) failures: Family<FailureLabel, Counter>,
}

/// The failures of one address in a window.
#[derive(Debug)]
struct FailureCount {
    count: u64,
    since: Instant,
}

/// The consequence of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum AttemptOutcome {
    /// The address is within its limit.
    Allowed,
    /// The address is over its limit.
    TooMany {
        /// True for the first attempt over the limit in the window.
        first: bool,
    },
}

impl Default for LoginAttempts {
    fn default() -> Self {
        Self {
            by_address: Mutex::default(),
            delayed: Arc::new(Semaphore::new(DELAYED_MAX)),
            failures: Family::default(),
        }
    }
}

impl LoginAttempts {
    /// Counts a failed authentication in the metrics.
    pub(in crate::server) fn count(&self, door: &'static str, reason: &'static str) {
        self.failures.get_or_create(&FailureLabel { door, reason }).inc();
    }

    /// Records a wrong token from `address`, of which `max` are allowed per window.
    pub(in crate::server) fn record_failure(&self, address: IpAddr, max: u64) -> AttemptOutcome {
        let now = Instant::now();
        let mut by_address = self.by_address.lock();
        let mut address = network(address);
        if !by_address.contains_key(&address) && by_address.len() >= ADDRESSES_MAX {
            by_address.retain(|_, failures| now.duration_since(failures.since) < WINDOW);
            if by_address.len() >= ADDRESSES_MAX {
                address = OTHERS;
            }
        }
        let entry = by_address.entry(address).or_insert(FailureCount { count: 0, since: now });
        if now.duration_since(entry.since) >= WINDOW {
            *entry = FailureCount { count: 0, since: now };
        }
        entry.count += 1;
        if entry.count > max {
            AttemptOutcome::TooMany { first: entry.count == max + 1 }
        } else {
            AttemptOutcome::Allowed
        }
    }

    /// Delays a response over the limit.
    pub(in crate::server) async fn delay(&self) {
        if let Ok(_permit) = self.delayed.try_acquire() {
            tokio::time::sleep(DELAY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_limited_per_address_and_the_table_is_bounded() {
        let attempts = LoginAttempts::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(attempts.record_failure(address, 3), AttemptOutcome::Allowed);
        }
        assert_eq!(
            attempts.record_failure("::ffff:192.0.2.1".parse().unwrap(), 3),
            AttemptOutcome::TooMany { first: true }
        );
        assert_eq!(attempts.record_failure(address, 3), AttemptOutcome::TooMany { first: false });
        assert_eq!(attempts.record_failure("2001:db8::1".parse().unwrap(), 1), AttemptOutcome::Allowed);
        assert_eq!(attempts.record_failure("2001:db8::2".parse().unwrap(), 1), AttemptOutcome::TooMany { first: true });
        for n in 0..10_000_u32 {
            attempts.record_failure(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), 1);
        }
        assert!(attempts.by_address.lock().len() <= ADDRESSES_MAX + 1);
        assert_eq!(
            attempts.record_failure("10.255.255.1".parse().unwrap(), 1),
            AttemptOutcome::TooMany { first: false }
        );
    }
}
