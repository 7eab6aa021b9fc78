//! The server: warp filters behind an accept loop of its own, over [`crate::tasks`].
//!
//! ```text
//! accept ── handshake (TLS) ── guard (own host? own origin?) ── access (whose token? may it?)
//!                                                    │
//!                                            routes ─┬─ api, append, lines, log   HTTP
//!                                                    ├─ sse                       one task, live
//!                                                    ├─ live, follow              viewers' WebSockets
//!                                                    ├─ ingest                    workers' WebSocket
//!                                                    ├─ metrics                   counters, health
//!                                                    └─ pages                     HTML and assets
//!                                                    ├─ browser                   sign-in, share links
//!                                                    ├─ runs                      events of runs: in, pages, SSE
//!                                                    ├─ pipeline                  what every hop has seen
//! redis (`--resp`)                                                                 Redis clients
//! ```
//! `socket` and `oversize` are what all WebSockets stand on; `reject` maps errors to answers.
//! Nothing in here keeps lines: a viewer's position is in its follower, the truth in the journal.

mod http;
mod metrics;
mod net;
mod redis;
mod server_file;
mod stages;
mod state;
mod web;
mod ws;

#[doc(hidden)]
pub mod fuzzing;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Authenticator, Secret};
use crate::model::limits::{self, LimitCounters, Limits};
use crate::runs::{RunIsolation, Runs};
use crate::tasks::{Durability, create_folder};
use crate::transport::{Acceptor, CertificateFiles, TlsError};
use http::accept;
use http::browser::Browsers;
use metrics::Metrics;
use net::bind::{self, BoundListeners};
use net::login_attempts::LoginAttempts;
use net::{tcp, tls};
use stages::Hops;
use state::{SharedState, State};

pub use http::auth::{Need, ROUTES, Route};
pub use http::browser::Origins;
pub use http::client_addr::TrustedProxies;
pub use http::public_url::PublicUrl;
pub use net::tcp::raise_file_limit;

/// How a server is to be run.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address and port; port 0 picks one.
    pub listen: String,
    /// The data folder; made if it is not there.
    pub data: PathBuf,
    /// When a line counts as stored.
    pub durability: Durability,
    /// The limits in force.
    pub limits: Limits,
    /// The certificate for both ports; none: they speak without TLS.
    pub tls: Option<CertificateFiles>,
    /// It is served even where others reach it without tokens or without TLS.
    pub insecure: bool,
    /// The address under which people reach it, if that is another than where it listens.
    pub public_url: Option<PublicUrl>,
    /// Reverse proxies whose word about a request's client is taken.
    pub trusted_proxy: TrustedProxies,
    /// The address and port for Redis clients; none: no such port.
    pub resp: Option<String>,
    /// A folder of `RUN/events.jsonl` whose events belong to their runs; it may not be there yet.
    pub runs: Option<PathBuf>,
    /// Pages of other sites that may read.
    pub allowed_origins: Origins,
    /// The key of another system whose JWTs share tasks: see [`crate::auth::jwt`].
    pub share_jwt_key_file: Option<PathBuf>,
    /// The audience that these JWTs must name; none: they must name none.
    pub share_jwt_audience: Option<String>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: limits::LISTEN_DEFAULT.to_owned(),
            data: PathBuf::from("tasktail"),
            durability: Durability::Commit,
            limits: Limits::default(),
            tls: None,
            insecure: false,
            public_url: None,
            trusted_proxy: TrustedProxies::default(),
            resp: None,
            runs: None,
            allowed_origins: Origins::default(),
            share_jwt_key_file: None,
            share_jwt_audience: None,
        }
    }
}

