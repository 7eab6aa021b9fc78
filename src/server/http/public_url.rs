//! The public address of a server that has a name or is behind a proxy.

use std::fmt;
use std::str::FromStr;

use warp::http::Uri;

use super::client_addr::{normal_host, normal_origin};
use super::host::is_loopback_host;

/// A public address: `https://logs.example[:PORT][/PREFIX]`, without a trailing `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: &'static str,
    authority: String,
    prefix: String,
}

impl PublicUrl {
    /// Returns the scheme, host and port, as in a browser's `Origin`.
    pub(crate) fn origin(&self) -> String {
        normal_origin(&format!("{}://{}", self.scheme, self.authority))
    }

    /// Returns the path below which a proxy serves this server, without a trailing `/`; empty for the whole host.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Reports whether the host is a loopback name.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback_host(&self.authority)
    }

    /// Reports whether a `Host` header names this address.
    pub(crate) fn is_host(&self, host: &str) -> bool {
        normal_host(host) == normal_host(&self.authority)
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
        let bad =
            |reason: &str| format!("`{text}` is not a public URL: {reason}; use for example https://logs.example");
        let uri: Uri = text.trim().parse().map_err(|_| bad("it is not a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            _ => return Err(bad("it must start with https:// or http://")),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| bad("it has no host"))?.as_str();
        if authority.contains('@') || uri.query().is_some() {
            return Err(bad("it must not contain a user name, a password or a query"));
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
        if !prefix.bytes().all(plain) || prefix.contains("//") || prefix.split('/').any(|part| part == "..") {
            return Err(bad("its path must be plain segments"));
        }
        Ok(Self { scheme, authority: authority.to_ascii_lowercase(), prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalized() {
        let url: PublicUrl = "https://Logs.example:443/tail/".parse().unwrap();
        assert_eq!((url.to_string().as_str(), url.prefix()), ("https://logs.example:443/tail", "/tail"));
        assert_eq!(url.origin(), "https://logs.example");
        assert!(url.is_host("logs.example") && url.is_host("LOGS.example:443") && !url.is_host("logs.example:8443"));
        let url: PublicUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!(url.origin(), "http://[::1]:8080");
        for bad in [
            "logs.example",
            "ftp://x",
            "https://u:p@x",
            "https://x?y=1",
            "https://x/a;b",
            "https://x/a//b",
            "https://x/../b",
            "",
        ] {
            assert!(bad.parse::<PublicUrl>().unwrap_err().contains("https://logs.example"), "{bad}");
        }
    }
}
