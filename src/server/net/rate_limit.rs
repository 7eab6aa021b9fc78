//! A connection's rates of lines and bytes: one that is faster is read more slowly. Nothing is lost by
//! that: what waits is with the sender, whose own rule for a full buffer holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::limits::{Limit, LimitCounters};
use crate::model::rate::{RateLimits, RateUnit, TokenBuckets};
use crate::server::state::State;

/// A pause is at most this long, so that a ping is read now and then.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Holds one connection to its rates.
#[derive(Debug)]
pub(in crate::server) struct Throttle {
    meter: Option<TokenBuckets>,
    /// Nothing more should be read before.
    until: Option<Instant>,
    hits: Arc<LimitCounters>,
}

impl Throttle {
    /// For a connection that begins now.
    pub(in crate::server) fn new(state: &State) -> Self {
        let limits = &state.options.limits;
        let rates =
            RateLimits { lines: limits.connection_lines_per_second_max, bytes: limits.connection_bytes_per_second_max };
        Self { meter: rates.buckets(Instant::now()), until: None, hits: state.hits.clone() }
    }

    /// Lines of so many bytes were read.
    pub(in crate::server) fn took(&mut self, lines: u64, bytes: u64) {
        let Some(meter) = &mut self.meter else { return };
        let now = Instant::now();
        let wait = meter.charge(lines, bytes, now);
        if wait.is_zero() || self.until.replace(now + wait.min(PAUSE_MAX)).is_some() {
            return;
        }
        self.hits.count(match meter.limiting_rate(now).0 {
            RateUnit::Lines => Limit::connection_lines_per_second_max,
            RateUnit::Bytes => Limit::connection_bytes_per_second_max,
        });
    }

    /// Whether nothing more should be read now.
    pub(in crate::server) fn is_reached(&self) -> bool {
        self.until.is_some()
    }

    /// How long nothing should be read, if there is to be a pause.
    pub(in crate::server) fn wait(&mut self) -> Option<Duration> {
        let rest = self.until?.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            self.until = None;
        }
        self.until.map(|_| rest)
    }
}
