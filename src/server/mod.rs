//! The server: warp filters under its own accept loop, over [`crate::tasks`] and [`crate::runs`].
//!
//! ```text
//! net    listeners, TLS, connection limits      bind  tcp  tls  connection_limit  rate_limit  login_attempts
//!   │
//!   ├── http   requests and their answers       accept ─ origin ─ auth ─ routes ─ one handler
//!   │     ├── ws     viewers, workers           socket  frames  viewer  multi_viewer  worker
//!   │     └── web    pages and their assets     pages  assets/
//!   └── redis  the `--resp` port, for Redis clients
//! ```
//! - `state`: everything that connections share. It depends on no handler: `metrics`, `stages` and
//!   `browser_auth` hold its parts. `process`: metrics of this process.
//! - These refer to each other: a request becomes a socket or a page, which report errors as `http` does, and `state`
//!   holds types of `net` and `options`.
//! - `home`: the store that several servers share.
//! - `options`: the options of a server, and the errors of starting it.
//! - `server_file`: files that let local commands find the server. `reload`: settings that change while it runs.
//!
//! No part of the server stores lines: a viewer's position is in its follower, the lines are in the journal.

mod browser_auth;
mod home;
mod http;
mod metrics;
mod net;
mod options;
mod process;
mod redis;
mod reload;
mod server_file;
mod stages;
mod state;
mod web;
mod ws;

#[doc(hidden)]
pub mod fuzzing;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::time::timeout;

use crate::auth::Secret;
use crate::model::limits::{self, Limits};
use crate::runs::RunIsolation;
use crate::tasks::{create_folder, make_data_private, write_private};
use crate::transport::Acceptor;
use net::bind::{self, BoundListeners};
use net::{tcp, tls};
use state::{SharedState, State};

pub use http::auth::RequiredAccess;
pub use http::client_addr::TrustedProxies;
pub use http::cors::Origins;
pub use http::public_url::PublicUrl;
pub use http::routes::{ROUTES, Route};
pub use net::tcp::raise_file_limit;
pub use options::{ServeError, ServeOptions};
pub use reload::ReloadReport;
pub use server_file::{ServerFile, ServerProcess};

/// A running server. It runs until [`Server::shutdown`]; dropping it only stops accepting.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    redis_addr: Option<SocketAddr>,
    /// The options as they were set, to find the changed ones in a reload.
    configured: Box<ServeOptions>,
    state: SharedState,
}

impl Server {
    /// Binds the ports, opens the store and serves in the background.
    pub async fn start(mut options: ServeOptions) -> Result<Server, ServeError> {
        let configured = Box::new(options.clone());
        let acceptor = options.tls.clone().map(Acceptor::load).transpose()?.map(Arc::new);
        if let Some(acceptor) = &acceptor {
            tls::log_warnings(acceptor);
        }
        // The ports are bound before the store is opened: a wrong address should fail fast.
        let BoundListeners { http: (listener, addr), redis, insecure } = bind::open(&options).await?;
        tcp::lower_limits(&mut options.limits, options.resp.is_some());
        cap_heartbeat(&mut options.limits);
        prepare_data_folder(&options.data).await?;
        let state = State::open(options, acceptor, bind::is_loopback(addr), insecure).await?;
        let copied = state.runs.copy_shared(state.shutdown.clone(), state.tracker.clone()).await;
        copied.map_err(|error| ServeError::Home { reason: error.to_string() })?;
        let server = Server { addr, redis_addr: redis.as_ref().map(|(_, addr)| *addr), configured, state };
        server.write_files().await?;
        server.spawn_maintenance();
        server.spawn_run_bridges();
        server.spawn_notices();
        server.state.tracker.spawn(http::accept::serve(listener, server.state.clone()));
        if let Some((listener, addr)) = redis {
            redis::start(listener, addr, server.state.clone()).map_err(|source| ServeError::RedisThread { source })?;
        }
        Ok(server)
    }

