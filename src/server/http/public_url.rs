//! The address under which people reach a server that stands behind a proxy, or has a name.

use std::fmt;
use std::str::FromStr;

use warp::http::Uri;

use super::client_addr::{bare_host, normal_origin};
use super::host::is_loopback_host;

/// `https://logs.example[:PORT][/PREFIX]`, without a `/` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: &'static str,
    authority: String,
    prefix: String,
}

impl PublicUrl {
    /// Scheme, host and port, as a browser's `Origin` has it.
    pub(in crate::server) fn origin(&self) -> String {
        normal_origin(&format!("{}://{}", self.scheme, self.authority))
    }

    /// Whether it is a name that each machine has for itself.
    pub(in crate::server) fn is_loopback(&self) -> bool {
        is_loopback_host(&self.authority)
    }

    /// Whether a `Host` header names it.
    pub(in crate::server) fn is_host(&self, host: &str) -> bool {
        bare_host(host) == bare_host(&self.authority)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("`{text}` is no address for people: {why}; write such as https://logs.example");
        let uri: Uri = text.trim().parse().map_err(|_| bad("it cannot be read as a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            _ => return Err(bad("it must begin with https:// or http://")),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| bad("it names no host"))?.as_str();
        if authority.contains('@') || uri.query().is_some() {
            return Err(bad("a name, a password or a query has no place in it"));
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme, authority: authority.to_ascii_lowercase(), prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_once_and_known_in_each_spelling() {
        let url: PublicUrl = "https://Logs.example:443/tail/".parse().unwrap();
        assert_eq!(url.to_string(), "https://logs.example:443/tail");
        assert_eq!(url.origin(), "https://logs.example");
        assert!(url.is_host("logs.example") && url.is_host("LOGS.example:443") && !url.is_host("logs.example:8443"));
        let url: PublicUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!(url.origin(), "http://[::1]:8080");
        for bad in ["logs.example", "ftp://x", "https://u:p@x", "https://x?y=1", ""] {
            assert!(bad.parse::<PublicUrl>().unwrap_err().contains("https://logs.example"), "{bad}");
        }
    }
}
