//! Decoding of request bodies: `Content-Encoding` and the charset in `Content-Type`.
//!
//! ```text
//! body ── gzip, zstd, deflate (last coding first) ── charset, byte order mark ── UTF-8
//! ```
//! Everything is decoded as it arrives and in small pieces, so the memory does not depend on the body. A body
//! that expands too far is rejected: [`Limits::append_ratio_max`](crate::model::limits::Limits).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Bytes, BytesMut};
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use futures::stream::{iter, once, unfold};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};
use warp::http::{HeaderMap, header};

use super::body::{BodyError, BodyStream};
use super::error::ApiError;

/// Bytes decoded at a time.
const PIECE_BYTES: usize = 32 * 1024;
/// Maximum number of codings of one body.
const CODINGS_MAX: usize = 4;
/// Logarithm of the maximum window of zstd: 8 MiB, which RFC 9659 requires of HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Decoded bytes from which the ratio is checked.
const RATIO_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentCoding {
    Gzip,
    Zstd,
    Deflate,
}

impl ContentCoding {
    const fn name(self) -> &'static str {
        match self {
            ContentCoding::Gzip => "gzip",
            ContentCoding::Zstd => "zstd",
            ContentCoding::Deflate => "deflate",
        }
    }
}

/// Returns the body without its content codings and as UTF-8, as far as the headers and a byte order mark tell
/// its encoding. `ratio_max` is the maximum ratio of decoded to received bytes.
///
/// # Errors
/// 415: a coding or charset is unknown.
pub(crate) fn decoded<'a>(
    body: &'a mut BodyStream<'static>,
    headers: &HeaderMap,
    ratio_max: u64,
) -> Result<BodyStream<'a>, ApiError> {
    let (codings, charset) = (codings(headers)?, charset(headers)?);
    let mut decoded: BodyStream<'a> = body.boxed();
    if !codings.is_empty() {
        let received = Arc::new(AtomicU64::new(0));
        let counter = received.clone();
        decoded = decoded
            .inspect_ok(move |chunk| {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            })
            .boxed();
        for coding in codings.into_iter().rev() {
            decoded = decompress(decoded, coding);
        }
        decoded = within_ratio(decoded, received, ratio_max);
    }
    // Fused: a body may be polled again after its end.
    Ok(to_utf8(decoded, charset).fuse().boxed())
}

/// Returns the codings of a body, in the order in which they were applied.
fn codings(headers: &HeaderMap) -> Result<Vec<ContentCoding>, ApiError> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().map_err(|_| unknown_coding("?"))?.split(',') {
            match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" => codings.push(ContentCoding::Gzip),
                "zstd" => codings.push(ContentCoding::Zstd),
                "deflate" => codings.push(ContentCoding::Deflate),
                other => return Err(unknown_coding(other)),
            }
        }
    }
    if codings.len() > CODINGS_MAX {
        let detail = format!("header Content-Encoding names over {CODINGS_MAX} codings");
        return Err(ApiError::new(415, "bad_content_encoding", detail));
    }
    Ok(codings)
}

fn unknown_coding(name: &str) -> ApiError {
    let name: String = name.chars().take(64).collect();
    let detail = format!("header Content-Encoding is {name:?}; accepted are gzip, zstd, deflate and identity");
    ApiError::new(415, "bad_content_encoding", detail)
}

/// Returns the encoding in the parameter `charset`, or `None` for UTF-8.
fn charset(headers: &HeaderMap) -> Result<Option<&'static Encoding>, ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let named = value.split(';').skip(1).find_map(|parameter| {
        let (name, label) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| label.trim().trim_matches('"').trim().to_owned())
    });
    let Some(label) = named.filter(|label| !label.is_empty()) else { return Ok(None) };
    // Programs declare ASCII and send UTF-8, which contains it.
    if ["us-ascii", "ascii", "utf8"].iter().any(|name| label.eq_ignore_ascii_case(name)) {
        return Ok(None);
    }
    match Encoding::for_label_no_replacement(label.as_bytes()) {
        Some(encoding) => Ok((encoding != UTF_8).then_some(encoding)),
        None => {
            let label: String = label.chars().take(64).collect();
            let detail = format!(
                "header Content-Type has the unknown charset {label:?}; accepted are the names in the WHATWG \
                 Encoding Standard, such as utf-8, utf-16, iso-8859-1 and windows-1252"
            );
            Err(ApiError::new(415, "bad_content_type", detail))
        }
    }
}

