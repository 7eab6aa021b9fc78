//! Binding of the listen addresses, and the protections they require: a server that other machines can reach
//! must require tokens, and use TLS so that they cannot be intercepted.
//!
//! The check precedes the binding, so that a rejected address never accepts a connection.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, lookup_host};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::auth::{TokenStatus, Tokens};
use crate::model::{Timestamp, command_line};
use crate::server::options::{ServeError, ServeOptions};
use crate::server::state::SharedState;

/// Interval between warnings about a server that runs only because of `--insecure`.
const WARN_INTERVAL: Duration = Duration::from_hours(1);

/// The bound listeners of both ports.
#[derive(Debug)]
pub(in crate::server) struct BoundListeners {
    /// The HTTP listener and its address.
    pub(in crate::server) http: (TcpListener, SocketAddr),
    /// The Redis listener and its address, if enabled.
    pub(in crate::server) redis: Option<(TcpListener, SocketAddr)>,
    /// A warning for each address that is served unprotected because of `--insecure`.
    pub(in crate::server) insecure: Vec<String>,
}

/// The protections of a server against other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Protections {
    /// True if the store has an active token.
    tokens: bool,
    /// True if both ports use TLS.
    tls: bool,
    /// True if `--insecure` overrides the requirements.
    insecure: bool,
}

/// A configured listen address, and the addresses it resolves to.
#[derive(Debug)]
struct ListenAddr<'a> {
    listen: &'a str,
    flag: &'static str,
    addrs: Vec<SocketAddr>,
}

/// Binds both ports, if their protections suffice.
///
/// # Errors
/// An address is invalid, in use, or insufficiently protected.
pub(in crate::server) async fn open(options: &ServeOptions) -> Result<BoundListeners, ServeError> {
    let http = ListenAddr::resolve(&options.listen, "--listen").await?;
    let redis = match &options.resp {
        Some(listen) => Some(ListenAddr::resolve(listen, "--resp").await?),
        None => None,
    };
    let addresses = || [Some(&http), redis.as_ref()].into_iter().flatten();
    let public_url = options.public_url.as_ref().filter(|url| !url.is_loopback());
    let exposed = public_url.is_some() || !addresses().all(ListenAddr::is_local);
    // Loopback needs no tokens. If they exist but are unreadable, the server starts and rejects all requests.
    let tokens = exposed && has_tokens(&options.data)?;
    let protections = Protections { tokens, tls: options.tls.is_some(), insecure: options.insecure };
    let mut insecure = Vec::new();
    for address in addresses() {
        insecure.extend(check(address, protections, &options.data)?);
    }
    if let Some(url) = public_url {
        insecure.extend(check_public(&url.to_string(), protections, &options.data)?);
    }
    let http = http.bind().await?;
    let redis = match redis {
        Some(address) => Some(address.bind().await?),
        None => None,
    };
    Ok(BoundListeners { http, redis, insecure })
}

/// Logs a warning for each unprotected address, at once and then hourly until shutdown.
pub(in crate::server) async fn warn_hourly(state: SharedState) {
    repeat_hourly(&state.insecure, &state.shutdown, |warning| tracing::warn!("{warning}")).await;
}

/// Calls `log` with each warning, at once and then hourly until shutdown.
async fn repeat_hourly(warnings: &[String], shutdown: &CancellationToken, mut log: impl FnMut(&str)) {
    while !warnings.is_empty() {
        for warning in warnings {
            log(warning);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(WARN_INTERVAL) => {}
        }
    }
}

