//! Request bodies: reading with a timeout, draining, and media types.
//!
//! A body has `body_timeout`, plus one second for every [`BYTES_PER_S_MIN`] bytes received. Only the time in
//! which the server waits for the body counts. So a stalled body is dropped after the timeout, a dripping one
//! soon after it, and a large body over a slow line has all the time it needs.
//!
//! A body that is appended may last as long as the job that writes it: only a pause over
//! `append_idle_timeout` ends it. The system notices a peer that has vanished, by its keepalive probes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use tokio::time::Instant;
use warp::Buf;
use warp::http::{HeaderMap, header};

use super::error::ApiError;
use crate::model::limits::{self, Limit, LimitCounters};

/// Minimum rate of a body after its initial timeout.
const BYTES_PER_S_MIN: u64 = 1024;

/// The bytes of a body.
pub(crate) type BodyStream<'a> = BoxStream<'a, Result<Bytes, BodyError>>;
/// A request's body.
pub(crate) type RequestBody = BodyStream<'static>;

/// A failure to read a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection broke, or the chunked encoding is invalid.
    #[error("connection closed mid-body")]
    Closed,
    /// The body stalled, with the limit that applies.
    #[error("timed out reading the request body ({})", .0.name())]
    TimedOut(Limit),
    /// The body is not what `Content-Encoding` names.
    #[error("the body is not {0}, which the header Content-Encoding names")]
    Undecodable(&'static str),
    /// The body ends within its content coding.
    #[error("the {0} body is cut off")]
    CutOff(&'static str),
    /// The body expands too far.
    #[error("the body expands to over append_ratio_max times its size: send it uncompressed")]
    Expands,
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Closed | BodyError::Undecodable(_) | BodyError::CutOff(_) => {
                ApiError::new(400, "bad_body", error.to_string())
            }
            BodyError::TimedOut(_) => ApiError::new(408, "body_timeout", error.to_string()),
            BodyError::Expands => ApiError::new(413, "too_large", error.to_string()),
        }
    }
}

/// The time that a body may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyTimeout {
    /// This long in all, and one second more for every [`BYTES_PER_S_MIN`] bytes.
    Total(Duration),
    /// This long without a byte.
    Idle(Duration),
}

/// Applies a timeout to a body. After an error the stream ends.
pub(crate) fn with_timeout<B: Buf + 'static, E: 'static>(
    body: impl Stream<Item = Result<B, E>> + Send + 'static,
    timeout: BodyTimeout,
    limit_counters: Arc<LimitCounters>,
) -> RequestBody {
    let progress = Progress { timeout, waited: Duration::ZERO, bytes: 0 };
    let step = move |state: Option<(BoxStream<'static, Result<B, E>>, Progress)>| {
        let limit_counters = limit_counters.clone();
        async move {
            let (mut body, mut progress) = state?;
            let started = Instant::now();
            let next = tokio::time::timeout(progress.remaining(), body.next()).await;
            progress.waited += started.elapsed();
            match next {
                Ok(None) => None,
                Ok(Some(Ok(mut chunk))) => {
                    let chunk = chunk.copy_to_bytes(chunk.remaining());
                    progress.bytes += chunk.len() as u64;
                    Some((Ok(chunk), Some((body, progress))))
                }
                Ok(Some(Err(_))) => Some((Err(BodyError::Closed), None)),
                Err(_) => {
                    let limit = progress.limit();
                    limit_counters.count(limit);
                    Some((Err(BodyError::TimedOut(limit)), None))
                }
            }
        }
    };
    // Fused: `drain` polls a rejected body to its end, which may have been reached before.
    unfold(Some((body.boxed(), progress)), step).fuse().boxed()
}

/// The progress of reading a body.
struct Progress {
    timeout: BodyTimeout,
    waited: Duration,
    bytes: u64,
}

impl Progress {
    fn remaining(&self) -> Duration {
        match self.timeout {
            BodyTimeout::Total(time) => {
                (time + Duration::from_secs(self.bytes / BYTES_PER_S_MIN)).saturating_sub(self.waited)
            }
            BodyTimeout::Idle(time) => time,
        }
    }

    fn limit(&self) -> Limit {
        match self.timeout {
            BodyTimeout::Total(_) => Limit::body_timeout,
            BodyTimeout::Idle(_) => Limit::append_idle_timeout,
        }
    }
}

