//! What is asked of every request before a route sees it: that a browser sends it from our own
//! pages, and under our own name.
//!
//! Programs that are not browsers send no `Origin` and no `Sec-Fetch-Site`, and pass.

use warp::http::{HeaderMap, Method, header};

use super::reject::ApiError;

/// Refuses `CONNECT`, foreign host names on a loopback server (DNS rebinding), and requests of
/// other sites' pages that change something or open a WebSocket.
pub(super) fn check(method: &Method, headers: &HeaderMap, loopback: bool) -> Result<(), ApiError> {
    if *method == Method::CONNECT {
        // warp's path filters panic on it.
        return Err(ApiError::new(405, "method_not_allowed", "CONNECT is not served"));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if loopback && !host.is_some_and(is_loopback_host) {
        let detail = "the Host header must be localhost, 127.0.0.1 or [::1]: this server serves its own machine";
        return Err(ApiError::new(403, "bad_host", detail));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if (changes || headers.contains_key(header::UPGRADE)) && is_foreign(headers, host) {
        return Err(ApiError::new(403, "bad_origin", "a page of another site must not do this"));
    }
    Ok(())
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(_) => host.split_inclusive(']').next().unwrap_or(host),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

fn is_foreign(headers: &HeaderMap, host: Option<&str>) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site == b"cross-site") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    match (origin, host) {
        (Some(origin), Some(host)) => !origin.eq_ignore_ascii_case(host),
        // `null` (a sandboxed page, a file) and what is no origin at all.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: Method, pairs: &[(&'static str, &str)]) -> Option<String> {
        let headers = pairs.iter().map(|(name, value)| {
            (warp::http::HeaderName::from_static(name), warp::http::HeaderValue::from_str(value).unwrap())
        });
        check(&method, &headers.collect(), true).err().map(|error| error.problem().code.clone())
    }

    #[test]
    fn only_own_names_are_served_on_loopback() {
        for good in ["localhost", "LOCALHOST:7117", "127.0.0.1:1", "[::1]", "[::1]:80"] {
            assert_eq!(code(Method::GET, &[("host", good)]), None, "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "[::2]:80", ""] {
            assert_eq!(code(Method::GET, &[("host", bad)]).as_deref(), Some("bad_host"), "{bad}");
        }
        assert_eq!(code(Method::GET, &[]).as_deref(), Some("bad_host"));
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let own = ("host", "localhost:7117");
        assert_eq!(code(Method::POST, &[own]), None);
        assert_eq!(code(Method::POST, &[own, ("origin", "http://localhost:7117")]), None);
        for origin in ["http://evil.example", "null", "http://localhost:7118"] {
            assert_eq!(code(Method::POST, &[own, ("origin", origin)]).as_deref(), Some("bad_origin"), "{origin}");
            let upgrade = [own, ("upgrade", "websocket"), ("origin", origin)];
            assert_eq!(code(Method::GET, &upgrade).as_deref(), Some("bad_origin"), "{origin}");
            assert_eq!(code(Method::GET, &[own, ("origin", origin)]), None, "reading is the browser's to refuse");
        }
        assert_eq!(code(Method::DELETE, &[own, ("sec-fetch-site", "cross-site")]).as_deref(), Some("bad_origin"));
        assert!(code(Method::CONNECT, &[own]).is_some());
    }
}
