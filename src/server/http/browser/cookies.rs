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
//!
//! Below the prefix of a proxy other programs have the same host. There the path of a cookie is the prefix, so that
//! only this server receives it, and over https its name begins with `__Secure-`: `__Host-` requires `Path=/`.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use warp::http::{HeaderMap, HeaderValue, header};

use crate::model::{TaskId, Timestamp};
use crate::server::http::client_addr::ClientAddr;
use crate::server::http::cors::request_origin;
use crate::server::state::State;

/// The part of a cookie's name for a session.
const SESSION: &str = "session";

/// The scheme and port of a request, which determine the names of its cookies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CookieScope {
    /// True for https, false for http.
    pub(crate) https: bool,
    /// The port in the address, if present.
    pub(crate) port: Option<u16>,
    /// The prefix of a proxy; empty without one.
    prefix: String,
    /// Whether the page of the request is below the prefix.
    below: bool,
}

impl CookieScope {
    /// Returns the scope of the cookies of a request. They are bound to the prefix of a proxy if the page of the
    /// request is at the public address.
    pub(crate) fn of(state: &State, client: &ClientAddr, headers: &HeaderMap) -> Self {
        let public_url = state.options.public_url.as_ref();
        let below = public_url.is_some_and(|url| request_origin(headers).is_some_and(|origin| origin == url.origin()));
        Self::new(client.https, client.host.as_deref()).within(state.prefix(), below)
    }

    /// Creates the scope of a request from its scheme and requested host.
    fn new(https: bool, host: Option<&str>) -> Self {
        let after_address = host.map(|host| host.rsplit_once(']').map_or(host, |(_, rest)| rest));
        let port = after_address.and_then(|host| host.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        Self { https, port, ..Self::default() }
    }

    /// Returns the scope below the prefix of a proxy. `below` binds new cookies to it.
    fn within(self, prefix: &str, below: bool) -> Self {
        Self { prefix: prefix.to_owned(), below: below && !prefix.is_empty(), ..self }
    }

    /// Returns the id of the session in a request.
    pub(crate) fn find_session<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        self.find(headers, SESSION)
    }

    /// Returns the share of a task in a request.
    pub(crate) fn find_share<'h>(&self, headers: &'h HeaderMap, task: &TaskId) -> Option<&'h str> {
        self.find(headers, &share_key(task))
    }

    fn find<'h>(&self, headers: &'h HeaderMap, key: &str) -> Option<&'h str> {
        let below = if self.prefix.is_empty() { None } else { get(headers, &self.name(key, true)) };
        below.or_else(|| get(headers, &self.name(key, false)))
    }

    /// Returns the name of a new session cookie.
    pub(crate) fn session_name(&self) -> String {
        self.name(SESSION, self.below)
    }

    /// Returns the name of a new cookie with the share of one task.
    pub(crate) fn share_name(&self, task: &TaskId) -> String {
        self.name(&share_key(task), self.below)
    }

    fn name(&self, key: &str, below: bool) -> String {
        let mark = match (self.https, below) {
            (false, _) => "",
            (true, false) => "__Host-",
            (true, true) => "__Secure-",
        };
        let port = self.port.map_or_else(String::new, |port| format!("_{port}"));
        format!("{mark}tasktail_{key}{port}")
    }

    /// Returns a `Set-Cookie` for a value until a time. A time in the past deletes the cookie.
    pub(crate) fn set_cookie(&self, name: &str, value: &str, until: Timestamp, now: Timestamp) -> HeaderValue {
        let max_age_s = until.as_millis().saturating_sub(now.as_millis()).div_ceil(1000);
        let secure = if self.https { "; Secure" } else { "" };
        let path = if self.below { &self.prefix } else { "/" };
        let text = format!("{name}={value}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
        // Session ids and shares are base64url, which is always valid in a header.
        let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }

    /// Returns a `Set-Cookie` for each session cookie that the browser may have; it deletes the cookie.
    pub(crate) fn delete_session(&self) -> Vec<HeaderValue> {
        let delete =
            |scope: Self| scope.set_cookie(&scope.session_name(), "", Timestamp::default(), Timestamp::default());
        let whole = Self { below: false, ..self.clone() };
        let below = (!self.prefix.is_empty()).then(|| Self { below: true, ..self.clone() });
        [Some(whole), below].into_iter().flatten().map(delete).collect()
    }
}

/// Returns the part of a cookie's name for the share of one task.
fn share_key(task: &TaskId) -> String {
    let mut key = "share_".to_owned();
    for byte in Sha256::digest(task.as_str()).iter().take(8) {
        // Writing to a String cannot fail.
        let _infallible = write!(key, "{byte:02x}");
    }
    key
}

/// Returns the value of a cookie.
fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
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
        let deleted = "__Host-tasktail_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(tls.delete_session(), [deleted]);
        assert!(tls.share_name(&task).starts_with("__Host-tasktail_share_"));
        assert_ne!(tls.share_name(&task), tls.share_name(&"build-8".parse().unwrap()));
        for (host, port) in [("[::1]:80", Some(80)), ("[::1]", None), ("a", None), ("a:b", None), ("a:443", Some(443))]
        {
            assert_eq!(CookieScope::new(false, Some(host)).port, port, "{host}");
        }
    }

    #[test]
    fn cookies_are_bound_to_the_prefix_of_a_proxy() {
        let scope = CookieScope::new(true, Some("example")).within("/logs", true);
        let cookie = scope.set_cookie(&scope.session_name(), "abc", at(61_000), at(1_000));
        assert_eq!(cookie, "__Secure-tasktail_session=abc; Path=/logs; Max-Age=60; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(scope.delete_session().len(), 2);
        let found = |scope: &CookieScope, text: &'static str| {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(text))]);
            scope.find_session(&headers).map(str::to_owned)
        };
        let both = "__Host-tasktail_session=whole; __Secure-tasktail_session=below";
        assert_eq!(found(&scope, both).as_deref(), Some("below"));
        let direct = CookieScope::new(true, Some("example")).within("/logs", false);
        assert_eq!(direct.session_name(), "__Host-tasktail_session");
        assert_eq!(found(&direct, both).as_deref(), Some("below"));
        // Without a prefix the weaker name does not count.
        assert_eq!(found(&CookieScope::new(true, Some("example")), both).as_deref(), Some("whole"));
        assert_eq!(found(&CookieScope::new(true, Some("example")), "__Secure-tasktail_session=x"), None);
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
