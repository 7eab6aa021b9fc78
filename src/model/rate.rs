//! How much may pass in a second: a bucket that fills at the rate and holds some seconds of it.

use std::time::{Duration, Instant};

use super::units;

/// Seconds of the rate that may pass at once after a pause.
pub const BURST_SECONDS: u64 = 5;

/// What may pass in a second; `None` is any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Lines.
    pub lines: Option<u64>,
    /// Bytes of their text.
    pub bytes: Option<u64>,
}

impl Rates {
    /// Something that holds to these rates; none if there is nothing to hold to.
    pub fn meter(self, now: Instant) -> Option<Meter> {
        let bucket = |rate: u64| Bucket::new(rate, now);
        let meter = Meter { lines: self.lines.map(bucket), bytes: self.bytes.map(bucket) };
        (meter.lines.is_some() || meter.bytes.is_some()).then_some(meter)
    }
}

/// Counts what passes against the rates.
#[derive(Clone, Debug)]
pub struct Meter {
    lines: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    /// Lets lines of so many bytes pass, if something may pass now. What passes may be more than there
    /// was room for; then nothing passes until that is made good.
    pub fn take(&mut self, lines: u64, bytes: u64, now: Instant) -> bool {
        let passes = self.wait(now).is_zero();
        if passes {
            self.owe(lines, bytes, now);
        }
        passes
    }

    /// Counts what has passed already; answers how long nothing more should pass.
    pub fn owe(&mut self, lines: u64, bytes: u64, now: Instant) -> Duration {
        for (bucket, amount) in [(&mut self.lines, lines), (&mut self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                bucket.amount -= amount as f64;
            }
        }
        self.wait(now)
    }

    /// How long nothing may pass; zero if something may.
    pub fn wait(&mut self, now: Instant) -> Duration {
        [&mut self.lines, &mut self.bytes]
            .into_iter()
            .flatten()
            .map(|bucket| bucket.wait(now))
            .max()
            .unwrap_or_default()
    }

    /// The rate that is reached, in words: `1000 lines/s`; if none is, the first there is.
    pub fn reached(&mut self, now: Instant) -> (Reached, String) {
        let lines = self.lines.as_mut().map(|lines| (lines.wait(now), lines.rate));
        let bytes = self.bytes.as_mut().map(|bytes| (bytes.wait(now), bytes.rate));
        match (lines, bytes) {
            (Some((_, rate)), None) => (Reached::Lines, format!("{rate} lines/s")),
            (Some((wait, rate)), Some((longer, _))) if wait >= longer => (Reached::Lines, format!("{rate} lines/s")),
            (_, Some((_, rate))) => (Reached::Bytes, format!("{}/s", units::show_size(rate))),
            (None, None) => (Reached::Lines, String::new()),
        }
    }
}

/// Which of two rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// That of lines.
    Lines,
    /// That of bytes.
    Bytes,
}

#[derive(Clone, Debug)]
struct Bucket {
    /// A second.
    rate: u64,
    /// What may pass; below zero what has passed too much.
    amount: f64,
    filled: Instant,
}

impl Bucket {
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
        // A rate of zero never passes anything.
        let seconds = (1.0 - self.amount) / self.rate.max(1) as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(lines: Option<u64>, bytes: Option<u64>, now: Instant) -> Meter {
        Rates { lines, bytes }.meter(now).unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut meter = meter(Some(10), None, start);
        assert_eq!((0..100).filter(|_| meter.take(1, 0, start)).count(), 50);
        assert_eq!(meter.wait(start), Duration::from_millis(100));
        let later = start + Duration::from_secs(2);
        assert_eq!((0..100).filter(|_| meter.take(1, 0, later)).count(), 20);
        let much_later = start + Duration::from_secs(1_000);
        assert_eq!((0..100).filter(|_| meter.take(1, 0, much_later)).count(), 50, "no more than the burst is held");
        assert_eq!(meter.reached(much_later), (Reached::Lines, "10 lines/s".to_owned()));
    }

    #[test]
    fn what_is_larger_than_the_burst_passes_and_is_made_good() {
        let start = Instant::now();
        let mut meter = meter(Some(1_000), Some(1_024), start);
        assert!(meter.take(1, 10 * 1_024, start));
        assert!(!meter.take(1, 1, start));
        assert_eq!(meter.reached(start), (Reached::Bytes, "1KiB/s".to_owned()));
        assert!(!meter.take(1, 1, start + Duration::from_secs(5)));
        assert!(meter.take(1, 1, start + Duration::from_millis(5_100)));
    }

    #[test]
    fn no_rate_is_no_meter() {
        assert!(Rates::default().meter(Instant::now()).is_none());
    }
}
