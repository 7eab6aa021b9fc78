//! The two kinds of cookies: the session, and the tasks shared with this browser.
//!
//! | name | value | lifetime |
//! |---|---|---|
//! | `tasktail_session` | the id of a session | the session's |
//! | `tasktail_share_` and 16 digits of the task's SHA-256 | a signed share | the share's |
//!
//! All are `HttpOnly; SameSite=Strict; Path=/`. Over https they are `Secure` and named `__Host-..`, so that
//! no other host of the domain can set them, and only these names are accepted. Browsers share cookies
//! between all ports of a host, so a name ends in the port if the address has one.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use warp::http::{HeaderMap, HeaderValue, header};

use crate::model::{TaskId, Timestamp};

/// The scheme and port of a request, which determine the names of its cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieScope {
    /// True for https, false for http.
    pub(crate) https: bool,
    /// The port in the address, if present.
    pub(crate) port: Option<u16>,
}

impl CookieScope {
    /// Creates the scope of a request from its scheme and requested host.
    pub(crate) fn new(https: bool, host: Option<&str>) -> Self {
        let after_address = host.map(|host| host.rsplit_once(']').map_or(host, |(_, rest)| rest));
        let port = after_address.and_then(|host| host.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        Self { https, port }
    }

    /// Returns the name of the session cookie.
    pub(crate) fn session_name(&self) -> String {
        self.name("session")
    }

    /// Returns the name of the cookie with the share of one task.
    pub(crate) fn share_name(&self, task: &TaskId) -> String {
        let mut name = "share_".to_owned();
        for byte in Sha256::digest(task.as_str()).iter().take(8) {
            // Writing to a String cannot fail.
            let _infallible = write!(name, "{byte:02x}");
        }
        self.name(&name)
    }

    fn name(&self, what: &str) -> String {
        let prefix = if self.https { "__Host-" } else { "" };
        let port = self.port.map_or_else(String::new, |port| format!("_{port}"));
        format!("{prefix}tasktail_{what}{port}")
    }

    /// Returns a `Set-Cookie` for a value until a time. A time in the past deletes the cookie.
    pub(crate) fn set_cookie(&self, name: &str, value: &str, until: Timestamp, now: Timestamp) -> HeaderValue {
        let max_age_s = until.as_millis().saturating_sub(now.as_millis()).div_ceil(1000);
        let secure = if self.https { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
        // Session ids and shares are base64url, which is always valid in a header.
        let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }

    /// Returns a `Set-Cookie` that deletes a cookie.
    pub(crate) fn delete_cookie(&self, name: &str) -> HeaderValue {
        self.set_cookie(name, "", Timestamp::default(), Timestamp::default())
    }
}

/// Returns the value of a cookie.
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn attributes_depend_on_scheme_and_port() {
        let task = "build-7".parse().unwrap();
        let plain = CookieScope::new(false, Some("localhost:7117"));
        assert_eq!(plain.session_name(), "tasktail_session_7117");
        let cookie = plain.set_cookie(&plain.session_name(), "abc", at(61_000), at(1_000));
        assert_eq!(cookie, "tasktail_session_7117=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict");
        assert!(cookie.is_sensitive());
        let tls = CookieScope::new(true, Some("logs.example"));
        assert_eq!(tls.session_name(), "__Host-tasktail_session");
        assert_eq!(tls.delete_cookie("__Host-x"), "__Host-x=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure");
        assert!(tls.share_name(&task).starts_with("__Host-tasktail_share_"));
        assert_ne!(tls.share_name(&task), tls.share_name(&"build-8".parse().unwrap()));
        for (host, port) in [("[::1]:80", Some(80)), ("[::1]", None), ("a", None), ("a:b", None), ("a:443", Some(443))]
        {
            assert_eq!(CookieScope::new(false, Some(host)).port, port, "{host}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_full_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; xtasktail_session=no; tasktail_session=yes"));
        headers.append(header::COOKIE, HeaderValue::from_static("other=\"quoted\""));
        assert_eq!(get(&headers, "tasktail_session"), Some("yes"));
        assert_eq!(get(&headers, "other"), Some("quoted"));
        assert_eq!(get(&headers, "session"), None);
    }
}