/// Why a server did not start, or did not end well: one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens there.
    #[error("cannot listen on {listen}: the port is in use; choose another with {flag}, or stop the other process")]
    PortInUse {
        /// The address asked for.
        listen: String,
        /// The flag it was asked for with.
        flag: &'static str,
    },
    /// The address is wrong, or not of this machine, or not allowed.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address asked for.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others would reach it, and nothing keeps them out or from listening in.
    #[error("refusing to {what}: {remedy}; --insecure serves it all the same")]
    OpenAddress {
        /// What was asked for, and what it lacks.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data folder cannot be written.
    #[error("cannot write to the data folder {}: {source}", data.display())]
    DataFolder {
        /// The folder.
        data: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key for other systems' JWTs is none.
    #[error("the key for JWTs, {}, cannot be used: {source}", path.display())]
    JwtKey {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        source: io::Error,
    },
    /// Another process has the data folder open.
    #[error("the data folder {} is in use by another process: stop that one, or name another folder with --data", data.display())]
    InUse {
        /// The folder.
        data: PathBuf,
    },
    /// The store in the data folder does not open.
    #[error("cannot open the data folder {}: {reason}", data.display())]
    Data {
        /// The folder.
        data: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// Something hung at the end; the store was closed all the same.
    #[error("the server did not end within {}s: {connections} connections were cut", limits::SHUTDOWN_TIMEOUT.as_secs())]
    Hung {
        /// How many connections were still there.
        connections: usize,
    },
}

/// A server that runs until [`Server::shutdown`] is called; dropping it stops accepting, no more.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    redis_addr: Option<SocketAddr>,
    state: SharedState,
}

impl Server {
    /// Binds, opens the store and serves in the background.
    pub async fn start(mut options: ServeOptions) -> Result<Server, ServeError> {
        let acceptor = options.tls.clone().map(Acceptor::load).transpose()?.map(Arc::new);
        if let Some(acceptor) = &acceptor {
            tls::log_warnings(acceptor);
        }
        // Bound before the store is opened: a wrong address should cost nothing.
        let BoundListeners { http: (listener, addr), redis: resp, insecure } = bind::open(&options).await?;
        let redis_addr = resp.as_ref().map(|(_, addr)| *addr);
        tcp::lower_limits(&mut options.limits, options.resp.is_some());
        if options.limits.heartbeat > limits::HEARTBEAT {
            tracing::warn!(
                "a heartbeat is {:?} at most: viewers give up a server that is silent for longer",
                limits::HEARTBEAT
            );
            options.limits.heartbeat = limits::HEARTBEAT;
        }
        prepare(&options.data).await?;
        let browsers = Browsers::open(&options)?;
        let hits = Arc::<LimitCounters>::default();
        let searches = usize::try_from(options.limits.searches_max).unwrap_or(Semaphore::MAX_PERMITS);
        let searches = Arc::new(Semaphore::new(searches.min(Semaphore::MAX_PERMITS)));
        let tasks = state::open_tasks(&options, &hits).await?;
        let data_error = |source| ServeError::DataFolder { data: options.data.clone(), source };
        if let Some(acceptor) = &acceptor {
            server_file::certificate(&options.data, acceptor).await.map_err(data_error)?;
        }
        let urls = (http_url(addr, acceptor.is_some()), redis_addr.map(|addr| redis_url(addr, acceptor.is_some())));
        server_file::server(&options.data, &urls.0, urls.1.as_deref(), options.public_url.as_ref())
            .await
            .map_err(data_error)?;
        let auth = Arc::new(Authenticator::open(&options.data).map_err(data_error)?);
        let hops = Hops::default();
        let state = Arc::new(State {
            runs: Runs::new(&tasks, hops.runs.clone()),
            tasks,
            hops,
            hits,
            options,
            browsers,
            auth,
            login_attempts: LoginAttempts::default(),
            loopback: bind::is_loopback(addr),
            insecure,
            tls: acceptor,
            metrics: Metrics::default(),
            searches,
            shutdown: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        state.tracker.spawn(state.auth.clone().follow(state.shutdown.clone()));
        let keeping = state.clone();
        state.tracker.spawn(async move { keeping.browsers.keep(&keeping.auth, &keeping.shutdown).await });
        state.tracker.spawn(accept::serve(listener, state.clone()));
        state.tracker.spawn(tls::reload_certificates(state.clone()));
        state.tracker.spawn(bind::warn_hourly(state.clone()));
        let bridging = state.clone();
        state.tracker.spawn(async move {
            let State { runs, tasks, auth, shutdown, tracker, .. } = &*bridging;
            let auth = auth.clone();
            let kept_apart: RunIsolation = Arc::new(move || auth.bounds_runs());
            runs.bridge(tasks.clone(), kept_apart, shutdown.clone(), tracker.clone()).await;
        });
        if let Some(folder) = state.options.runs.clone() {
            let bridging = state.clone();
            state.tracker.spawn(async move {
                let State { runs, shutdown, tracker, .. } = &*bridging;
                runs.bridge_folder(folder, shutdown.clone(), tracker.clone()).await;
            });
        }
        let keeping = state.clone();
        state.tracker.spawn(async move {
            tokio::select! {
                () = keeping.shutdown.cancelled() => {}
                () = keeping.runs.run_maintenance() => {}
            }
        });
        if let Some((listener, addr)) = resp {
            redis::start(listener, addr, state.clone());
        }
        Ok(Server { addr, redis_addr, state })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://ADDRESS:PORT`, or `https://`.
    pub fn url(&self) -> String {
        http_url(self.addr, self.state.tls.is_some())
    }

    /// `redis://ADDRESS:PORT`, or `rediss://`, if it serves Redis clients.
    pub fn redis_url(&self) -> Option<String> {
        self.redis_addr.map(|addr| redis_url(addr, self.state.tls.is_some()))
    }

    /// The token that this process itself comes in with, in a store that asks for one: whoever could
    /// open the data folder may do everything with it. It is kept in memory alone.
    pub fn owner_token(&self) -> &Secret {
        self.state.auth.owner()
    }

    /// Ends it within [`limits::SHUTDOWN_TIMEOUT`]: no connection is accepted, WebSockets are closed with 1001,
    /// streams end, requests finish, and last the store is made durable and closed.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.state.shutdown.cancel();
        self.state.tracker.close();
        let finished = timeout(limits::SHUTDOWN_TIMEOUT, self.state.tracker.wait()).await;
        let connections = self.state.tracker.len();
        // While the folder is still ours: whoever opens it next writes files of its own.
        server_file::withdraw(&self.state.options.data).await;
        self.state.tasks.close().await;
        finished.map_err(|_| ServeError::Hung { connections })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.shutdown.cancel();
    }
}

/// Makes the data folder and proves that it can be written.
async fn prepare(data: &Path) -> Result<(), ServeError> {
    let probe = data.join(format!(".writable.{}", std::process::id()));
    let proof = async {
        let folder = data.to_owned();
        // Durable as a name: a power cut must not take the folder with all that is in it.
        tokio::task::spawn_blocking(move || create_folder(&folder)).await.map_err(io::Error::other)??;
        tokio::fs::write(&probe, b"").await?;
        tokio::fs::remove_file(&probe).await
    };
    proof.await.map_err(|source| ServeError::DataFolder { data: data.to_owned(), source })
}

fn http_url(addr: SocketAddr, tls: bool) -> String {
    format!("{}://{addr}", if tls { "https" } else { "http" })
}

fn redis_url(addr: SocketAddr, tls: bool) -> String {
    format!("{}://{addr}", if tls { "rediss" } else { "redis" })
}
