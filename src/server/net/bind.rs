//! Where a server listens, whom that lets in, and what must be there before it may: a store that
//! others can reach asks for tokens, and speaks TLS so that nobody on the way reads them.
//!
//! Decided before anything is bound: what is refused never accepted anyone.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, lookup_host};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::auth::{TokenStatus, Tokens};
use crate::model::{Timestamp, command_line};
use crate::server::ServeError;
use crate::server::ServeOptions;
use crate::server::state::SharedState;

/// A server that `--insecure` alone lets run says so again this often.
const REMIND: Duration = Duration::from_hours(1);

/// Both ports, bound.
#[derive(Debug)]
pub(in crate::server) struct Doors {
    pub(in crate::server) http: (TcpListener, SocketAddr),
    pub(in crate::server) redis: Option<(TcpListener, SocketAddr)>,
    /// What is served without a guard because of `--insecure`: a sentence each.
    pub(in crate::server) insecure: Vec<String>,
}

/// What stands between a server and those who reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guards {
    /// The store has a token that can be used.
    tokens: bool,
    /// Both ports speak TLS.
    tls: bool,
    /// It was said that it is to be served all the same.
    insecure: bool,
}

/// An address that was asked for, and all that it stands for.
#[derive(Debug)]
struct Wanted<'a> {
    listen: &'a str,
    flag: &'static str,
    addrs: Vec<SocketAddr>,
}

/// Binds both ports, if they may be.
///
/// # Errors
/// An address that is wrong, taken, or not to be served like this.
pub(in crate::server) async fn open(options: &ServeOptions) -> Result<Doors, ServeError> {
    let http = Wanted::resolve(&options.listen, "--listen").await?;
    let redis = match &options.resp {
        Some(listen) => Some(Wanted::resolve(listen, "--resp").await?),
        None => None,
    };
    let doors = || [Some(&http), redis.as_ref()].into_iter().flatten();
    let public_url = options.public_url.as_ref().filter(|url| !url.is_loopback());
    let exposed = public_url.is_some() || !doors().all(Wanted::is_local);
    // On loopback nobody asks: tokens that cannot be read let nobody in there either.
    let tokens = exposed && has_tokens(&options.data)?;
    let guards = Guards { tokens, tls: options.tls.is_some(), insecure: options.insecure };
    let mut insecure = Vec::new();
    for wanted in doors() {
        insecure.extend(check(wanted, guards, &options.data)?);
    }
    if let Some(url) = public_url {
        insecure.extend(check_public(&url.to_string(), guards, &options.data)?);
    }
    let http = http.bind().await?;
    let redis = match redis {
        Some(wanted) => Some(wanted.bind().await?),
        None => None,
    };
    Ok(Doors { http, redis, insecure })
}

/// Says what is served without a guard, at once and each hour.
pub(in crate::server) async fn remind(state: SharedState) {
    say_hourly(&state.insecure, &state.shutdown, |what| tracing::warn!("{what}")).await;
}

async fn say_hourly(all: &[String], shutdown: &CancellationToken, mut say: impl FnMut(&str)) {
    while !all.is_empty() {
        for what in all {
            say(what);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(REMIND) => {}
        }
    }
}

