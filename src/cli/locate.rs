//! Which server a command speaks to: the one it was told, the one on this machine, or its own.
//!
//! ```text
//! --url | TASKTAIL_URL      that one, whatever happens
//! the default address       if a tasktail answers there (not when a data folder was named: another
//! |                         server's folder will not do)
//! DATA/server.json          the server that holds the data folder now
//! none of them              a server inside this process over the data folder, until it ends
//! ```
//! Two processes that look at the same time both find nobody; the lock of the data folder decides,
//! and the other one looks again.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::output::Output;
use crate::client::http::Probe;
use crate::client::{Endpoint, HttpClient};
use crate::config::{Settings, TokenSource};
use crate::model::limits;
use crate::server::{ServeError, ServeOptions, Server};

/// On this machine an answer takes no longer, unless the port belongs to something else.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// A server that is starting, or ending, is through with it by then.
const SETTLE_TRIES: u32 = 50;
const SETTLE_DELAY: Duration = Duration::from_millis(100);
/// The time that a server's restart is given, in [`SETTLE_DELAY`]s.
const RESTART_TRIES: u32 = 20;

/// What a server of our own is for: it decides where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A task runs as long as it does; people come to look: the usual address.
    Task,
    /// One command's look at the data folder: any free port.
    Look,
}

/// Finds the server, and holds the one that had to be started for want of another.
pub(super) struct Locator {
    settings: Settings,
    output: Output,
    purpose: Purpose,
    /// Held while looking, so that a second look waits for the first.
    own: Mutex<Option<Server>>,
}

/// What the server leaves in its data folder while it runs.
#[derive(Debug, Deserialize)]
struct ServerFile {
    url: String,
    pid: i32,
    public_url: Option<String>,
}

/// Why a server of our own did not start.
enum NotStarted {
    /// Its address belongs to somebody.
    PortTaken,
    /// Its data folder belongs to another process.
    FolderTaken,
    /// Anything else.
    Failed(ServeError),
}

impl Locator {
    pub(super) fn new(settings: Settings, output: Output, purpose: Purpose) -> Self {
        Self { settings, output, purpose, own: Mutex::new(None) }
    }

    /// The server's address; asked again, it says where the server is now.
    ///
    /// # Errors
    /// There is none and none can be started.
    pub(super) async fn endpoint(&self) -> anyhow::Result<Endpoint> {
        if let Some(url) = &self.settings.url {
            return self.with_token(url.clone());
        }
        let mut own = self.own.lock().await;
        if let Some(server) = &*own {
            return self.of_own(server);
        }
        let mut listen = match self.purpose {
            Purpose::Task => self.settings.listen.clone(),
            Purpose::Look => "127.0.0.1:0".to_owned(),
        };
        for _ in 0..SETTLE_TRIES {
            if let Some(found) = self.find().await {
                return self.with_token(found);
            }
            match self.start(&listen).await {
                Ok(server) => {
                    let endpoint = self.of_own(&server)?;
                    *own = Some(server);
                    return Ok(endpoint);
                }
                Err(NotStarted::Failed(error)) => return Err(error.into()),
                Err(NotStarted::FolderTaken) => sleep(SETTLE_DELAY).await,
                Err(NotStarted::PortTaken) => {
                    // Unless it is a tasktail that has just started, and answers now.
                    if self.at_default_address().await.is_none() || self.settings.data_named {
                        self.output.note(format_args!("{listen} is taken by something else: using another port"));
                        listen = any_port(&listen);
                    }
                }
            }
        }
        bail!(
            "the data folder {} is in use by another process that does not answer; end it, or use another --data",
            self.settings.data.display()
        )
    }

    /// The same after the server was lost, patiently: one that is just being restarted must find
    /// its data folder free.
    ///
    /// # Errors
    /// As [`Locator::endpoint`].
    pub(super) async fn endpoint_after_loss(&self) -> anyhow::Result<Endpoint> {
        if self.settings.url.is_none() && !self.is_own().await {
            for _ in 0..RESTART_TRIES {
                if let Some(found) = self.find().await {
                    return self.with_token(found);
                }
                sleep(SETTLE_DELAY).await;
            }
        }
        self.endpoint().await
    }

    /// Where the server is now, if it answers; none is started in its place, so that one that is
    /// away for long finds its data folder free when it comes back.
    pub(super) async fn found_again(&self) -> Option<Endpoint> {
        if self.settings.url.is_some() || self.is_own().await {
            return self.endpoint().await.ok();
        }
        self.find().await.and_then(|found| self.with_token(found).ok())
    }

    /// The same with this user's access token, if there is one.
    fn with_token(&self, endpoint: Endpoint) -> anyhow::Result<Endpoint> {
        let token = self.settings.token.as_ref().map(TokenSource::read).transpose()?;
        Ok(endpoint.with_token(token))
    }

    /// A client of that server.
    ///
    /// # Errors
    /// As [`Locator::endpoint`].
    pub(super) async fn client(&self) -> anyhow::Result<HttpClient> {
        self.endpoint().await.map(HttpClient::new)
    }

    /// Whether the server is inside this process.
    pub(super) async fn is_own(&self) -> bool {
        self.own.lock().await.is_some()
    }