/// Returns a body without this coding.
fn decompress(body: BodyStream<'_>, coding: ContentCoding) -> BodyStream<'_> {
    let start = async move {
        // Clients send `deflate` with and without the zlib header that the standard demands.
        let (head, body) = peek(body, 2).await;
        if head.is_empty() {
            return body;
        }
        let zlib =
            matches!(head[..], [cmf, flags, ..] if cmf & 15 == 8 && (u16::from(cmf) << 8 | u16::from(flags)) % 31 == 0);
        let reader = StreamReader::new(body.map_err(io::Error::other));
        let decoder: Pin<Box<dyn AsyncRead + Send + '_>> = match coding {
            ContentCoding::Gzip => {
                let mut decoder = GzipDecoder::new(reader);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            ContentCoding::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
                let mut decoder = ZstdDecoder::with_params(reader, &[window]);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            ContentCoding::Deflate if zlib => Box::pin(ZlibDecoder::new(reader)),
            ContentCoding::Deflate => Box::pin(DeflateDecoder::new(reader)),
        };
        let to_body_error = move |error: io::Error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(BodyError::Closed) => BodyError::Closed,
            Some(BodyError::TimedOut(limit)) => BodyError::TimedOut(*limit),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => BodyError::CutOff(coding.name()),
            _ => BodyError::Undecodable(coding.name()),
        };
        ReaderStream::with_capacity(decoder, PIECE_BYTES).map_err(to_body_error).boxed()
    };
    once(start).flatten().boxed()
}

/// Returns the first bytes of a body, at least `bytes` unless it is shorter or fails, and the whole body.
async fn peek(mut body: BodyStream<'_>, bytes: usize) -> (Bytes, BodyStream<'_>) {
    let mut head = BytesMut::new();
    let mut error = None;
    while head.len() < bytes && error.is_none() {
        match body.next().await {
            Some(Ok(chunk)) => head.extend_from_slice(&chunk),
            Some(Err(failed)) => error = Some(Err(failed)),
            None => break,
        }
    }
    let head = head.freeze();
    let first = (!head.is_empty()).then(|| Ok(head.clone()));
    (head, iter(first.into_iter().chain(error)).chain(body).boxed())
}

/// Fails when a body has expanded to more than `ratio_max` times what was received of it.
fn within_ratio<'a>(body: BodyStream<'a>, received: Arc<AtomicU64>, ratio_max: u64) -> BodyStream<'a> {
    let step = move |state: Option<(BodyStream<'a>, u64)>| {
        let received = received.clone();
        async move {
            let (mut body, decoded) = state?;
            let chunk = match body.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(error), None)),
            };
            let decoded = decoded + chunk.len() as u64;
            let allowed = received.load(Ordering::Relaxed).saturating_mul(ratio_max);
            if decoded > RATIO_BYTES_MIN.max(allowed) {
                return Some((Err(BodyError::Expands), None));
            }
            Some((Ok(chunk), Some((body, decoded))))
        }
    };
    unfold(Some((body, 0)), step).fuse().boxed()
}

/// Returns a body as UTF-8. Without a charset, a byte order mark names UTF-16; that of UTF-8 is dropped. Bytes that
/// are not UTF-8 pass unchanged if no charset is named.
fn to_utf8<'a>(body: BodyStream<'a>, charset: Option<&'static Encoding>) -> BodyStream<'a> {
    let start = async move {
        let (head, body) = peek_mark(body).await;
        let encoding = match (charset, &head[..]) {
            (Some(encoding), _) => encoding,
            (None, [0xff, 0xfe, ..]) => UTF_16LE,
            (None, [0xfe, 0xff, ..]) => UTF_16BE,
            (None, [0xef, 0xbb, 0xbf, ..]) => return skip(body, 3),
            (None, _) => return body,
        };
        let chunks = body.map(Some).chain(iter([None]));
        transcode(chunks, encoding.new_decoder()).boxed()
    };
    once(start).flatten().boxed()
}

/// Returns the start of a body as far as it may be a byte order mark, and the whole body.
async fn peek_mark(body: BodyStream<'_>) -> (Bytes, BodyStream<'_>) {
    let (mut head, mut body) = peek(body, 1).await;
    // A body that begins with anything else is not delayed.
    let more = match head[..] {
        [0xff | 0xfe] => 2,
        [0xef] | [0xef, 0xbb] => 3,
        _ => 0,
    };
    if more > 0 {
        (head, body) = peek(body, more).await;
    }
    (head, body)
}

/// Returns a body without its first bytes.
fn skip(body: BodyStream<'_>, bytes: usize) -> BodyStream<'_> {
    let mut left = bytes;
    let cut = body.map_ok(move |mut chunk| {
        let cut = left.min(chunk.len());
        left -= cut;
        chunk.split_off(cut)
    });
    cut.boxed()
}

/// Converts chunks to UTF-8; `None` ends the body.
fn transcode<'a>(
    chunks: impl Stream<Item = Option<Result<Bytes, BodyError>>> + Send + 'a,
    mut decoder: Decoder,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + 'a {
    chunks.map(move |chunk| {
        let (bytes, last) = match chunk {
            Some(chunk) => (chunk?, false),
            None => (Bytes::new(), true),
        };
        let mut text = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len()));
        let (result, read, _) = decoder.decode_to_string(&bytes, &mut text, last);
        debug_assert!(result == CoderResult::InputEmpty && read == bytes.len());
        Ok(text.into())
    })
}

#[cfg(test)]
mod tests;