/// Whether an address is one that only this machine reaches.
pub(in crate::server) fn is_loopback(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

fn has_tokens(data: &Path) -> Result<bool, ServeError> {
    let all = Tokens::at(data).list();
    let all = all.map_err(|error| ServeError::Data { data: data.to_owned(), reason: error.to_string() })?;
    Ok(all.iter().any(|token| token.status(Timestamp::now()) == TokenStatus::Active))
}

/// Whether a server may listen there; if only because of `--insecure`, in what state, as a sentence.
fn check(wanted: &Wanted<'_>, guards: Guards, data: &Path) -> Result<Option<String>, ServeError> {
    let lacks = match guards {
        _ if wanted.is_local() => return Ok(None),
        Guards { tokens: true, tls: true, .. } => return Ok(None),
        Guards { tokens: false, tls: false, .. } => "without access tokens and without TLS",
        Guards { tokens: false, tls: true, .. } => "without access tokens",
        Guards { tokens: true, tls: false, .. } => "without TLS",
    };
    let listen = wanted.listen;
    if guards.insecure {
        let danger = if guards.tokens { TAPPED } else { OPEN };
        return Ok(Some(format!("{listen} is served {lacks} (--insecure): {danger}")));
    }
    let certificate = "give a certificate (--tls-cert FILE --tls-key FILE)";
    let remedy = match guards {
        Guards { tokens: true, .. } => certificate.to_owned(),
        Guards { tls: true, .. } => make_token(data),
        _ => format!("{} and {certificate}", make_token(data)),
    };
    Err(ServeError::OpenAddress {
        what: format!("listen on {listen} {lacks}"),
        remedy: format!("{remedy}, or listen on a loopback address such as 127.0.0.1"),
    })
}

const OPEN: &str = "whoever reaches it can read, write and remove every log";
const TAPPED: &str = "whoever is on the way can read the tokens and the logs";

/// The same for a server that only a proxy reaches, which lets everyone in at `url`.
fn check_public(url: &str, guards: Guards, data: &Path) -> Result<Option<String>, ServeError> {
    if guards.tokens {
        return Ok(None);
    }
    if guards.insecure {
        return Ok(Some(format!("{url} is served without access tokens (--insecure): {OPEN}")));
    }
    Err(ServeError::OpenAddress {
        what: format!("be reached at {url} (public_url) without access tokens"),
        remedy: make_token(data),
    })
}

fn make_token(data: &Path) -> String {
    let data = command_line(&[data.to_string_lossy().into_owned()]);
    format!("make a token (`tasktail token create --scope admin --name NAME --data {data}`)")
}

impl<'a> Wanted<'a> {
    async fn resolve(listen: &'a str, flag: &'static str) -> Result<Self, ServeError> {
        let error = |source| ServeError::Listen { listen: listen.to_owned(), source };
        let addrs: Vec<_> = lookup_host(listen).await.map_err(error)?.collect();
        if addrs.is_empty() {
            return Err(error(io::Error::new(io::ErrorKind::NotFound, "the name stands for no address")));
        }
        Ok(Self { listen, flag, addrs })
    }

    /// Whether only this machine reaches all that it stands for.
    fn is_local(&self) -> bool {
        self.addrs.iter().all(|addr| is_loopback(*addr))
    }

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

    fn refusal(addrs: &[&str], tokens: bool, tls: bool, insecure: bool) -> Result<Option<String>, String> {
        let addrs = addrs.iter().map(|text| text.parse().unwrap()).collect();
        let wanted = Wanted { listen: "logs:1", flag: "--listen", addrs };
        check(&wanted, Guards { tokens, tls, insecure }, Path::new("/d")).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_open_is_said_at_once_and_each_hour_until_the_end() {
        let (shutdown, open, mut said) = (CancellationToken::new(), ["a".to_owned(), "b".to_owned()], Vec::new());
        let two_hours_and_a_half = Duration::from_mins(150);
        let speaks = say_hourly(&open, &shutdown, |what| said.push(what.to_owned()));
        assert!(timeout(two_hours_and_a_half, speaks).await.is_err(), "it goes on");
        assert_eq!(said, ["a", "b", "a", "b", "a", "b"]);
        say_hourly(&[], &shutdown, |what| panic!("{what}")).await;
        shutdown.cancel();
        timeout(Duration::from_secs(1), say_hourly(&open, &shutdown, |_| ())).await.unwrap();
    }

    #[test]
    fn only_this_machines_own_addresses_need_no_guard() {
        let local: [&[&str]; 5] =
            [&["127.0.0.1:1"], &["127.9.9.9:1"], &["[::1]:1"], &["[::ffff:127.0.0.1]:1"], &["127.0.0.1:1", "[::1]:1"]];
        for addrs in local {
            assert_eq!(refusal(addrs, false, false, false), Ok(None), "{addrs:?}");
        }
        let open: [&[&str]; 5] =
            [&["0.0.0.0:1"], &["[::]:1"], &["192.0.2.1:1"], &["[::ffff:192.0.2.1]:1"], &["127.0.0.1:1", "192.0.2.1:1"]];
        for addrs in open {
            assert!(refusal(addrs, false, false, false).is_err(), "{addrs:?}");
        }
    }

    /// The whole table: address x tokens x TLS x --insecure.
    #[test]
    fn what_is_refused_says_what_to_do() {
        const TOKEN: &str = "make a token (`tasktail token create --scope admin --name NAME --data /d`)";
        const CERT: &str = "give a certificate (--tls-cert FILE --tls-key FILE)";
        let both = format!("{TOKEN} and {CERT}");
        for (tokens, tls, lacks, remedy, danger) in [
            (false, false, "without access tokens and without TLS", both.as_str(), OPEN),
            (false, true, "without access tokens", TOKEN, OPEN),
            (true, false, "without TLS", CERT, TAPPED),
        ] {
            let error = refusal(&["0.0.0.0:1"], tokens, tls, false).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "refusing to listen on logs:1 {lacks}: {remedy}, or listen on a loopback address such as \
                     127.0.0.1; --insecure serves it all the same"
                )
            );
            let warning = refusal(&["0.0.0.0:1"], tokens, tls, true).unwrap();
            assert_eq!(warning, Some(format!("logs:1 is served {lacks} (--insecure): {danger}")));
        }
        for insecure in [false, true] {
            assert_eq!(refusal(&["0.0.0.0:1"], true, true, insecure), Ok(None));
            for (tokens, tls) in [(false, false), (false, true), (true, false), (true, true)] {
                assert_eq!(refusal(&["127.0.0.1:1"], tokens, tls, insecure), Ok(None), "loopback");
            }
        }
    }

    #[test]
    fn a_proxy_before_an_open_store_is_no_guard() {
        let at = |tokens, insecure| {
            let guards = Guards { tokens, tls: false, insecure };
            check_public("https://logs.example", guards, Path::new("/d")).map_err(|error| error.to_string())
        };
        let error = at(false, false).unwrap_err();
        let start = "refusing to be reached at https://logs.example (public_url) without access tokens: make a token (";
        assert!(error.starts_with(start), "{error}");
        assert!(at(false, true).unwrap().unwrap().starts_with("https://logs.example is served without"));
        assert_eq!((at(true, false), at(true, true)), (Ok(None), Ok(None)));
    }
}