    /// Ends the server that was started here, if one was, within a bounded time.
    pub(super) async fn close(&self) {
        let Some(server) = self.own.lock().await.take() else { return };
        match timeout(limits::SHUTDOWN_TIMEOUT + Duration::from_secs(1), server.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.output.note(format_args!("the server did not end well: {error}")),
            Err(_) => self.output.note("the server did not end in time"),
        }
    }

    /// A server that answers and may be used.
    async fn find(&self) -> Option<Endpoint> {
        if !self.settings.data_named
            && let Some(found) = self.at_default_address().await
        {
            // If it is that of our data folder, that says how people reach it.
            let file = self.server_file().await.filter(|file| file.url == found.to_string());
            return Some(found.with_public_url(file.and_then(|file| file.public_url)));
        }
        self.in_data_folder().await
    }

    async fn at_default_address(&self) -> Option<Endpoint> {
        let plain = default_endpoint("http", &self.settings.listen)?;
        match HttpClient::new(plain.clone()).probe(PROBE_TIMEOUT).await {
            Probe::Tasktail => Some(plain),
            // Its certificate is to prove it, as one on any machine; if it cannot, its data folder may.
            Probe::HttpsRequired => {
                let secure =
                    default_endpoint("https", &self.settings.listen)?.with_ca_file(self.settings.ca_file.clone());
                let probe = HttpClient::new(secure.clone()).probe(PROBE_TIMEOUT * 4).await;
                (probe == Probe::Tasktail).then_some(secure)
            }
            Probe::Untrusted(_) | Probe::Other | Probe::Free => None,
        }
    }

    /// A server inside this process: whoever could open its data folder comes in. Under TLS its own word for its
    /// certificate is as good as it gets.
    fn of_own(&self, server: &Server) -> anyhow::Result<Endpoint> {
        let public_url = self.settings.public_url.as_ref().map(ToString::to_string);
        let endpoint = self.reachable(&server.url()).context("the server's own address")?.with_public_url(public_url);
        Ok(endpoint.with_token(server.owner_token().reveal().parse().ok()))
    }

    /// The server over our data folder, which proves itself with the certificate that it left there.
    fn reachable(&self, url: &str) -> anyhow::Result<Endpoint> {
        let (scheme, addr) = url.split_once("://").unwrap_or_default();
        let endpoint = default_endpoint(scheme, addr).with_context(|| format!("`{url}` is no address"))?;
        let certificate = std::path::absolute(self.settings.data.join("server.pem"))?;
        Ok(if scheme == "https" { endpoint.with_ca_file(Some(certificate)) } else { endpoint })
    }

    /// The server that `server.json` names, if its process lives: a file that a killed server left
    /// behind may name a port that is another's now.
    async fn in_data_folder(&self) -> Option<Endpoint> {
        let file = self.server_file().await?;
        let pid = rustix::process::Pid::from_raw(file.pid)?;
        if rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return None;
        }
        let endpoint = self.reachable(&file.url).ok()?.with_public_url(file.public_url);
        (HttpClient::new(endpoint.clone()).probe(PROBE_TIMEOUT * 4).await == Probe::Tasktail).then_some(endpoint)
    }

    async fn server_file(&self) -> Option<ServerFile> {
        let text = tokio::fs::read(self.settings.data.join("server.json")).await.ok()?;
        serde_json::from_slice(&text).ok()
    }

    async fn start(&self, listen: &str) -> Result<Server, NotStarted> {
        // A port for others is the business of a server of its own.
        let options = ServeOptions { resp: None, ..self.settings.serve_options(listen) };
        let starting = Box::pin(Server::start(options));
        starting.await.map_err(|error| match error {
            ServeError::InUse { .. } => NotStarted::FolderTaken,
            ServeError::PortInUse { .. } => NotStarted::PortTaken,
            error => NotStarted::Failed(error),
        })
    }
}

/// Where a server with this `listen` setting is reached from this machine; none for port 0.
fn default_endpoint(scheme: &str, listen: &str) -> Option<Endpoint> {
    let reachable = match listen.parse::<SocketAddr>() {
        Ok(addr) if addr.port() == 0 => return None,
        Ok(addr) => match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => format!("127.0.0.1:{}", addr.port()),
            IpAddr::V6(ip) if ip.is_unspecified() => format!("[::1]:{}", addr.port()),
            _ => addr.to_string(),
        },
        Err(_) if listen.ends_with(":0") => return None,
        Err(_) => listen.to_owned(),
    };
    format!("{scheme}://{reachable}").parse().ok()
}

fn any_port(listen: &str) -> String {
    listen.rsplit_once(':').map_or_else(|| "127.0.0.1:0".to_owned(), |(host, _)| format!("{host}:0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_address_is_one_that_can_be_reached() {
        let shown = |listen| default_endpoint("http", listen).map(|endpoint| endpoint.to_string());
        assert_eq!(shown("127.0.0.1:7117").as_deref(), Some("http://127.0.0.1:7117"));
        assert_eq!(shown("0.0.0.0:80").as_deref(), Some("http://127.0.0.1:80"));
        assert_eq!(shown("[::]:80").as_deref(), Some("http://[::1]:80"));
        assert_eq!(shown("127.0.0.1:0"), None);
        assert_eq!(any_port("[::1]:80"), "[::1]:0");
    }
}
