//! The number of runs, for the limit on them.
//!
//! Counting scans the streams of all runs, so a new run only adds one to the last count. Redis clients create and
//! delete runs without this module, so the streams are counted again now and then, and before a run is rejected.

use std::time::{Duration, Instant};

/// Age of a count after which the runs are counted again.
const AGE_MAX: Duration = Duration::from_secs(30);
/// The same while the limit is reached.
const AGE_AT_LIMIT: Duration = Duration::from_millis(100);

/// The last count of the runs, and the runs created and removed since.
#[derive(Debug, Default)]
pub(super) struct RunCount {
    runs: u64,
    counted: Option<Instant>,
}

impl RunCount {
    /// Adds a run if there are fewer than `max`; else returns their number.
    pub(super) async fn add<E>(
        &mut self,
        max: u64,
        now: Instant,
        count: impl AsyncFnOnce() -> Result<u64, E>,
    ) -> Result<Result<(), u64>, E> {
        let age_max = if self.runs >= max { AGE_AT_LIMIT } else { AGE_MAX };
        if self.counted.is_none_or(|counted| now.duration_since(counted) >= age_max) {
            self.runs = count().await?;
            self.counted = Some(now);
        }
        if self.runs >= max {
            return Ok(Err(self.runs));
        }
        self.runs += 1;
        Ok(Ok(()))
    }

    /// Subtracts a removed run.
    pub(super) fn remove(&mut self) {
        self.runs = self.runs.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_are_counted_once_for_many_new_ones_and_again_at_the_limit() {
        let (mut count, mut scans, start) = (RunCount::default(), 0, Instant::now());
        let mut add = async |count: &mut RunCount, at: Duration, real: u64| {
            let counted = count.add(1_000, start + at, async || {
                scans += 1;
                Ok::<u64, ()>(real)
            });
            (counted.await.unwrap(), scans)
        };
        for _ in 0..990 {
            assert_eq!(add(&mut count, Duration::ZERO, 10).await, (Ok(()), 1));
        }
        assert_eq!(add(&mut count, Duration::ZERO, 10).await, (Err(1_000), 1));
        count.remove();
        assert_eq!(add(&mut count, Duration::ZERO, 10).await, (Ok(()), 1), "one was removed");
        assert_eq!(add(&mut count, Duration::from_millis(100), 7).await, (Ok(()), 2), "a Redis client removed most");
        assert_eq!(add(&mut count, Duration::from_secs(31), 2_000).await, (Err(2_000), 3), "or created many");
    }
}
