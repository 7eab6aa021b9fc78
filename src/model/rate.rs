//! Rate limits: token buckets that fill at the rate and hold a few seconds of it.

use std::time::{Duration, Instant};

use super::units;

/// Capacity of a bucket, in seconds of its rate: the burst allowed after a pause.
pub const BURST_SECONDS: u64 = 5;

/// Limits per second; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Lines per second.
    pub lines: Option<u64>,
    /// Bytes of text per second.
    pub bytes: Option<u64>,
}

impl RateLimits {
    /// Returns full buckets for these rates, or `None` without any limit.
    pub fn buckets(self, now: Instant) -> Option<TokenBuckets> {
        let bucket = |rate: u64| TokenBucket::new(rate, now);
        let meter = TokenBuckets { lines: self.lines.map(bucket), bytes: self.bytes.map(bucket) };
        (meter.lines.is_some() || meter.bytes.is_some()).then_some(meter)
    }
}

/// A pair of token buckets, for lines and for bytes.
#[derive(Clone, Debug)]
pub struct TokenBuckets {
    lines: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
}

impl TokenBuckets {
    /// Accepts lines with this many bytes if both buckets are positive. They may overdraw a bucket; nothing
    /// is accepted until it has refilled.
    pub fn try_acquire(&mut self, lines: u64, bytes: u64, now: Instant) -> bool {
        let accepted = self.wait(now).is_zero();
        if accepted {
            self.charge(lines, bytes, now);
        }
        accepted
    }

    /// Charges lines that were accepted already; returns the time until more should be accepted.
    pub fn charge(&mut self, lines: u64, bytes: u64, now: Instant) -> Duration {
        for (bucket, amount) in [(&mut self.lines, lines), (&mut self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                bucket.amount -= amount as f64;
            }
        }
        self.wait(now)
    }

    /// Returns the time until something is accepted; zero if it would be now.
    pub fn wait(&mut self, now: Instant) -> Duration {
        [&mut self.lines, &mut self.bytes]
            .into_iter()
            .flatten()
            .map(|bucket| bucket.wait(now))
            .max()
            .unwrap_or_default()
    }

    /// Returns the rate that limits at present, with its text `1000 lines/s`; if none does, the first one.
    pub fn limiting_rate(&mut self, now: Instant) -> (RateUnit, String) {
        let lines = self.lines.as_mut().map(|lines| (lines.wait(now), lines.rate));
        let bytes = self.bytes.as_mut().map(|bytes| (bytes.wait(now), bytes.rate));
        match (lines, bytes) {
            (Some((_, rate)), None) => (RateUnit::Lines, format!("{rate} lines/s")),
            (Some((wait, rate)), Some((longer, _))) if wait >= longer => (RateUnit::Lines, format!("{rate} lines/s")),
            (_, Some((_, rate))) => (RateUnit::Bytes, format!("{}/s", units::show_size(rate))),
            (None, None) => (RateUnit::Lines, String::new()),
        }
    }
}

/// One of the two rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateUnit {
    /// Lines per second.
    Lines,
    /// Bytes per second.
    Bytes,
}

#[derive(Clone, Debug)]
struct TokenBucket {
    /// Tokens per second.
    rate: u64,
    /// Available tokens; negative if overdrawn.
    amount: f64,
    filled: Instant,
}

impl TokenBucket {
    fn new(rate: u64, now: Instant) -> Self {
        Self { rate, amount: (rate * BURST_SECONDS) as f64, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.amount = (self.amount + passed * self.rate as f64).min((self.rate * BURST_SECONDS) as f64);
        self.filled = now;
    }

    fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        if self.amount > 0.0 {
            return Duration::ZERO;
        }
        // A rate of zero never accepts anything.
        let seconds = (1.0 - self.amount) / self.rate.max(1) as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(lines: Option<u64>, bytes: Option<u64>, now: Instant) -> TokenBuckets {
        RateLimits { lines, bytes }.buckets(now).unwrap()
    }

    #[test]
    fn burst_is_accepted_then_the_rate() {
        let start = Instant::now();
        let mut meter = meter(Some(10), None, start);
        assert_eq!((0..100).filter(|_| meter.try_acquire(1, 0, start)).count(), 50);
        assert_eq!(meter.wait(start), Duration::from_millis(100));
        let later = start + Duration::from_secs(2);
        assert_eq!((0..100).filter(|_| meter.try_acquire(1, 0, later)).count(), 20);
        let much_later = start + Duration::from_secs(1_000);
        assert_eq!(
            (0..100).filter(|_| meter.try_acquire(1, 0, much_later)).count(),
            50,
            "no more than the burst is held"
        );
        assert_eq!(meter.limiting_rate(much_later), (RateUnit::Lines, "10 lines/s".to_owned()));
    }

    #[test]
    fn oversized_acquire_overdraws_the_bucket() {
        let start = Instant::now();
        let mut meter = meter(Some(1_000), Some(1_024), start);
        assert!(meter.try_acquire(1, 10 * 1_024, start));
        assert!(!meter.try_acquire(1, 1, start));
        assert_eq!(meter.limiting_rate(start), (RateUnit::Bytes, "1KiB/s".to_owned()));
        assert!(!meter.try_acquire(1, 1, start + Duration::from_secs(5)));
        assert!(meter.try_acquire(1, 1, start + Duration::from_millis(5_100)));
    }

    #[test]
    fn no_limits_need_no_buckets() {
        assert!(RateLimits::default().buckets(Instant::now()).is_none());
    }
}
