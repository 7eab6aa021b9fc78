//! Locates the server for a command: the configured one, the one on this machine, or an embedded one.
//!
//! ```text
//! --url | TASKTAIL_URL      always used if set
//! the default address       if a tasktail server responds there (skipped if a data folder is set:
//! |                         that server may use another one)
//! DATA/server.json          the server that currently holds the data folder
//! none of them              an embedded server over the data folder, until this process ends
//! ```
//! If two processes find no server at the same time, the lock of the data folder decides which one
//! starts it; the other one searches again. A server that holds the folder and does not answer, such as a
//! suspended one, is reported within [`HOLDER_TIMEOUT`].

mod local;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::output::Output;
use crate::client::{Endpoint, HttpClient};
use crate::config::{Settings, TokenSource};
use crate::model::limits;
use crate::server::{ServeError, ServeOptions, Server};
use crate::worker::Reconnect;

/// Maximum time for a server on this machine to respond.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time for a server that holds the data folder to answer.
const HOLDER_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time to wait for a process that opens or closes the data folder.
const FOLDER_TIMEOUT: Duration = limits::SHUTDOWN_TIMEOUT.saturating_add(Duration::from_secs(1));
/// Maximum time for a server given by its URL to answer, before that is reported.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Time that a server of another data folder has to restart, before a worker continues with an embedded one. Less than
/// the time for which a worker waits at its end.
const FOREIGN_RESTART: Duration = Duration::from_secs(20);
/// Number of attempts to find a server that is restarting.
const RESTART_TRIES: u32 = 20;

/// The purpose of an embedded server, which decides its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Serve a task to viewers, on the configured address.
    Task,
    /// Serve one command's requests, on any free port.
    Query,
}

/// A locator of the server, which owns the embedded one if it had to start it.
pub(super) struct Locator {
    settings: Settings,
    output: Output,
    purpose: Purpose,
    /// Set if a program at the default address accepts connections but does not respond.
    default_silent: AtomicBool,
    /// Set if the server at the default address was one of another data folder, such as that of a unit. This process
    /// must not use its address while it restarts.
    is_foreign: AtomicBool,
    /// Time of the first search without success for a foreign server.
    lost_at: parking_lot::Mutex<Option<Instant>>,
    /// Embedded server. Locked during a search, so that a second search waits for the first.
    own: Mutex<Option<Server>>,
}

/// A failed start of the embedded server.
enum StartFailure {
    /// Another process uses the address.
    PortTaken,
    /// Another process uses the data folder.
    FolderTaken,
    /// Another error.
    Failed(anyhow::Error),
}

impl Locator {
    pub(super) fn new(settings: Settings, output: Output, purpose: Purpose) -> Self {
        Self {
            settings,
            output,
            purpose,
            default_silent: AtomicBool::new(false),
            is_foreign: AtomicBool::new(false),
            lost_at: parking_lot::Mutex::new(None),
            own: Mutex::new(None),
        }
    }

    /// Returns the server's current address, starting an embedded server if there is none.
    ///
    /// # Errors
    /// There is no server and none can be started, or the server of the data folder does not answer.
    pub(super) async fn endpoint(&self) -> anyhow::Result<Endpoint> {
        if let Some(url) = &self.settings.url {
            return self.with_token(url.clone());
        }
        let mut own = self.own.lock().await;
        if let Some(server) = &*own {
            return self.own_endpoint(server);
        }
        let mut listen = match self.purpose {
            Purpose::Task if self.is_foreign.load(Ordering::Relaxed) => any_port(&self.settings.listen),
            Purpose::Task => self.settings.listen.clone(),
            Purpose::Query => "127.0.0.1:0".to_owned(),
        };
        let began = Instant::now();
        loop {
            self.check_not_stopped()?;
            if let Some(found) = self.find().await {
                return self.with_token(found);
            }
            match self.start(&listen).await {
                Ok(server) => {
                    let endpoint = self.own_endpoint(&server)?;
                    *own = Some(server);
                    return Ok(endpoint);
                }
                Err(StartFailure::Failed(error)) => return Err(error),
                Err(StartFailure::FolderTaken) => {
                    self.check_holder(began.elapsed())?;
                    sleep(RETRY_DELAY).await;
                }
                Err(StartFailure::PortTaken) => {
                    // A tasktail server that has just started is found in the next attempt.
                    let is_other = self.settings.data_named || self.default_silent.load(Ordering::Relaxed);
                    if is_other || self.at_default_address().await.is_none() {
                        self.output.note(format_args!("{listen} is in use by another program: using another port"));
                        listen = any_port(&listen);
                    }
                }
            }
        }
    }

    /// Returns the address that the server probably has, before it has answered.
    pub(super) fn expected_endpoint(&self) -> Option<Endpoint> {
        let in_folder = || self.reachable(&self.server_file()?.url).ok();
        self.with_token(self.settings.url.clone().or_else(in_folder)?).ok()
    }

