//! What is asked of every request before a route sees it: that a browser sends it from our own
//! pages, and under our own name.
//!
//! Programs that are not browsers send no `Origin` and no `Sec-Fetch-Site`, and pass.
//!
//! A page of another site can reach a server that its reader reaches, by giving the server's address
//! to a name of its own (DNS rebinding): then the `Host` is that name. So where a store is open, or
//! its server serves this machine alone, the `Host` must be one that no such page can have.

use hyper::Request;
use warp::http::{Method, header};

use super::browser::{self, Origins};
use super::client_addr::ClientAddr;
use super::error::ApiError;
use super::host::{is_address, is_loopback_host};
use super::public_url::PublicUrl;

/// What a server is called, and whom it serves.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Site<'a> {
    /// Only this machine reaches it.
    pub(in crate::server) loopback: bool,
    /// Whoever comes has to show a token.
    pub(in crate::server) asks: bool,
    /// The name it has for people.
    pub(in crate::server) public_url: Option<&'a PublicUrl>,
    /// Other sites, whose pages may read.
    pub(in crate::server) origins: &'a Origins,
}

/// Refuses `CONNECT`, foreign host names, and requests of other sites' pages that change something
/// or open a WebSocket; those of an allowed site may open a viewer's.
pub(in crate::server) fn check<B>(request: &Request<B>, client: &ClientAddr, site: Site<'_>) -> Result<(), ApiError> {
    let (method, headers) = (request.method(), request.headers());
    if *method == Method::CONNECT {
        // warp's path filters panic on it.
        return Err(ApiError::new(405, "method_not_allowed", "CONNECT is not served"));
    }
    let host = client.host.as_deref().unwrap_or_default();
    let is_public = site.public_url.is_some_and(|url| url.is_host(host));
    match (site.loopback, site.asks) {
        _ if is_public => {}
        (true, _) if !is_loopback_host(host) => {
            let detail = "the Host header must be localhost, 127.0.0.1 or [::1]: this server serves its own machine; \
                          where a proxy passes it on under another name, that is the setting public_url";
            return Err(ApiError::new(403, "bad_host", detail));
        }
        (false, false) if !is_loopback_host(host) && !is_address(host) => {
            let detail = "the Host header must be an address, or the name that the setting public_url has: \
                          this store asks nobody for a token";
            return Err(ApiError::new(403, "bad_host", detail));
        }
        _ => {}
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrades = headers.contains_key(header::UPGRADE);
    let may_watch = !changes && is_viewer(request.uri().path()) && site.origins.allow(headers);
    if (changes || upgrades) && browser::is_foreign_request(headers, client, site) && !may_watch {
        let detail = "a page of another site must not do this; the setting allowed_origins names sites that may read";
        return Err(ApiError::new(403, "bad_origin", detail));
    }
    Ok(())
}

/// Whether it is the path of a WebSocket that only tells.
fn is_viewer(path: &str) -> bool {
    path == "/ws/v1/follow" || path.starts_with("/ws/v1/tasks/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Site<'static> = Site { loopback: true, asks: false, public_url: None, origins: Origins::NONE };

    fn code_at(site: Site<'_>, https: bool, method: Method, pairs: &[(&'static str, &str)]) -> Option<String> {
        code_of("/", site, https, method, pairs)
    }

    fn code_of(
        path: &str,
        site: Site<'_>,
        https: bool,
        method: Method,
        pairs: &[(&'static str, &str)],
    ) -> Option<String> {
        let request = Request::builder().method(method).uri(path);
        let request = pairs.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        let client = ClientAddr::of(peer, https, request.headers(), &crate::server::TrustedProxies::default());
        check(&request, &client, site).err().map(|error| error.problem().code.clone())
    }

    #[test]
    fn pages_of_an_allowed_site_open_viewers_and_change_nothing() {
        let origins: Origins = "https://ci.example".parse().unwrap();
        let site = Site { origins: &origins, ..LOCAL };
        let page = [("host", "localhost:7117"), ("origin", "https://ci.example"), ("upgrade", "websocket")];
        let code = |path, method, pairs| code_of(path, site, false, method, pairs);
        assert_eq!(code("/ws/v1/tasks/a", Method::GET, &page[..]), None);
        assert_eq!(code("/ws/v1/follow", Method::GET, &page[..]), None);
        assert_eq!(code("/ws/v1/worker", Method::GET, &page[..]).as_deref(), Some("bad_origin"));
        assert_eq!(code("/ws/v1/tasks/a", Method::POST, &page[..]).as_deref(), Some("bad_origin"));
        assert_eq!(code("/api/v1/tasks/a/lines", Method::POST, &page[..2]).as_deref(), Some("bad_origin"));
    }

    fn code(method: Method, pairs: &[(&'static str, &str)]) -> Option<String> {
        code_at(LOCAL, false, method, pairs)
    }

    #[test]
    fn only_own_names_are_served_on_loopback() {
        for good in ["localhost", "LOCALHOST:7117", "127.0.0.1:1", "[::1]", "[::1]:80"] {
            assert_eq!(code(Method::GET, &[("host", good)]), None, "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "[::2]:80", ""] {
            assert_eq!(code(Method::GET, &[("host", bad)]).as_deref(), Some("bad_host"), "{bad}");
            let closed = Site { asks: true, ..LOCAL };
            assert_eq!(code_at(closed, false, Method::GET, &[("host", bad)]).as_deref(), Some("bad_host"), "{bad}");
        }
        assert_eq!(code(Method::GET, &[]).as_deref(), Some("bad_host"));
    }

    #[test]
    fn the_name_that_people_know_is_served_everywhere() {
        let url: PublicUrl = "https://logs.example".parse().unwrap();
        let named = Site { public_url: Some(&url), ..LOCAL };
        for good in ["logs.example", "logs.example:443", "127.0.0.1"] {
            assert_eq!(code_at(named, false, Method::GET, &[("host", good)]), None, "{good}");
        }
        assert_eq!(code_at(named, false, Method::GET, &[("host", "evil.example")]).as_deref(), Some("bad_host"));
        // Its pages are our own, though the proxy speaks http to us.
        let from = |origin| code_at(named, false, Method::POST, &[("host", "logs.example"), ("origin", origin)]);
        assert_eq!(from("https://logs.example"), None);
        assert_eq!(from("https://logs.example:444").as_deref(), Some("bad_origin"));
    }

    #[test]
    fn a_server_for_others_is_known_by_its_address_unless_it_asks_for_tokens() {
        let open = Site { loopback: false, ..LOCAL };
        for good in ["192.0.2.1", "192.0.2.1:7117", "[2001:db8::1]:7117", "localhost"] {
            assert_eq!(code_at(open, false, Method::GET, &[("host", good)]), None, "{good}");
        }
        assert_eq!(code_at(open, false, Method::GET, &[("host", "evil.example")]).as_deref(), Some("bad_host"));
        let closed = Site { asks: true, ..open };
        assert_eq!(code_at(closed, true, Method::GET, &[("host", "logs.example")]), None);
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let own = ("host", "localhost:7117");
        assert_eq!(code(Method::POST, &[own]), None);
        assert_eq!(code(Method::POST, &[own, ("origin", "http://localhost:7117")]), None);
        for origin in ["http://evil.example", "null", "http://localhost:7118", "https://localhost:7117"] {
            assert_eq!(code(Method::POST, &[own, ("origin", origin)]).as_deref(), Some("bad_origin"), "{origin}");
            let upgrade = [own, ("upgrade", "websocket"), ("origin", origin)];
            assert_eq!(code(Method::GET, &upgrade).as_deref(), Some("bad_origin"), "{origin}");
            assert_eq!(code(Method::GET, &[own, ("origin", origin)]), None, "reading is the browser's to refuse");
        }
        assert_eq!(code(Method::DELETE, &[own, ("sec-fetch-site", "cross-site")]).as_deref(), Some("bad_origin"));
        assert!(code(Method::CONNECT, &[own]).is_some());
    }

    #[test]
    fn an_origin_is_scheme_and_host() {
        let own = ("host", "localhost:7117");
        let from = |https, origin| code_at(LOCAL, https, Method::POST, &[own, ("origin", origin)]);
        assert_eq!(from(true, "https://localhost:7117"), None);
        assert_eq!(
            from(true, "http://localhost:7117").as_deref(),
            Some("bad_origin"),
            "a page that anyone could change"
        );
        let implied = [("host", "localhost"), ("origin", "https://localhost")];
        assert_eq!(code_at(LOCAL, true, Method::POST, &implied), None);
    }
}