/// Returns whether only this machine can reach `addr`.
pub(in crate::server) fn is_loopback(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

/// Returns whether the store has an active token.
fn has_tokens(data: &Path) -> Result<bool, ServeError> {
    let all = Tokens::at(data).list();
    let all = all.map_err(|error| ServeError::Data { data: data.to_owned(), reason: error.to_string() })?;
    Ok(all.iter().any(|token| token.status(Timestamp::now()) == TokenStatus::Active))
}

/// Checks whether a server may listen on `address`. Returns a warning if it may only because of `--insecure`.
fn check(address: &ListenAddr<'_>, protections: Protections, data: &Path) -> Result<Option<String>, ServeError> {
    let lacks = match protections {
        _ if address.is_local() => return Ok(None),
        Protections { tokens: true, tls: true, .. } => return Ok(None),
        Protections { tokens: false, tls: false, .. } => "without access tokens and without TLS",
        Protections { tokens: false, tls: true, .. } => "without access tokens",
        Protections { tokens: true, tls: false, .. } => "without TLS",
    };
    let listen = address.listen;
    if protections.insecure {
        let danger = if protections.tokens { INTERCEPTABLE } else { OPEN };
        return Ok(Some(format!("{listen} is served {lacks} (--insecure): {danger}")));
    }
    let certificate = "provide a certificate (--tls-cert FILE --tls-key FILE)";
    let remedy = match protections {
        Protections { tokens: true, .. } => certificate.to_owned(),
        Protections { tls: true, .. } => create_token(data),
        _ => format!("{} and {certificate}", create_token(data)),
    };
    Err(ServeError::Unprotected {
        what: format!("listen on {listen} {lacks}"),
        remedy: format!("{remedy}, or listen on a loopback address such as 127.0.0.1"),
    })
}

const OPEN: &str = "anyone who can reach it can read, write and delete every log";
const INTERCEPTABLE: &str = "anyone on the network path can read the tokens and the logs";

/// Checks a server that other machines reach at `url` through a proxy, like [`check`].
fn check_public(url: &str, protections: Protections, data: &Path) -> Result<Option<String>, ServeError> {
    if protections.tokens {
        return Ok(None);
    }
    if protections.insecure {
        return Ok(Some(format!("{url} is served without access tokens (--insecure): {OPEN}")));
    }
    Err(ServeError::Unprotected {
        what: format!("be reached at {url} (public_url) without access tokens"),
        remedy: create_token(data),
    })
}

/// Returns the advice to create a token.
fn create_token(data: &Path) -> String {
    let data = command_line(&[data.to_string_lossy().into_owned()]);
    format!("create a token (`tasktail token create --scope admin --name NAME --data {data}`)")
}

impl<'a> ListenAddr<'a> {
    /// Resolves a configured address.
    async fn resolve(listen: &'a str, flag: &'static str) -> Result<Self, ServeError> {
        let error = |source| ServeError::Listen { listen: listen.to_owned(), source };
        let addrs: Vec<_> = lookup_host(listen).await.map_err(error)?.collect();
        if addrs.is_empty() {
            return Err(error(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")));
        }
        Ok(Self { listen, flag, addrs })
    }

    /// Returns whether only this machine can reach the resolved addresses.
    fn is_local(&self) -> bool {
        self.addrs.iter().all(|addr| is_loopback(*addr))
    }

    /// Binds the first address that is available.
    async fn bind(self) -> Result<(TcpListener, SocketAddr), ServeError> {
        let Self { listen, flag, addrs } = self;
        let listen_error = |source| ServeError::Listen { listen: listen.to_owned(), source };
        let bound = TcpListener::bind(&addrs[..]).await.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::PortInUse { listen: listen.to_owned(), flag },
            _ => listen_error(source),
        });
        let listener = bound?;
        let addr = listener.local_addr().map_err(listen_error)?;
        Ok((listener, addr))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn check_addrs(addrs: &[&str], tokens: bool, tls: bool, insecure: bool) -> Result<Option<String>, String> {
        let addrs = addrs.iter().map(|text| text.parse().unwrap()).collect();
        let address = ListenAddr { listen: "logs:1", flag: "--listen", addrs };
        check(&address, Protections { tokens, tls, insecure }, Path::new("/d")).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_are_repeated_hourly_until_shutdown() {
        let (shutdown, warnings, mut logged) = (CancellationToken::new(), ["a".to_owned(), "b".to_owned()], Vec::new());
        let two_hours_and_a_half = Duration::from_mins(150);
        let repeating = repeat_hourly(&warnings, &shutdown, |warning| logged.push(warning.to_owned()));
        assert!(timeout(two_hours_and_a_half, repeating).await.is_err(), "still running");
        assert_eq!(logged, ["a", "b", "a", "b", "a", "b"]);
        repeat_hourly(&[], &shutdown, |warning| panic!("{warning}")).await;
        shutdown.cancel();
        timeout(Duration::from_secs(1), repeat_hourly(&warnings, &shutdown, |_| ())).await.unwrap();
    }

    #[test]
    fn only_loopback_addresses_need_no_protection() {
        let local: [&[&str]; 5] =
            [&["127.0.0.1:1"], &["127.9.9.9:1"], &["[::1]:1"], &["[::ffff:127.0.0.1]:1"], &["127.0.0.1:1", "[::1]:1"]];
        for addrs in local {
            assert_eq!(check_addrs(addrs, false, false, false), Ok(None), "{addrs:?}");
        }
        let open: [&[&str]; 5] =
            [&["0.0.0.0:1"], &["[::]:1"], &["192.0.2.1:1"], &["[::ffff:192.0.2.1]:1"], &["127.0.0.1:1", "192.0.2.1:1"]];
        for addrs in open {
            assert!(check_addrs(addrs, false, false, false).is_err(), "{addrs:?}");
        }
    }

    /// The whole table: address x tokens x TLS x --insecure.
    #[test]
    fn errors_and_warnings_depend_on_the_protections() {
        const TOKEN: &str = "create a token (`tasktail token create --scope admin --name NAME --data /d`)";
        const CERT: &str = "provide a certificate (--tls-cert FILE --tls-key FILE)";
        let both = format!("{TOKEN} and {CERT}");
        for (tokens, tls, lacks, remedy, danger) in [
            (false, false, "without access tokens and without TLS", both.as_str(), OPEN),
            (false, true, "without access tokens", TOKEN, OPEN),
            (true, false, "without TLS", CERT, INTERCEPTABLE),
        ] {
            let error = check_addrs(&["0.0.0.0:1"], tokens, tls, false).unwrap_err();
            let start = format!("refusing to listen on logs:1 {lacks}: {remedy}, or listen on a loopback address");
            assert!(error.starts_with(&start) && error.contains("--insecure"), "{error}");
            let warning = check_addrs(&["0.0.0.0:1"], tokens, tls, true).unwrap();
            assert_eq!(warning, Some(format!("logs:1 is served {lacks} (--insecure): {danger}")));
        }
        for insecure in [false, true] {
            assert_eq!(check_addrs(&["0.0.0.0:1"], true, true, insecure), Ok(None));
            for (tokens, tls) in [(false, false), (false, true), (true, false), (true, true)] {
                assert_eq!(check_addrs(&["127.0.0.1:1"], tokens, tls, insecure), Ok(None), "loopback");
            }
        }
    }

    #[test]
    fn a_proxy_does_not_protect_an_open_store() {
        let at = |tokens, insecure| {
            let protections = Protections { tokens, tls: false, insecure };
            check_public("https://logs.example", protections, Path::new("/d")).map_err(|error| error.to_string())
        };
        let error = at(false, false).unwrap_err();
        let start =
            "refusing to be reached at https://logs.example (public_url) without access tokens: create a token (";
        assert!(error.starts_with(start), "{error}");
        assert!(at(false, true).unwrap().unwrap().starts_with("https://logs.example is served without"));
        assert_eq!((at(true, false), at(true, true)), (Ok(None), Ok(None)));
    }
}