    /// Returns the HTTP address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns `http://ADDRESS:PORT`, or `https://`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.state.tls.is_some() { "https" } else { "http" }, self.addr)
    }

    /// Returns `redis://ADDRESS:PORT`, or `rediss://`, if there is a Redis port.
    pub fn redis_url(&self) -> Option<String> {
        let scheme = if self.state.tls.is_some() { "rediss" } else { "redis" };
        self.redis_addr.map(|addr| format!("{scheme}://{addr}"))
    }

    /// Returns the token that this process uses itself, if the store requires tokens. It permits everything,
    /// like access to the data folder does, and exists only in memory.
    pub fn owner_token(&self) -> &Secret {
        self.state.auth.owner()
    }

    /// Shuts down within [`limits::SHUTDOWN_TIMEOUT`]: stops accepting, closes WebSockets with 1001, ends
    /// streams, lets requests finish, then syncs and closes the store.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.state.shutdown.cancel();
        self.state.tracker.close();
        let finished = timeout(limits::SHUTDOWN_TIMEOUT, self.state.tracker.wait()).await;
        let connections = self.state.tracker.len();
        // Before the store is closed: the next process to open the folder writes its own files.
        server_file::remove_all(&self.state.options.data).await;
        if let Err(error) = self.state.runs.store_summaries().await {
            tracing::warn!(%error, "failed to store the summaries of runs; the next start reads their events");
        }
        self.state.tasks.close().await;
        finished.map_err(|_| ServeError::ShutdownTimeout { connections })
    }

    /// Writes the files that let local commands find this server.
    async fn write_files(&self) -> Result<(), ServeError> {
        let data = &self.state.options.data;
        let write = async {
            if let Some(acceptor) = &self.state.tls {
                server_file::write_certificate(data, acceptor).await?;
            }
            let file = ServerFile {
                url: self.url(),
                pid: i32::try_from(std::process::id()).unwrap_or_default(),
                redis: self.redis_url(),
                public_url: self.state.options.public_url.as_ref().map(ToString::to_string),
                instance: self.state.instance.clone(),
                place: Default::default(),
            };
            file.write(data)
        };
        write.await.map_err(|source| ServeError::DataFolder { data: data.clone(), source })
    }

    /// Spawns the tasks that keep tokens, sessions, certificates and runs current.
    fn spawn_maintenance(&self) {
        let tracker = &self.state.tracker;
        tracker.spawn(self.state.auth.clone().follow(self.state.shutdown.clone()));
        let state = self.state.clone();
        tracker.spawn(async move { state.browser_auth.maintain(&state.auth, &state.shutdown).await });
        let state = self.state.clone();
        tracker.spawn(async move {
            if let Some(home) = &state.home {
                home.share_secrets(&state.browser_auth.sessions, &state.shutdown).await;
            }
        });
        tracker.spawn(tls::reload_certificates(self.state.clone()));
        tracker.spawn(bind::warn_hourly(self.state.clone()));
        let state = self.state.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = state.shutdown.cancelled() => {}
                () = state.runs.run_maintenance() => {}
            }
        });
    }

    /// Spawns what applies the rules of notices.
    fn spawn_notices(&self) {
        let state = self.state.clone();
        let public_url = state.options.public_url.as_ref().map(ToString::to_string);
        let base = public_url.unwrap_or_else(|| self.url());
        state.notices.set_rules(&state.options.notices, &state.options.limits, &state.tracker);
        self.state.tracker.spawn(async move { state.notices.run(state.tasks.clone(), base).await });
    }

    /// Spawns the tasks that copy events into runs, from tasks' logs and from the folder of runs.
    fn spawn_run_bridges(&self) {
        let state = self.state.clone();
        self.state.tracker.spawn(async move {
            let auth = state.auth.clone();
            let isolated: RunIsolation = Arc::new(move || auth.bounds_runs());
            state.runs.bridge(state.tasks.clone(), isolated, state.shutdown.clone(), state.tracker.clone()).await;
        });
        if let Some(folder) = self.state.options.runs.clone() {
            let state = self.state.clone();
            self.state.tracker.spawn(async move {
                state.runs.bridge_folder(folder, state.shutdown.clone(), state.tracker.clone()).await;
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.shutdown.cancel();
    }
}

fn cap_heartbeat(limits: &mut Limits) {
    if limits.heartbeat > limits::HEARTBEAT {
        tracing::warn!(
            "heartbeat reduced to its maximum, {:?}: viewers drop a server that is silent for longer",
            limits::HEARTBEAT
        );
        limits.heartbeat = limits::HEARTBEAT;
    }
}

/// Creates the data folder and checks that it is writable. Withdraws access for others, since it contains logs.
async fn prepare_data_folder(data: &Path) -> Result<(), ServeError> {
    let probe = data.join(format!(".writable.{}", std::process::id()));
    let check = async {
        let folder = data.to_owned();
        // The folder's name must be durable too, or a power failure could lose the folder with its contents.
        tokio::task::spawn_blocking(move || create_folder(&folder)).await.map_err(io::Error::other)??;
        let folder = data.to_owned();
        tokio::task::spawn_blocking(move || make_data_private(&folder)).await.map_err(io::Error::other)?;
        write_private(&probe, b"")?;
        tokio::fs::remove_file(&probe).await
    };
    check.await.map_err(|source| ServeError::DataFolder { data: data.to_owned(), source })
}
