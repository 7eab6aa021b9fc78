//! Where a server is, and what it takes to be let in: the parsed form of `--url`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::BearerToken;
use crate::transport::HAS_TLS;

/// What may stand in a query value as it is (RFC 3986, "unreserved").
const QUERY_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The address of a server, `http://HOST[:PORT][/PREFIX]` or `https://`, and what is trusted to prove
/// that it is the one.
///
/// Checked once; the prefix, for a server behind a reverse proxy, never ends in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    /// Certificates to trust beside the machine's own.
    ca_file: Option<Arc<Path>>,
    /// The address that people are told instead.
    public_url: Option<Arc<str>>,
    /// Sent to this server alone.
    token: Option<BearerToken>,
    host: String,
    port: u16,
    prefix: String,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// As it is.
    Http,
    /// Under TLS.
    Https,
}

impl Scheme {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Scheme::Http => ("http", "ws"),
            Scheme::Https => ("https", "wss"),
        }
    }

    /// The port where the address names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A text that is not the address of a server, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the address of a server: {why}; write http://HOST:PORT, such as http://127.0.0.1:7117")]
pub struct BadUrl {
    text: String,
    why: &'static str,
}

impl Endpoint {
    /// The same, trusting what is in this file too: authorities, or the server's own certificate.
    #[must_use]
    pub fn trusting(mut self, ca_file: Option<PathBuf>) -> Self {
        self.ca_file = ca_file.map(Arc::from);
        self
    }

    /// The same, which people reach at another address.
    #[must_use]
    pub fn known_as(mut self, public_url: Option<String>) -> Self {
        self.public_url = public_url.map(Arc::from);
        self
    }

    /// The same, with the access token that is sent there.
    #[must_use]
    pub fn with_token(mut self, token: Option<BearerToken>) -> Self {
        self.token = token;
        self
    }

    /// The access token that is sent there.
    pub fn token(&self) -> Option<&BearerToken> {
        self.token.as_ref()
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The certificates that are trusted beside the machine's own.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The server's host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT`, as in a `Host` header.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The path and query of a request: the prefix, `path` (which begins with `/`) and the
    /// parameters that have a value.
    pub fn target(&self, path: &str, query: &[(&str, Option<String>)]) -> String {
        let mut target = format!("{}{path}", self.prefix);
        let mut joint = '?';
        for (name, value) in query {
            if let Some(value) = value {
                target.push(joint);
                target.push_str(name);
                target.push('=');
                target.extend(utf8_percent_encode(value, QUERY_ESCAPED));
                joint = '&';
            }
        }
        target
    }

    /// The same for a WebSocket, as a whole URL.
    pub fn ws_url(&self, path: &str, query: &[(&str, Option<String>)]) -> String {
        format!("{}://{}{}", self.scheme.names().1, self.authority(), self.target(path, query))
    }

    /// The page of a task, for people.
    pub fn task_page(&self, task: &crate::model::TaskId) -> String {
        self.page("tasks", task)
    }

    /// The page of a run, for people.
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme.names().0, self.host, self.port, self.prefix)
    }
}

impl FromStr for Endpoint {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = |why| BadUrl { text: text.chars().take(200).collect(), why };
        let uri: hyper::Uri = text.trim().parse().map_err(|_| bad("it cannot be read as a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") if HAS_TLS => Scheme::Https,
            Some("https") => return Err(bad("this tasktail was built without TLS, so it speaks no https")),
            Some(_) => return Err(bad("it is of another kind than http and https")),
            None => return Err(bad("`http://` or `https://` is missing")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a name or password in it would be seen by everyone on this machine"));
        }
        if uri.query().is_some() {
            return Err(bad("it has a query"));
        }
        let host = authority.host().to_owned();
        if host.is_empty() {
            return Err(bad("it names no host"));
        }
        let read_port =
            |port: hyper::http::uri::Port<&str>| port.as_str().parse().map_err(|_| bad("its port is wrong"));
        let port = authority.port().map_or(Ok(scheme.default_port()), read_port)?;
        Ok(Self {
            scheme,
            ca_file: None,
            public_url: None,
            token: None,
            host,
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
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
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("127.0.0.1:7117", "missing"),
            #[cfg(not(feature = "tls"))]
            ("https://logs.example", "built without TLS"),
            ("ftp://x", "another kind"),
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
