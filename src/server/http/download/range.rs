//! Byte ranges of a download (RFC 9110, section 14).

use std::io;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::unfold;
use warp::http::{HeaderMap, HeaderValue, header};

use super::BodyChunks;

/// A requested range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeRequest {
    /// From a byte to another one, or to the end.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

/// A range of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteRange {
    /// The first byte.
    pub(super) first: u64,
    /// The last byte.
    pub(super) last: u64,
}

impl RangeRequest {
    /// Returns the range of a request. Several ranges, other units and invalid values are ignored, as the RFC permits:
    /// the whole body is sent.
    pub(super) fn parse(headers: &HeaderMap) -> Option<Self> {
        let (first, last) = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match (first.trim(), last.trim()) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// Returns the range of a body with this length, or `None` if it has none of these bytes.
    pub(super) fn within(self, length: u64) -> Option<ByteRange> {
        let end = length.checked_sub(1)?;
        match self {
            Self::Last(0) => None,
            Self::Last(count) => Some(ByteRange { first: length.saturating_sub(count), last: end }),
            Self::From(first, _) if first > end => None,
            Self::From(first, last) => Some(ByteRange { first, last: last.unwrap_or(end).min(end) }),
        }
    }
}

/// Sets `Content-Range`.
pub(super) fn set_content_range(headers: &mut HeaderMap, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

/// Returns `length` bytes of a body after `skipped` ones. A body that is shorter ends with an error.
pub(super) fn cut(body: BodyChunks, skipped: u64, length: u64) -> BodyChunks {
    unfold(Some((body, skipped, length)), |open| async move {
        let (mut body, mut skipped, length) = open.filter(|(_, _, length)| *length > 0)?;
        loop {
            let mut chunk: Bytes = match body.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((Err(io::Error::other("the log is shorter than before")), None)),
            };
            let skip = skipped.min(chunk.len() as u64);
            skipped -= skip;
            // Both are at most the length of the chunk.
            drop(chunk.split_to(usize::try_from(skip).unwrap_or(chunk.len())));
            chunk.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            if !chunk.is_empty() {
                let rest = length - chunk.len() as u64;
                return Some((Ok(chunk), Some((body, skipped, rest))));
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_and_bounded() {
        let within = |value: &str, length| {
            let headers = HeaderMap::from_iter([(header::RANGE, value.parse().unwrap())]);
            RangeRequest::parse(&headers).map(|range| range.within(length).map(|range| (range.first, range.last)))
        };
        assert_eq!(within("bytes=0-3", 10), Some(Some((0, 3))));
        assert_eq!(within("bytes=8-", 10), Some(Some((8, 9))));
        assert_eq!(within("bytes=8-99", 10), Some(Some((8, 9))));
        assert_eq!(within("bytes=-3", 10), Some(Some((7, 9))));
        assert_eq!(within("bytes=-30", 10), Some(Some((0, 9))));
        for outside in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(within(outside, 10), Some(None), "{outside}");
        }
        assert_eq!(within("bytes=0-", 0), Some(None));
        for ignored in ["bytes=0-1,3-4", "lines=0-1", "bytes=3-1", "bytes=x-1", "bytes=", "bytes=-"] {
            assert_eq!(within(ignored, 10), None, "{ignored}");
        }
    }

    #[tokio::test]
    async fn bodies_are_cut_across_chunks() {
        let body = || {
            let chunks = ["abc", "", "defg", "h"].map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
            futures::stream::iter(chunks).boxed()
        };
        for (skipped, length, wanted) in [(0, 8, "abcdefgh"), (2, 3, "cde"), (3, 4, "defg"), (7, 1, "h"), (1, 0, "")] {
            let parts: Vec<Bytes> = cut(body(), skipped, length).map(Result::unwrap).collect().await;
            assert_eq!(parts.concat(), wanted.as_bytes(), "{skipped} {length}");
        }
        let short: Vec<io::Result<Bytes>> = cut(body(), 7, 2).collect().await;
        assert!(short.last().unwrap().is_err());
    }
}
