//! Pages of other sites that may read here.
//!
//! A page of an allowed origin (`allowed_origins`) may ask for what can be read and open a viewer's
//! WebSocket, with what it can show itself: a bearer token in `Authorization`, a share or a JWT in
//! `tasktail-share`, and on a WebSocket, where a page can set no header, a share or a JWT as the
//! subprotocol `tasktail.share.SHARE` beside `tasktail.v1`. It changes nothing, and cookies of a
//! browser that is signed in here never count for it: a fault of that site is not to become ours.

use std::str::FromStr;

use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::{Reply, Response};

use crate::server::http::client_addr::{ClientAddr, normal_origin};
use crate::server::http::origin::Site;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How long a browser may remember what it was told, in seconds.
const PREFLIGHT_S: u64 = 600;

/// The origins of other sites that may read here, in one spelling. Exact ones: there is no pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl FromStr for Origins {
    type Err = String;

    /// `https://ci.example,https://dash.example:8443`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |origin: &str| {
            format!("`{origin}` is not an origin: write https://HOST or https://HOST:PORT, without a path or a *")
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
            whole.map(|_| normal_origin(text)).ok_or_else(|| bad(text))
        };
        text.split(',').map(origin).collect::<Result<_, _>>().map(Self)
    }
}

impl Origins {
    /// No other site.
    #[cfg(test)]
    pub(in crate::server) const NONE: &Origins = &Origins(Vec::new());

    /// Whether the request is from a page of one of them.
    pub(in crate::server) fn allow(&self, headers: &HeaderMap) -> bool {
        origin(headers).is_some_and(|origin| self.0.contains(&origin))
    }
}

/// The origin that a browser says a request is from.
fn origin(headers: &HeaderMap) -> Option<String> {
    headers.get(header::ORIGIN).map(|origin| normal_origin(origin.to_str().unwrap_or("null")))
}

/// Whether this is an origin of our own pages. `null` (a sandboxed page, a file) is none.
fn is_own(origin: &str, client: &ClientAddr, site: Site<'_>) -> bool {
    client.origin().is_some_and(|own| own == origin) || site.public_url.is_some_and(|url| url.origin() == origin)
}

/// Whether a browser says that one of our own pages sent this.
pub(in crate::server) fn is_own_request(headers: &HeaderMap, client: &ClientAddr, site: Site<'_>) -> bool {
    match origin(headers) {
        Some(origin) => is_own(&origin, client, site),
        None => headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin"),
    }
}

/// Whether a browser says that a page of another site sent this.
pub(in crate::server) fn is_foreign_request(headers: &HeaderMap, client: &ClientAddr, site: Site<'_>) -> bool {
    let cross_site = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
    match origin(headers) {
        Some(origin) => cross_site || !is_own(&origin, client, site),
        None => cross_site,
    }
}

/// The answer to a browser that asks whether an allowed page may ask.
pub(in crate::server) fn preflight(origins: &Origins, method: &Method, headers: &HeaderMap) -> Option<Response> {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if *method != Method::OPTIONS || !origins.allow(headers) || !(asked == "GET" || asked == "HEAD") {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    let names = "authorization, last-event-id, tasktail-share";
    answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_S));
    Some(response)
}

/// What is added to an answer, so that an allowed page can read it; never with the browser's own
/// credentials. Read off the request before that is gone.
pub(in crate::server) fn cors(origins: &Origins, request: &HeaderMap) -> HeaderMap {
    let mut added = HeaderMap::new();
    if !origins.0.is_empty() {
        added.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = request.get(header::ORIGIN).filter(|_| origins.allow(request)) {
        added.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    added
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        let origins: Origins = "https://ci.example, http://127.0.0.1:8080,https://Dash.example:443".parse().unwrap();
        let allow = |origin: &str| {
            origins.allow(&HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_str(origin).unwrap())]))
        };
        for good in ["https://ci.example", "https://CI.example:443", "http://127.0.0.1:8080", "https://dash.example"] {
            assert!(allow(good), "{good}");
        }
        for bad in ["http://ci.example", "https://ci.example:8443", "https://x.ci.example", "https://ci.example.evil"] {
            assert!(!allow(bad), "{bad}");
        }
        assert!(!allow("null") && !origins.allow(&HeaderMap::new()));
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

    #[test]
    fn own_and_foreign_go_by_what_the_browser_says() {
        let client = ClientAddr { ip: [127, 0, 0, 1].into(), https: true, host: Some("logs.example".to_owned()) };
        let url = "https://tail.example/logs".parse().unwrap();
        let origins = Origins::default();
        let site = Site { loopback: false, asks: true, public_url: None, origins: &origins };
        let named = Site { public_url: Some(&url), ..site };
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect()
        };
        for (pairs, own, foreign) in [
            (&[][..], false, false),
            (&[("origin", "https://logs.example")], true, false),
            (&[("origin", "https://logs.example:443")], true, false),
            (&[("origin", "http://logs.example")], false, true),
            (&[("origin", "https://logs.example:8443")], false, true),
            (&[("origin", "null")], false, true),
            (&[("sec-fetch-site", "same-origin")], true, false),
            (&[("sec-fetch-site", "same-site")], false, false),
            (&[("sec-fetch-site", "none")], false, false),
            (&[("sec-fetch-site", "cross-site")], false, true),
            (&[("origin", "https://logs.example"), ("sec-fetch-site", "cross-site")], true, true),
        ] {
            let headers = headers(pairs);
            assert_eq!(is_own_request(&headers, &client, site), own, "{pairs:?}");
            assert_eq!(is_foreign_request(&headers, &client, site), foreign, "{pairs:?}");
        }
        let public = headers(&[("origin", "https://tail.example")]);
        assert!(is_own_request(&public, &client, named) && is_foreign_request(&public, &client, site));
    }
}
