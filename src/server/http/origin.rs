//! Checks of a request's `Host` and `Origin`, made before any route: the server must be addressed by its
//! own name, and a browser must send the request from the server's own pages.
//!
//! Programs other than browsers send neither `Origin` nor `Sec-Fetch-Site`, and pass.
//!
//! DNS rebinding lets a page of another site reach any server that its reader can reach: the site points
//! a name of its own at the server's address. The `Host` header is then that name. So if a store requires no
//! tokens, or its server serves only this machine, the `Host` must be a name that no such page can have.

use hyper::Request;
use warp::http::{HeaderMap, HeaderName, Method, header};

use super::client_addr::{ClientAddr, normal_origin};
use super::cors::{Origins, request_origin};
use super::error::ApiError;
use super::host::{is_address, is_loopback_host};
use super::public_url::PublicUrl;
use crate::server::state::State;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The lines that make a proxy pass the `Host` header of its clients on.
const NGINX_HOST: &str = "proxy_set_header Host $http_host;";
const CADDY_HOST: &str = "header_up Host {http.request.hostport}";

/// The names of a server, and the protections that its requests pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostPolicy<'a> {
    /// Set if only this machine can reach the server.
    loopback: bool,
    /// Set if requests must present a token.
    auth_required: bool,
    /// The server's public address.
    public_url: Option<&'a PublicUrl>,
    /// Other origins whose pages may read.
    origins: &'a Origins,
}

impl<'a> HostPolicy<'a> {
    /// Returns the policy of a server.
    pub(crate) fn new(state: &'a State) -> Self {
        Self {
            loopback: state.loopback,
            auth_required: state.auth.auth_required(),
            public_url: state.options.public_url.as_ref(),
            origins: &state.options.allowed_origins,
        }
    }

    /// Rejects `CONNECT`, foreign host names, and requests of other sites' pages that change something or
    /// open a WebSocket. Pages of an allowed origin may open a viewer's WebSocket.
    pub(crate) fn check<B>(&self, request: &Request<B>, client: &ClientAddr) -> Result<(), ApiError> {
        let (method, headers) = (request.method(), request.headers());
        if *method == Method::CONNECT {
            // warp's path filters panic on it.
            return Err(ApiError::new(405, "method_not_allowed", "CONNECT is not supported"));
        }
        self.check_host(client.host.as_deref().unwrap_or_default())?;
        let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let upgrades = headers.contains_key(header::UPGRADE);
        let may_watch = !changes && is_viewer_path(request.uri().path()) && self.origins.allows(headers);
        if (changes || upgrades) && self.is_foreign_request(headers, client) && !may_watch {
            let origin = request_origin(headers).unwrap_or_else(|| "another site".to_owned());
            return Err(self.bad_origin(&origin, client));
        }
        Ok(())
    }

    /// Returns the problem that a WebSocket of a page of this origin has, if any.
    pub(crate) fn socket_problem(&self, origin: &str, client: &ClientAddr) -> Option<ApiError> {
        let origin = normal_origin(origin);
        (!self.is_own_origin(&origin, client)).then(|| self.bad_origin(&origin, client))
    }

    fn check_host(&self, host: &str) -> Result<(), ApiError> {
        if self.public_url.is_some_and(|url| url.is_host(host)) || is_loopback_host(host) {
            return Ok(());
        }
        let accepted = if self.loopback {
            "this server serves only its own machine and is addressed as localhost, 127.0.0.1 or [::1]"
        } else if !self.auth_required && !is_address(host) {
            "this store requires no tokens, so it is addressed by an IP address"
        } else {
            return Ok(());
        };
        Err(self.bad_host(host, accepted))
    }

    /// Returns the error for a `Host` that is not the server's, with the lines that correct it at a proxy.
    fn bad_host(&self, host: &str, accepted: &str) -> ApiError {
        let detail = format!(
            "the Host header is {host:?}, but {accepted}, or by the host of the setting public_url; at a proxy, set \
             public_url to the address that people use, and pass the Host header on"
        );
        let public_url = match self.public_url {
            Some(url) => url.to_string(),
            None if is_plain_host(host) => format!("https://{host}"),
            None => "https://logs.example".to_owned(),
        };
        ApiError::new(403, "bad_host", detail)
            .fixed_by("tasktail", format!("public_url = \"{public_url}\""))
            .fixed_by("nginx", NGINX_HOST)
            .fixed_by("Caddy", CADDY_HOST)
    }