/// Bounds of [`drain`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainLimit {
    /// The maximum number of bytes read.
    bytes_max: usize,
    /// The maximum time.
    wait_max: Duration,
}

impl DrainLimit {
    /// For a request that is rejected before its route is called.
    pub(crate) const UNAUTHORIZED: Self = Self { bytes_max: 2 * 1024 * 1024, wait_max: Duration::from_secs(1) };
    /// For an append that fails in the middle of its body.
    pub(crate) const APPEND: Self = Self { bytes_max: 256 * 1024 * 1024, wait_max: Duration::from_secs(30) };
}

/// Reads and discards the rest of a rejected body. Otherwise closing the connection with unread bytes would
/// reset it, and a client that is still sending would lose the response. A client that sends more than the
/// limit may lose it.
pub(crate) async fn drain<B: Buf, E>(body: impl Stream<Item = Result<B, E>>, limit: DrainLimit) {
    let mut body = std::pin::pin!(body);
    let mut bytes = 0;
    let drained = async {
        while bytes < limit.bytes_max
            && let Some(Ok(chunk)) = body.next().await
        {
            bytes += chunk.remaining();
        }
    };
    if tokio::time::timeout(limit.wait_max, drained).await.is_err() {
        tracing::debug!(bytes, "timed out draining a rejected request body");
    }
}

/// Reads a body of at most [`limits::BODY_BYTES_MAX`].
pub(crate) async fn read_all(mut body: BodyStream<'_>) -> Result<BytesMut, ApiError> {
    read_at_most(&mut body, limits::BODY_BYTES_MAX, "").await
}

/// Reads a body of at most `bytes_max`. The error for a longer one ends in `remedy`.
pub(crate) async fn read_at_most(
    body: &mut BodyStream<'_>,
    bytes_max: usize,
    remedy: &str,
) -> Result<BytesMut, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(ApiError::new(413, "too_large", format!("the body has over {bytes_max} bytes{remedy}")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Returns the media type of a request, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase())
}

/// Checks that a request has the media type of JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    if media_type(headers).as_deref() == Some("application/json") {
        return Ok(());
    }
    Err(ApiError::new(415, "bad_content_type", "header Content-Type must be application/json"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::time::sleep;

    use super::*;

    /// Reads a body of `chunks` chunks of `bytes`, one per `interval`. Returns the number read and the error.
    async fn read(timeout: BodyTimeout, chunks: usize, bytes: usize, interval: Duration) -> (usize, Option<BodyError>) {
        let body = futures::stream::iter(0..chunks).then(move |_| async move {
            sleep(interval).await;
            Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes]))
        });
        let mut body = with_timeout(body, timeout, Arc::default());
        let mut received = 0;
        while let Some(next) = body.next().await {
            match next {
                Ok(_) => received += 1,
                Err(error) => {
                    assert!(body.next().await.is_none());
                    return (received, Some(error));
                }
            }
        }
        (received, None)
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_and_dripping_bodies_time_out_but_slow_ones_do_not() {
        let total = BodyTimeout::Total(Duration::from_secs(10));
        let timed_out = Some(BodyError::TimedOut(Limit::body_timeout));
        assert_eq!(read(total, 1, 10, Duration::from_secs(11)).await, (0, timed_out));
        // A byte a second, like slow-loris: no progress that counts.
        let (received, error) = read(total, 1_000, 1, Duration::from_secs(1)).await;
        assert!((9..=10).contains(&received) && error == timed_out, "{received} {error:?}");
        // 2 KiB a second, for more than a quarter of an hour.
        assert_eq!(read(total, 1_000, 2048, Duration::from_secs(1)).await, (1_000, None));
    }

    #[tokio::test(start_paused = true)]
    async fn appended_bodies_may_drip_for_days_but_not_stall() {
        let idle = BodyTimeout::Idle(Duration::from_secs(600));
        assert_eq!(read(idle, 1_000, 1, Duration::from_secs(599)).await, (1_000, None));
        let timed_out = Some(BodyError::TimedOut(Limit::append_idle_timeout));
        assert_eq!(read(idle, 1, 1, Duration::from_secs(601)).await, (0, timed_out));
    }
}
