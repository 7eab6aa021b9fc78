//! Rate limits of lines and bytes per connection: a connection over its limit is read more slowly. No data is
//! lost, since it waits at the sender, whose own policy for a full buffer applies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::limits::{Limit, LimitCounters};
use crate::model::rate::{RateLimits, RateUnit, TokenBuckets};
use crate::server::state::State;

/// Maximum length of a pause, so that pings are still read in time.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The rate limit of one connection.
#[derive(Debug)]
pub(in crate::server) struct ConnectionRate {
    buckets: Option<TokenBuckets>,
    /// End of the current pause.
    until: Option<Instant>,
    hits: Arc<LimitCounters>,
}

impl ConnectionRate {
    /// Returns the rate limit of a new connection.
    pub(in crate::server) fn new(state: &State) -> Self {
        let limits = &state.options.limits;
        let rates =
            RateLimits { lines: limits.connection_lines_per_second_max, bytes: limits.connection_bytes_per_second_max };
        Self { buckets: rates.buckets(Instant::now()), until: None, hits: state.limit_counters.clone() }
    }

    /// Records lines read from the connection.
    pub(in crate::server) fn record(&mut self, lines: u64, bytes: u64) {
        let Some(buckets) = &mut self.buckets else { return };
        let now = Instant::now();
        let wait = buckets.charge(lines, bytes, now);
        if wait.is_zero() || self.until.replace(now + wait.min(PAUSE_MAX)).is_some() {
            return;
        }
        self.hits.count(match buckets.limiting_rate(now).0 {
            RateUnit::Lines => Limit::connection_lines_per_second_max,
            RateUnit::Bytes => Limit::connection_bytes_per_second_max,
        });
    }

    /// Returns whether reading should pause.
    pub(in crate::server) fn is_reached(&self) -> bool {
        self.until.is_some()
    }

    /// Returns the rest of the current pause, if there is one.
    pub(in crate::server) fn pause(&mut self) -> Option<Duration> {
        let rest = self.until?.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            self.until = None;
        }
        self.until.map(|_| rest)
    }
}
