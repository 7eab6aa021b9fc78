//! The counter of errors and warnings at the end of tasks, in the formats of outlines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout};

use super::reader::{WholeLogReader, blocking};
use crate::analysis::Outline;
use crate::model::ErrorCounts;
use crate::tasks::{LogCounter, TaskHandle};

/// Maximum number of logs that are counted at the same time while their ends wait, and without a wait.
const ENDS_MAX: usize = 4;
const LONG_MAX: usize = 1;

/// A counter that reads each log once.
#[derive(Debug)]
pub(crate) struct OutlineCounter {
    /// Time for one log.
    time_max: Duration,
    ends: Arc<Semaphore>,
    /// Apart, so that no end waits for a long log.
    long: Arc<Semaphore>,
}

impl OutlineCounter {
    pub(crate) fn new(time_max: Duration) -> Self {
        Self { time_max, ends: Arc::new(Semaphore::new(ENDS_MAX)), long: Arc::new(Semaphore::new(LONG_MAX)) }
    }
}

impl LogCounter for OutlineCounter {
    fn count(&self, task: TaskHandle, limit: Option<Duration>) -> BoxFuture<'static, Option<ErrorCounts>> {
        let (ends, long, time_max) = (self.ends.clone(), self.long.clone(), limit.unwrap_or(self.time_max));
        Box::pin(async move {
            let begun = Instant::now();
            let _permit = match limit {
                Some(limit) => timeout(limit, ends.acquire()).await.ok()?.ok()?,
                None => long.acquire().await.ok()?,
            };
            // The wait for a permit is part of a limit, and not of the counter's own time.
            let deadline = limit.map_or_else(Instant::now, |_| begun) + time_max;
            let last = task.details().last_line;
            let counted = blocking(move |cancelled| {
                let mut outline = Outline::default();
                let reader = WholeLogReader { task, deadline, cancelled };
                let next = reader.read(1, |row| outline.push(&row))?;
                Ok((next > last).then(|| outline.counts()))
            });
            // A reader looks at the time after each part of a log.
            let (errors, warnings) = tokio::select! {
                counted = counted => counted.ok()??,
                () = sleep_until(deadline.into()) => return None,
            };
            Some(ErrorCounts { errors, warnings })
        })
    }
}
