//! Attempts of a request: bounded in number and time, with pauses that grow.

use std::future::Future;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{sleep, timeout};

use super::super::error::FailureKind;
use super::{Failure, ObjectCounters, S3Store};

impl S3Store {
    /// Returns the result of the first attempt that does not fail for a passing reason, or the last failure.
    pub(super) async fn attempts<T, A, F>(&self, mut attempt: A) -> Result<T, Failure>
    where
        A: FnMut() -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let limits = &self.limits;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(limits.retry_delay)
            .with_max_delay(limits.retry_delay_max)
            .with_max_times(limits.attempts_max.saturating_sub(1) as usize)
            .with_jitter();
        let mut pauses = pauses.build();
        let mut attempts = 0;
        loop {
            attempts += 1;
            ObjectCounters::add(&self.counters.attempts, 1);
            let timed_out =
                |_| Err(Failure::transient(format!("no result within {} s", limits.attempt_timeout.as_secs_f32())));
            let result = timeout(limits.attempt_timeout, Box::pin(attempt())).await.unwrap_or_else(timed_out);
            let Err(mut failure) = result else { return result };
            if failure.kind != FailureKind::Transient {
                return Err(failure);
            }
            let Some(pause) = pauses.next() else {
                failure.why = format!("{} (attempt {attempts} of {attempts})", failure.why);
                return Err(failure);
            };
            tracing::debug!(store = %self, attempts, why = failure.why, "an attempt failed");
            ObjectCounters::add(&self.counters.retries, 1);
            sleep(pause).await;
        }
    }
}
