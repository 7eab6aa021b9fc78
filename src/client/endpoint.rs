//! A server's address with the credentials for it: the parsed form of `--url`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::BearerToken;
use crate::transport::HAS_TLS;

/// Characters escaped in a query value: all but the unreserved ones of RFC 3986.
const QUERY_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The address of a server, `http://HOST[:PORT][/PREFIX]` or `https://`, with the certificates that
/// authenticate it.
///
/// Validated once; the prefix, for a server that a reverse proxy serves, never ends in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    /// File of certificates to trust in addition to the system's.
    ca_file: Option<Arc<Path>>,
    /// Address to show to people instead.
    public_url: Option<Arc<str>>,
    /// Access token, sent to this server only.
    token: Option<BearerToken>,
    host: String,
    port: u16,
    prefix: String,
    /// The server is part of this process.
    in_process: bool,
}

/// The scheme of a server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Scheme::Http => ("http", "ws"),
            Scheme::Https => ("https", "wss"),
        }
    }

    /// Returns the port of an address without one.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// An invalid server address, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a server address: {why}; use http://HOST:PORT, such as http://127.0.0.1:7117")]
pub struct BadUrl {
    text: String,
    why: &'static str,
}

impl Endpoint {
    /// Returns the endpoint with a file of additional trusted certificates: authorities, or the server's own.
    #[must_use]
    pub fn with_ca_file(mut self, ca_file: Option<PathBuf>) -> Self {
        self.ca_file = ca_file.map(Arc::from);
        self
    }

    /// Returns the endpoint with the address to show to people.
    #[must_use]
    pub fn with_public_url(mut self, public_url: Option<String>) -> Self {
        self.public_url = public_url.map(Arc::from);
        self
    }

    /// Returns the endpoint with an access token.
    #[must_use]
    pub fn with_token(mut self, token: Option<BearerToken>) -> Self {
        self.token = token;
        self
    }

    /// Returns the endpoint of a server inside this process.
    #[must_use]
    pub fn in_process(mut self) -> Self {
        self.in_process = true;
        self
    }

    /// Reports whether the server is part of this process, so that people know neither its address nor its token.
    pub fn is_in_process(&self) -> bool {
        self.in_process
    }

    /// Returns the access token, if there is one.
    pub fn token(&self) -> Option<&BearerToken> {
        self.token.as_ref()
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the file of additional trusted certificates.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Returns the server's host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns the server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns `HOST:PORT`, as in a `Host` header.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Returns the path and query of a request: the prefix, `path` (which begins with `/`) and the
    /// parameters that have a value.
    pub fn target(&self, path: &str, query: &[(&str, Option<String>)]) -> String {
        format!("{}{}", self.prefix, path_with_query(path, query))
    }

    /// Returns the complete URL of a WebSocket.
    pub fn ws_url(&self, path: &str, query: &[(&str, Option<String>)]) -> String {
        format!("{}://{}{}", self.scheme.names().1, self.authority(), self.target(path, query))
    }

    /// Returns the URL of a task's page, for people.
    pub fn task_page(&self, task: &impl fmt::Display) -> String {
        self.page("tasks", task)
    }

    /// Returns the URL of a run's page, for people.
    pub fn run_page(&self, run: &crate::model::RunId) -> String {
        self.page("runs", run)
    }

    fn page(&self, kind: &str, id: &dyn fmt::Display) -> String {
        match &self.public_url {
            Some(url) => format!("{url}/{kind}/{id}"),
            None => format!("{self}/{kind}/{id}"),
        }
    }
}

/// Appends the parameters that have a value to `path`, escaped.
pub(super) fn path_with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut target = path.to_owned();
    let mut separator = '?';
    for (name, value) in query {
        if let Some(value) = value {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            target.extend(utf8_percent_encode(value, QUERY_ESCAPED));
            separator = '&';
        }
    }
    target
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme.names().0, self.host, self.port, self.prefix)
    }
}

impl FromStr for Endpoint {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = |why| BadUrl { text: text.chars().take(200).collect(), why };
        let uri: hyper::Uri = text.trim().parse().map_err(|_| bad("it is not a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") if HAS_TLS => Scheme::Https,
            Some("https") => return Err(bad("this tasktail was built without TLS support")),
            Some(_) => return Err(bad("its scheme is neither http nor https")),
            None => return Err(bad("`http://` or `https://` is missing")),
        };
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a user name or password in it would be visible to other users of this machine"));
        }
        if uri.query().is_some() {
            return Err(bad("a query is not allowed"));
        }
        let host = authority.host().to_owned();
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        let parse_port =
            |port: hyper::http::uri::Port<&str>| port.as_str().parse().map_err(|_| bad("the port is invalid"));
        let port = authority.port().map_or(Ok(scheme.default_port()), parse_port)?;
        Ok(Self {
            scheme,
            ca_file: None,
            public_url: None,
            token: None,
            host,
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            in_process: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_display() {
        for (text, shown) in [
            ("http://127.0.0.1:7117", "http://127.0.0.1:7117"),
            ("http://127.0.0.1:7117/", "http://127.0.0.1:7117"),
            ("http://logs.example/tail/", "http://logs.example:80/tail"),
            ("http://[::1]:7117", "http://[::1]:7117"),
            #[cfg(feature = "tls")]
            ("https://logs.example/tail", "https://logs.example:443/tail"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        assert_eq!("http://[::1]:7117".parse::<Endpoint>().unwrap().host(), "::1");
    }

    #[test]
    fn invalid_addresses_report_the_reason() {
        for (text, why) in [
            ("127.0.0.1:7117", "missing"),
            #[cfg(not(feature = "tls"))]
            ("https://logs.example", "built without TLS"),
            ("ftp://x", "neither http nor https"),
            ("http://u:p@x", "password"),
            ("http://x?y=1", "query"),
            ("", "URL"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("http://127.0.0.1:7117"), "{text}: {error}");
        }
    }

    #[test]
    fn queries_are_escaped() {
        let endpoint: Endpoint = "http://h:1/p".parse().unwrap();
        let target =
            endpoint.target("/x", &[("a", Some("k:v w&x".to_owned())), ("b", None), ("c", Some("1".to_owned()))]);
        assert_eq!(target, "/p/x?a=k%3Av%20w%26x&c=1");
    }
}