    /// Returns the error for a page whose origin is not the server's, with the lines that correct it at a proxy.
    fn bad_origin(&self, origin: &str, client: &ClientAddr) -> ApiError {
        let own = client.origin().unwrap_or_else(|| "no host".to_owned());
        let host_of = |origin: &str| origin.split_once("://").map(|(_, host)| host.to_owned());
        let detail = format!(
            "the page of this request is at {origin}, but the request is addressed to {own}: pages of other sites may \
             not do this. If it is this server's own page, a proxy changes the address: pass the Host header on and \
             set public_url; for another site, the setting allowed_origins permits reading"
        );
        let error = ApiError::new(403, "bad_origin", detail);
        let error = match origin.parse::<PublicUrl>() {
            Ok(url) => error.fixed_by("tasktail", format!("public_url = \"{url}\"")),
            Err(_) => error,
        };
        if host_of(origin) == host_of(&own) {
            return error
                .fixed_by("nginx", "proxy_set_header X-Forwarded-Proto $scheme;  # with trusted_proxy in tasktail")
                .fixed_by("Caddy", "# sends X-Forwarded-Proto by itself: set trusted_proxy in tasktail");
        }
        error.fixed_by("nginx", NGINX_HOST).fixed_by("Caddy", CADDY_HOST)
    }

    /// Reports whether a browser sent this request from one of the server's own pages.
    pub(crate) fn is_own_request(&self, headers: &HeaderMap, client: &ClientAddr) -> bool {
        if is_same_origin(headers) {
            return true;
        }
        match request_origin(headers) {
            Some(origin) => self.is_own_origin(&origin, client),
            None => false,
        }
    }

    /// Reports whether a browser sent this request from a page of another site.
    pub(crate) fn is_foreign_request(&self, headers: &HeaderMap, client: &ClientAddr) -> bool {
        if is_same_origin(headers) {
            return false;
        }
        let cross_site = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
        match request_origin(headers) {
            Some(origin) => cross_site || !self.is_own_origin(&origin, client),
            None => cross_site,
        }
    }

    /// Reports whether an origin is that of the server's own pages. `null` (a sandboxed page, a file) is not.
    fn is_own_origin(&self, origin: &str, client: &ClientAddr) -> bool {
        client.origin().is_some_and(|own| own == origin) || self.public_url.is_some_and(|url| url.origin() == origin)
    }
}

/// Reports whether the browser itself found that the page and the request have the same origin. No page can set this
/// header, and it stays true behind a proxy that changes the host.
fn is_same_origin(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin")
}

/// Reports whether a host can be quoted in a setting.
fn is_plain_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
}