    /// Returns the address after the server was lost. Waits first, because a server that restarts
    /// needs its data folder.
    ///
    /// # Errors
    /// As [`Locator::endpoint`].
    pub(super) async fn endpoint_after_loss(&self) -> anyhow::Result<Endpoint> {
        if self.settings.url.is_none() && !self.is_own().await {
            for _ in 0..RESTART_TRIES {
                if let Some(found) = self.find().await {
                    return self.with_token(found);
                }
                sleep(RETRY_DELAY).await;
            }
        }
        self.endpoint().await
    }

    /// Returns the address for a worker whose server was lost. A server of another data folder gets time to restart, such
    /// as the unit of a package that is upgraded; the worker keeps its lines meanwhile.
    ///
    /// # Errors
    /// As [`Locator::endpoint`], and while a server of another data folder is away.
    async fn endpoint_of_worker(&self) -> anyhow::Result<Endpoint> {
        if self.settings.url.is_none() && self.is_foreign.load(Ordering::Relaxed) && !self.is_own().await {
            if let Some(found) = self.find().await {
                *self.lost_at.lock() = None;
                return self.with_token(found);
            }
            let lost_at = *self.lost_at.lock().get_or_insert_with(Instant::now);
            anyhow::ensure!(lost_at.elapsed() >= FOREIGN_RESTART, "the server at {} is away", self.settings.listen);
        }
        self.endpoint().await
    }

    /// Returns the address of a responding server. Never starts one, so that a server that returns
    /// after a long outage finds its data folder free.
    pub(super) async fn find_running(&self) -> Option<Endpoint> {
        if self.settings.url.is_some() || self.is_own().await {
            return self.endpoint().await.ok();
        }
        self.find().await.and_then(|found| self.with_token(found).ok())
    }

    /// Returns the endpoint with the configured access token, if there is one.
    fn with_token(&self, endpoint: Endpoint) -> anyhow::Result<Endpoint> {
        let token = self.settings.token.as_ref().map(TokenSource::read).transpose()?;
        Ok(endpoint.with_token(token))
    }

    /// Returns a client of the located server.
    ///
    /// # Errors
    /// As [`Locator::endpoint`].
    pub(super) async fn client(&self) -> anyhow::Result<HttpClient> {
        let endpoint = self.endpoint().await?;
        if self.settings.url.is_some() {
            self.check_answers(&endpoint).await?;
        }
        Ok(HttpClient::new(endpoint))
    }

    /// Reports whether the server is embedded in this process.
    pub(super) async fn is_own(&self) -> bool {
        self.own.lock().await.is_some()
    }

    /// Shuts down the embedded server, if there is one, within a bounded time.
    pub(super) async fn close(&self) {
        let Some(server) = self.own.lock().await.take() else { return };
        match timeout(limits::SHUTDOWN_TIMEOUT + Duration::from_secs(1), server.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.output.note(format_args!("server shutdown failed: {error}")),
            Err(_) => self.output.note("server shutdown timed out"),
        }
    }

    /// Returns the address of the embedded server, with its owner token: this process may open the data folder, so
    /// it has full access. With TLS, the server's own certificate is trusted.
    fn own_endpoint(&self, server: &Server) -> anyhow::Result<Endpoint> {
        let public_url = self.settings.public_url.as_ref().map(ToString::to_string);
        let endpoint = self.reachable(&server.url()).context("the server's own address")?.with_public_url(public_url);
        Ok(endpoint.with_token(server.owner_token().reveal().parse().ok()).in_process())
    }

    async fn start(&self, listen: &str) -> Result<Server, StartFailure> {
        // An embedded server never opens a Redis port.
        let data = self.settings.data().map_err(|error| StartFailure::Failed(error.into()))?;
        let options = ServeOptions { resp: None, embedded: true, ..self.settings.serve_options(data, listen) };
        let starting = Box::pin(Server::start(options));
        starting.await.map_err(|error| match error {
            ServeError::InUse { .. } => StartFailure::FolderTaken,
            ServeError::PortInUse { .. } => StartFailure::PortTaken,
            error => StartFailure::Failed(error.into()),
        })
    }
}

/// Returns a function for workers that locates the server again, and starts one if the previous
/// server's process has ended.
pub(super) fn reconnect(locator: &Arc<Locator>) -> Reconnect {
    let locator = Arc::clone(locator);
    Arc::new(move || {
        let locator = Arc::clone(&locator);
        Box::pin(async move {
            match locator.endpoint_of_worker().await {
                Ok(endpoint) => Some(endpoint),
                Err(error) => {
                    tracing::debug!("no server: {error:#}");
                    None
                }
            }
        })
    })
}

/// Returns the address, from this machine, of a server with this `listen` setting; `None` for port 0.
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
    fn default_endpoint_is_reachable() {
        let shown = |listen| default_endpoint("http", listen).map(|endpoint| endpoint.to_string());
        assert_eq!(shown("127.0.0.1:7117").as_deref(), Some("http://127.0.0.1:7117"));
        assert_eq!(shown("0.0.0.0:80").as_deref(), Some("http://127.0.0.1:80"));
        assert_eq!(shown("[::]:80").as_deref(), Some("http://[::1]:80"));
        assert_eq!(shown("127.0.0.1:0"), None);
        assert_eq!(any_port("[::1]:80"), "[::1]:0");
    }
}
