//! CORS: the pages of other sites that may read from this server.
//!
//! A page of an allowed origin (setting `allowed_origins`) may send requests that only read, and open a
//! viewer's WebSocket. It authenticates with its own credentials: a bearer token in `Authorization`, or a
//! share or a JWT in `tasktail-share`. A page cannot set headers on a WebSocket, so there the share or JWT is
//! the subprotocol `tasktail.share.SHARE` next to `tasktail.v1`. Such a page changes nothing, and cookies of a
//! browser signed in here are ignored: a fault of that site must not become a fault of this one.

use std::str::FromStr;

use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::{Reply, Response};

use super::client_addr::normal_origin;

/// Seconds for which a browser may cache a preflight response.
const PREFLIGHT_S: u64 = 600;

/// The headers that a page may send: every one that a route which reads evaluates.
const ALLOWED_HEADERS: &str = "authorization, if-none-match, if-range, last-event-id, range, tasktail-share, token";
/// The headers of a response that a page may read, beyond those that are always readable.
const EXPOSED_HEADERS: &str =
    "accept-ranges, allow, content-disposition, content-encoding, content-range, etag, retry-after, www-authenticate";

/// Normalized origins of other sites that may read here. Each one is exact; there are no patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl FromStr for Origins {
    type Err = String;

    /// Parses `https://ci.example,https://dash.example:8443`.
    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = |origin: &str| {
            format!("`{origin}` is not an origin: use https://HOST or https://HOST:PORT, without a path or a *")
        };
        let origin = |text: &str| {
            let text = text.trim();
            let uri = text.parse::<hyper::Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
            let authority = uri.as_ref().and_then(hyper::Uri::authority).map(hyper::http::uri::Authority::as_str);
            let whole = uri.as_ref().and_then(hyper::Uri::scheme_str).zip(authority);
            let whole = whole.filter(|(scheme, host)| {
                let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
                plain && text.eq_ignore_ascii_case(&format!("{scheme}://{host}"))
            });
            whole.map(|_| normal_origin(text)).ok_or_else(|| invalid(text))
        };
        text.split(',').map(origin).collect::<Result<_, _>>().map(Self)
    }
}

impl Origins {
    /// The empty set.
    #[cfg(test)]
    pub(crate) const NONE: &Origins = &Origins(Vec::new());

    /// Returns the origins.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Reports whether a request comes from a page of one of these origins.
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        request_origin(headers).is_some_and(|origin| self.0.contains(&origin))
    }
}

/// Returns the normalized `Origin` of a request.
pub(crate) fn request_origin(headers: &HeaderMap) -> Option<String> {
    headers.get(header::ORIGIN).map(|origin| normal_origin(origin.to_str().unwrap_or("null")))
}

/// Returns the response to a preflight request of an allowed page, or `None` for any other request. `is_served`
/// reports whether a method has a route at the requested path.
pub(crate) fn preflight(
    origins: &Origins,
    method: &Method,
    headers: &HeaderMap,
    is_served: impl Fn(&Method) -> bool,
) -> Option<Response> {
    let requested = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let reads = [Method::GET, Method::HEAD].into_iter().find(|reads| requested == reads.as_str());
    if *method != Method::OPTIONS || !origins.allows(headers) || !reads.is_some_and(|reads| is_served(&reads)) {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_S));
    Some(response)
}

/// Returns the response headers that let an allowed page read the response to `request`. They never allow
/// the browser's cookies.
pub(crate) fn response_headers(origins: &Origins, request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !origins.0.is_empty() {
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = request.get(header::ORIGIN).filter(|_| origins.allows(request)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        let origins: Origins = "https://ci.example, http://127.0.0.1:8080,https://Dash.example:443".parse().unwrap();
        let allows = |origin: &str| {
            origins.allows(&HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_str(origin).unwrap())]))
        };
        for good in ["https://ci.example", "https://CI.example:443", "http://127.0.0.1:8080", "https://dash.example"] {
            assert!(allows(good), "{good}");
        }
        for bad in ["http://ci.example", "https://ci.example:8443", "https://x.ci.example", "https://ci.example.evil"] {
            assert!(!allows(bad), "{bad}");
        }
        assert!(!allows("null") && !origins.allows(&HeaderMap::new()));
        for bad in [
            "*",
            "https://*",
            "https://*.example",
            "ci.example",
            "https://ci.example/",
            "null",
            "",
            "ws://a",
            "https://u@ci.example",
            "https://ci.example/x",
        ] {
            assert!(bad.parse::<Origins>().unwrap_err().contains("without a path or a *"), "{bad}");
        }
    }
}