/// Reports whether a path is that of a read-only WebSocket.
fn is_viewer_path(path: &str) -> bool {
    path == "/ws/v1/follow" || path.starts_with("/ws/v1/tasks/")
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    const LOCAL: HostPolicy<'static> =
        HostPolicy { loopback: true, auth_required: false, public_url: None, origins: Origins::NONE };

    fn code_at(policy: HostPolicy<'_>, https: bool, method: Method, pairs: &[(&'static str, &str)]) -> Option<String> {
        code_of("/", policy, https, method, pairs)
    }

    fn code_of(
        path: &str,
        policy: HostPolicy<'_>,
        https: bool,
        method: Method,
        pairs: &[(&'static str, &str)],
    ) -> Option<String> {
        let request = Request::builder().method(method).uri(path);
        let request = pairs.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        let client = ClientAddr::new(peer, https, request.headers(), &crate::server::TrustedProxies::default());
        policy.check(&request, &client).err().map(|error| error.code().to_owned())
    }

    #[test]
    fn pages_of_allowed_origins_open_viewers_but_change_nothing() {
        let origins: Origins = "https://ci.example".parse().unwrap();
        let policy = HostPolicy { origins: &origins, ..LOCAL };
        let page = [("host", "localhost:7117"), ("origin", "https://ci.example"), ("upgrade", "websocket")];
        let code = |path, method, pairs| code_of(path, policy, false, method, pairs);
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
    fn loopback_servers_accept_only_loopback_hosts() {
        for good in ["localhost", "LOCALHOST:7117", "127.0.0.1:1", "[::1]", "[::1]:80"] {
            assert_eq!(code(Method::GET, &[("host", good)]), None, "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "[::2]:80", ""] {
            assert_eq!(code(Method::GET, &[("host", bad)]).as_deref(), Some("bad_host"), "{bad}");
            let closed = HostPolicy { auth_required: true, ..LOCAL };
            assert_eq!(code_at(closed, false, Method::GET, &[("host", bad)]).as_deref(), Some("bad_host"), "{bad}");
        }
        assert_eq!(code(Method::GET, &[]).as_deref(), Some("bad_host"));
    }

    #[test]
    fn problems_name_the_line_that_fixes_them() {
        let client = |https, host: &str| ClientAddr { ip: [127, 0, 0, 1].into(), https, host: Some(host.to_owned()) };
        let json = |error: ApiError| error.into_json();
        let host = json(LOCAL.check_host("logs.example:8443").unwrap_err());
        assert_eq!(host["fix"]["tasktail"], "public_url = \"https://logs.example:8443\"");
        assert_eq!(host["fix"]["nginx"], "proxy_set_header Host $http_host;");
        assert!(host["detail"].as_str().unwrap().contains("the Host header is \"logs.example:8443\""));
        let hostile = json(LOCAL.check_host("\"><script>").unwrap_err());
        assert_eq!(hostile["fix"]["tasktail"], "public_url = \"https://logs.example\"");
        // nginx with `Host $host`: the port is missing.
        let origin = LOCAL.socket_problem("http://logs.example:8080", &client(false, "logs.example")).unwrap();
        let origin = json(origin);
        assert_eq!(origin["code"], "bad_origin");
        assert_eq!(origin["fix"]["tasktail"], "public_url = \"http://logs.example:8080\"");
        assert_eq!(origin["fix"]["Caddy"], "header_up Host {http.request.hostport}");
        // TLS at the proxy only: the host is right, the scheme is not.
        let scheme = json(LOCAL.socket_problem("https://logs.example", &client(false, "logs.example")).unwrap());
        assert!(scheme["fix"]["nginx"].as_str().unwrap().starts_with("proxy_set_header X-Forwarded-Proto"));
        assert!(LOCAL.socket_problem("http://logs.example", &client(false, "logs.example")).is_none());
    }

    #[test]
    fn public_url_is_accepted_as_host_and_origin() {
        let url: PublicUrl = "https://logs.example".parse().unwrap();
        let named = HostPolicy { public_url: Some(&url), ..LOCAL };
        for good in ["logs.example", "logs.example:443", "127.0.0.1"] {
            assert_eq!(code_at(named, false, Method::GET, &[("host", good)]), None, "{good}");
        }
        assert_eq!(code_at(named, false, Method::GET, &[("host", "evil.example")]).as_deref(), Some("bad_host"));
        // Its pages are the server's own, although the proxy connects with http.
        let from = |origin| code_at(named, false, Method::POST, &[("host", "logs.example"), ("origin", origin)]);
        assert_eq!(from("https://logs.example"), None);
        assert_eq!(from("https://logs.example:444").as_deref(), Some("bad_origin"));
    }

    #[test]
    fn servers_without_tokens_accept_only_addresses_as_host() {
        let open = HostPolicy { loopback: false, ..LOCAL };
        for good in ["192.0.2.1", "192.0.2.1:7117", "[2001:db8::1]:7117", "localhost"] {
            assert_eq!(code_at(open, false, Method::GET, &[("host", good)]), None, "{good}");
        }
        assert_eq!(code_at(open, false, Method::GET, &[("host", "evil.example")]).as_deref(), Some("bad_host"));
        let closed = HostPolicy { auth_required: true, ..open };
        assert_eq!(code_at(closed, true, Method::GET, &[("host", "logs.example")]), None);
    }

    #[test]
    fn pages_of_other_origins_change_nothing() {
        let own = ("host", "localhost:7117");
        assert_eq!(code(Method::POST, &[own]), None);
        assert_eq!(code(Method::POST, &[own, ("origin", "http://localhost:7117")]), None);
        for origin in ["http://evil.example", "null", "http://localhost:7118", "https://localhost:7117"] {
            assert_eq!(code(Method::POST, &[own, ("origin", origin)]).as_deref(), Some("bad_origin"), "{origin}");
            let upgrade = [own, ("upgrade", "websocket"), ("origin", origin)];
            assert_eq!(code(Method::GET, &upgrade).as_deref(), Some("bad_origin"), "{origin}");
            assert_eq!(code(Method::GET, &[own, ("origin", origin)]), None, "browsers block reads themselves");
        }
        assert_eq!(code(Method::DELETE, &[own, ("sec-fetch-site", "cross-site")]).as_deref(), Some("bad_origin"));
        assert!(code(Method::CONNECT, &[own]).is_some());
    }

    #[test]
    fn origin_includes_scheme_and_host() {
        let own = ("host", "localhost:7117");
        let from = |https, origin| code_at(LOCAL, https, Method::POST, &[own, ("origin", origin)]);
        assert_eq!(from(true, "https://localhost:7117"), None);
        assert_eq!(
            from(true, "http://localhost:7117").as_deref(),
            Some("bad_origin"),
            "anyone on the network could alter that page"
        );
        let implied = [("host", "localhost"), ("origin", "https://localhost")];
        assert_eq!(code_at(LOCAL, true, Method::POST, &implied), None);
    }

    #[test]
    fn own_and_foreign_requests_follow_the_browsers_headers() {
        let client = ClientAddr { ip: [127, 0, 0, 1].into(), https: true, host: Some("logs.example".to_owned()) };
        let url = "https://tail.example/logs".parse().unwrap();
        let site = HostPolicy { loopback: false, auth_required: true, public_url: None, origins: Origins::NONE };
        let named = HostPolicy { public_url: Some(&url), ..site };
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
            (&[("origin", "https://tail.example"), ("sec-fetch-site", "same-origin")], true, false),
        ] {
            let headers = headers(pairs);
            assert_eq!(site.is_own_request(&headers, &client), own, "{pairs:?}");
            assert_eq!(site.is_foreign_request(&headers, &client), foreign, "{pairs:?}");
        }
        let public = headers(&[("origin", "https://tail.example")]);
        assert!(named.is_own_request(&public, &client) && site.is_foreign_request(&public, &client));
    }
}
