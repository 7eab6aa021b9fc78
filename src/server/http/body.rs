//! A request's body as it comes, and for how long that is waited for.
//!
//! A body has `body_timeout` and a second more for every [`BYTES_PER_S_MIN`] that have come; only the
//! time counts in which the server waits for it. So a body that stops is given up after the time-out,
//! one that drips is given up soon after it, and a large one over a slow line has all the time it needs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, timeout};
use warp::Buf;

use super::error::ApiError;
use crate::model::limits::{Limit, LimitCounters};

/// What a body brings at least, after its first time.
const BYTES_PER_S_MIN: u64 = 1024;

/// A request's body.
pub(in crate::server) type Body = BoxStream<'static, Result<Bytes, BodyFault>>;

/// Why there is no more of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum BodyFault {
    /// The connection broke, or the chunks are wrong.
    #[error("the body broke off")]
    Broken,
    /// It was waited for too long.
    #[error("the body did not come in time (body_timeout)")]
    Late,
}

impl From<BodyFault> for ApiError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Broken => ApiError::new(400, "bad_body", fault.to_string()),
            BodyFault::Late => ApiError::new(408, "body_timeout", fault.to_string()),
        }
    }
}

/// The body, for as long as it comes. After a fault there is nothing more of it.
pub(in crate::server) fn timed<B: Buf + 'static, E: 'static>(
    body: impl Stream<Item = Result<B, E>> + Send + 'static,
    time: Duration,
    hits: Arc<LimitCounters>,
) -> Body {
    let begun = Some((body.boxed(), Waited { time, waited: Duration::ZERO, bytes: 0 }));
    let step = move |state: Option<(BoxStream<'static, Result<B, E>>, Waited)>| {
        let hits = hits.clone();
        async move {
            let (mut body, mut waited) = state?;
            let since = Instant::now();
            let next = timeout(waited.left(), body.next()).await;
            waited.waited += since.elapsed();
            match next {
                Ok(None) => None,
                Ok(Some(Ok(mut chunk))) => {
                    let chunk = chunk.copy_to_bytes(chunk.remaining());
                    waited.bytes += chunk.len() as u64;
                    Some((Ok(chunk), Some((body, waited))))
                }
                Ok(Some(Err(_))) => Some((Err(BodyFault::Broken), None)),
                Err(_) => {
                    hits.count(Limit::body_timeout);
                    Some((Err(BodyFault::Late), None))
                }
            }
        }
    };
    // Fused: whoever refuses a body reads on to its end, which may have been before.
    unfold(begun, step).fuse().boxed()
}

struct Waited {
    time: Duration,
    waited: Duration,
    bytes: u64,
}

impl Waited {
    fn left(&self) -> Duration {
        (self.time + Duration::from_secs(self.bytes / BYTES_PER_S_MIN)).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::time::sleep;

    use super::*;

    /// Chunks of so many bytes, one in each `every`; how many came, and how it ended.
    async fn sent(chunks: usize, bytes: usize, every: Duration) -> (usize, Option<BodyFault>) {
        let body = futures::stream::iter(0..chunks).then(move |_| async move {
            sleep(every).await;
            Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes]))
        });
        let mut body = timed(body, Duration::from_secs(10), Arc::default());
        let mut came = 0;
        while let Some(next) = body.next().await {
            match next {
                Ok(_) => came += 1,
                Err(fault) => {
                    assert!(body.next().await.is_none());
                    return (came, Some(fault));
                }
            }
        }
        (came, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_or_drips_is_given_up_and_a_slow_one_is_not() {
        assert_eq!(sent(1, 10, Duration::from_secs(11)).await, (0, Some(BodyFault::Late)));
        // A byte a second, as slow-loris does it: no progress that counts.
        let (came, fault) = sent(1_000, 1, Duration::from_secs(1)).await;
        assert!((9..=10).contains(&came) && fault == Some(BodyFault::Late), "{came} {fault:?}");
        // 2 KiB a second, for more than a quarter of an hour.
        assert_eq!(sent(1_000, 2048, Duration::from_secs(1)).await, (1_000, None));
    }
}
