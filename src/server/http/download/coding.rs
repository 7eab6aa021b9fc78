//! Content codings of a download, by `Accept-Encoding` (RFC 9110, section 12.5.3).

use async_compression::Level;
use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use futures::StreamExt;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};
use warp::http::{HeaderMap, header};

use super::BodyChunks;

/// Bytes of a compressed chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Coding {
    /// Returns the name in headers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    /// Compresses a body.
    pub(super) fn encode(self, body: BodyChunks) -> BodyChunks {
        let body = StreamReader::new(body);
        match self {
            Coding::Gzip => chunks(GzipEncoder::with_quality(body, Level::Fastest)),
            Coding::Zstd => chunks(ZstdEncoder::with_quality(body, Level::Fastest)),
        }
    }
}

fn chunks(encoder: impl AsyncRead + Send + 'static) -> BodyChunks {
    ReaderStream::with_capacity(Box::pin(encoder), CHUNK_BYTES).boxed()
}

/// Returns the coding that the client prefers among `offered`, whose order decides between equals; `None` for a client
/// that names none of them.
pub(super) fn accepted(headers: &HeaderMap, offered: &[Coding]) -> Option<Coding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let wanted: Vec<(String, f32)> = values.flat_map(|value| value.split(',')).map(weighted).collect();
    let weight_of = |coding: Coding| {
        let named = |name: &str| wanted.iter().find(|(wanted, _)| wanted == name).map(|(_, weight)| *weight);
        named(coding.name()).or_else(|| named("*")).unwrap_or(0.0)
    };
    // `max_by` returns the last of several equal items.
    let best = offered.iter().rev().copied().max_by(|a, b| weight_of(*a).total_cmp(&weight_of(*b)));
    best.filter(|coding| weight_of(*coding) > 0.0)
}

/// Parses `gzip;q=0.5`.
fn weighted(item: &str) -> (String, f32) {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let weight = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
    let weight = weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
    (name.trim().to_ascii_lowercase().replace("x-gzip", "gzip"), weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_decides_and_equals_follow_the_order() {
        let text = [Coding::Gzip, Coding::Zstd];
        for (value, wanted) in [
            ("gzip, deflate, br, zstd", Some(Coding::Gzip)),
            ("zstd", Some(Coding::Zstd)),
            ("gzip;q=0.5, zstd;q=0.9", Some(Coding::Zstd)),
            ("gzip;q=0, *", Some(Coding::Zstd)),
            ("*", Some(Coding::Gzip)),
            ("X-GZIP", Some(Coding::Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=x", None),
            ("br, identity", None),
            ("*;q=0", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())]);
            assert_eq!(accepted(&headers, &text), wanted, "{value}");
        }
        assert_eq!(accepted(&HeaderMap::new(), &text), None);
    }
}
