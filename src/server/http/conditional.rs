//! Conditional requests: `If-None-Match` and `If-Range`.

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

/// Returns a response with a document, or 304 if the client has it. The entity tag is the hash of the document.
pub(crate) fn respond(request: &HeaderMap, content_type: &'static str, body: Bytes) -> Response {
    let mut etag = "\"".to_owned();
    for byte in Sha256::digest(&body).iter().take(8) {
        // Writing to a String cannot fail.
        let _infallible = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    let known = matches(request, &etag);
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(body.into()) };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// Reports whether `If-None-Match` names the entity tag: the client has the current body.
pub(crate) fn matches(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Reports whether `If-Range`, if there is one, names the entity tag: a range continues what the client has.
pub(crate) fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|tag| tag == etag)
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    #[test]
    fn tags_are_compared_weakly_for_bodies_and_strongly_for_ranges() {
        let with = |name, value: &'static str| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        for (value, known) in [("\"a\"", true), ("\"b\", W/\"a\"", true), ("*", true), ("\"b\"", false), ("a", false)] {
            assert_eq!(matches(&with(header::IF_NONE_MATCH, value), "\"a\""), known, "{value}");
        }
        assert!(!matches(&HeaderMap::new(), "\"a\"") && range_applies(&HeaderMap::new(), "\"a\""));
        assert!(range_applies(&with(header::IF_RANGE, "\"a\""), "\"a\""));
        assert!(!range_applies(&with(header::IF_RANGE, "W/\"a\""), "\"a\""));
    }
}
