//! The two cookies: who is signed in, and which tasks were shared with this browser.
//!
//! | name | value | life |
//! |---|---|---|
//! | `tasktail_session` | the id of a session | the session's |
//! | `tasktail_share_` and 16 digits of the task's SHA-256 | a signed share | the share's |
//!
//! All are `HttpOnly; SameSite=Strict; Path=/`. Over https they are `Secure` and named `__Host-..`, so
//! that no other host of the domain can set them, and only those names are taken there. Browsers
//! keep one set of cookies for all ports of a host: a name ends in the port if the address has one.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use warp::http::{HeaderMap, HeaderValue, header};

use crate::model::{TaskId, Timestamp};

/// Where a browser came: what the names of its cookies depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Site {
    /// By https.
    pub(in crate::server) https: bool,
    /// The port in the address, if one stands there.
    pub(in crate::server) port: Option<u16>,
}

impl Site {
    /// The site of a request, by how it came and the host it asked for.
    pub(in crate::server) fn new(https: bool, host: Option<&str>) -> Self {
        let after_address = host.map(|host| host.rsplit_once(']').map_or(host, |(_, rest)| rest));
        let port = after_address.and_then(|host| host.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        Self { https, port }
    }

    /// The name of the cookie with the id of a session.
    pub(in crate::server) fn session_name(&self) -> String {
        self.name("session")
    }

    /// The name of the cookie with the share of one task.
    pub(in crate::server) fn share_name(&self, task: &TaskId) -> String {
        let mut name = "share_".to_owned();
        for byte in Sha256::digest(task.as_str()).iter().take(8) {
            // Into a String: cannot fail.
            let _infallible = write!(name, "{byte:02x}");
        }
        self.name(&name)
    }

    fn name(&self, what: &str) -> String {
        let prefix = if self.https { "__Host-" } else { "" };
        let port = self.port.map_or_else(String::new, |port| format!("_{port}"));
        format!("{prefix}tasktail_{what}{port}")
    }

    /// A `Set-Cookie` for this value until that time; a time that is past takes the cookie back.
    pub(in crate::server) fn set_cookie(
        &self,
        name: &str,
        value: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> HeaderValue {
        let life_s = until.as_millis().saturating_sub(now.as_millis()).div_ceil(1000);
        let secure = if self.https { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}");
        // Ids and shares are base64url: there is nothing in them that a header cannot hold.
        let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }

    /// A `Set-Cookie` that takes a cookie back.
    pub(in crate::server) fn drop_cookie(&self, name: &str) -> HeaderValue {
        self.set_cookie(name, "", Timestamp::default(), Timestamp::default())
    }
}

/// The value of a cookie.
pub(in crate::server) fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
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
    fn flags_follow_the_connection() {
        let task = "build-7".parse().unwrap();
        let plain = Site::new(false, Some("localhost:7117"));
        assert_eq!(plain.session_name(), "tasktail_session_7117");
        let cookie = plain.set_cookie(&plain.session_name(), "abc", at(61_000), at(1_000));
        assert_eq!(cookie, "tasktail_session_7117=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict");
        assert!(cookie.is_sensitive());
        let tls = Site::new(true, Some("logs.example"));
        assert_eq!(tls.session_name(), "__Host-tasktail_session");
        assert_eq!(tls.drop_cookie("__Host-x"), "__Host-x=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure");
        assert!(tls.share_name(&task).starts_with("__Host-tasktail_share_"));
        assert_ne!(tls.share_name(&task), tls.share_name(&"build-8".parse().unwrap()));
        for (host, port) in [("[::1]:80", Some(80)), ("[::1]", None), ("a", None), ("a:b", None), ("a:443", Some(443))]
        {
            assert_eq!(Site::new(false, Some(host)).port, port, "{host}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; xtasktail_session=no; tasktail_session=yes"));
        headers.append(header::COOKIE, HeaderValue::from_static("other=\"quoted\""));
        assert_eq!(get(&headers, "tasktail_session"), Some("yes"));
        assert_eq!(get(&headers, "other"), Some("quoted"));
        assert_eq!(get(&headers, "session"), None);
    }
}
