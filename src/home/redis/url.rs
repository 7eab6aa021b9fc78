//! The URL of a shared journal.
//!
//! ```text
//! redis://[[USER:]PASSWORD@]HOST[:PORT][/DB]            rediss://… with TLS
//! redis+sentinel://[[USER:]PASSWORD@]HOST[:PORT],…/MASTER[/DB]
//! redis+cluster://[[USER:]PASSWORD@]HOST[:PORT],…      rediss+sentinel, rediss+cluster with TLS
//! ```

use std::fmt;
use std::str::FromStr;

/// The parsed URL of a shared journal. Its password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct JournalUrl {
    pub(super) kind: JournalKind,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) hosts: Vec<NodeAddress>,
    pub(super) database: i64,
}

/// The arrangement of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JournalKind {
    Single,
    Sentinel { master: String },
    Cluster,
}

/// Host and port of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The error for a text that is not the URL of a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal's URL {0}: write redis://HOST:PORT, rediss://…, redis+sentinel://HOST:PORT,…/MASTER or \
         redis+cluster://HOST:PORT,…"
)]
pub struct BadJournalUrl(String);

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl JournalUrl {
    /// Reports whether a text has the scheme of a journal's URL.
    pub fn is_scheme(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| kind_of(scheme).is_some())
    }

    /// Returns the URL without its credentials.
    pub fn redacted(&self) -> String {
        self.to_string()
    }
}

fn kind_of(scheme: &str) -> Option<(bool, &str)> {
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    ["", "sentinel", "cluster"].contains(&kind).then_some((tls, kind))
}

impl FromStr for JournalUrl {
    type Err = BadJournalUrl;

    fn from_str(text: &str) -> Result<Self, BadJournalUrl> {
        let bad = |what: &str| BadJournalUrl(what.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("has no scheme"))?;
        let (tls, kind) = kind_of(scheme).ok_or_else(|| bad("has an unknown scheme"))?;
        if rest.contains(['?', '#']) {
            return Err(bad("has parameters, and none are known"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (username, password) = match login {
            None => (None, None),
            Some(login) => match login.split_once(':') {
                Some((user, password)) => {
                    (Some(decoded(user)?).filter(|user| !user.is_empty()), Some(decoded(password)?))
                }
                None => (None, Some(decoded(login)?)),
            },
        };
        let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
        let hosts: Vec<_> = hosts.split(',').map(|host| address(host, port)).collect::<Result<_, _>>()?;
        let (master, database) = match (kind, path.split_once('/')) {
            ("sentinel", Some((master, database))) => (master, database),
            ("sentinel", None) => (path, ""),
            _ => ("", path),
        };
        let database: i64 = match database {
            "" => 0,
            number => number.parse().ok().filter(|n| *n >= 0).ok_or_else(|| bad("has a database that is no number"))?,
        };
        let kind = match kind {
            "sentinel" if master.is_empty() => return Err(bad("has no name of a master")),
            "sentinel" => JournalKind::Sentinel { master: decoded(master)? },
            "cluster" if database != 0 => return Err(bad("has a database, and a cluster only has 0")),
            "cluster" => JournalKind::Cluster,
            _ if hosts.len() > 1 => return Err(bad("has several hosts; that needs +sentinel or +cluster")),
            _ => JournalKind::Single,
        };
        Ok(Self { kind, tls, username, password, hosts, database })
    }
}

/// Parses `HOST`, `HOST:PORT` or `[V6]:PORT`.
fn address(text: &str, default_port: u16) -> Result<NodeAddress, BadJournalUrl> {
    let bad = |what: String| BadJournalUrl(what);
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(bad("has no host".to_owned()));
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().map_err(|_| bad("has a port that is no number".to_owned()))?,
    };
    Ok(NodeAddress { host: host.to_owned(), port })
}

/// Decodes `%XX`.
fn decoded(text: &str) -> Result<String, BadJournalUrl> {
    let bad = || BadJournalUrl("has a name or password with a bad %XX".to_owned());
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(bad);
        let value = digit()? << 4 | digit()?;
        out.push(u8::try_from(value).map_err(|_| bad())?);
    }
    String::from_utf8(out).map_err(|_| bad())
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for JournalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            JournalKind::Single => "",
            JournalKind::Sentinel { .. } => "+sentinel",
            JournalKind::Cluster => "+cluster",
        };
        write!(f, "redis{}{kind}://", if self.tls { "s" } else { "" })?;
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if at > 0 { "," } else { "" })?;
        }
        if let JournalKind::Sentinel { master } = &self.kind {
            write!(f, "/{master}")?;
        }
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        Ok(())
    }
}

impl fmt::Debug for JournalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_printed_without_credentials() {
        let url: JournalUrl = "rediss+sentinel://me:p%40ss@a:1,[::1]:2,c/main/3".parse().unwrap();
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(url.to_string(), "rediss+sentinel://a:1,[::1]:2,c:26379/main/3");
        assert!(!format!("{url:?}").contains("ss@"));
        let url: JournalUrl = "redis://:secret@h/2".parse().unwrap();
        assert_eq!((url.username, url.password.as_deref(), url.database), (None, Some("secret"), 2));
        for bad in ["http://a", "redis://", "redis://a,b", "redis+sentinel://a", "redis+cluster://a/1", "redis://a:x"] {
            assert!(bad.parse::<JournalUrl>().is_err(), "{bad}");
        }
    }
}
