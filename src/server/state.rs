//! What every route and socket shares, and the opening of the store.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::Metrics;
use super::net::login_attempts::LoginAttempts;
use super::stages::Hops;
use super::{ServeError, ServeOptions};
use crate::auth::Authenticator;
use crate::model::limits::{Limit, LimitCounters};
use crate::runs::Runs;
use crate::server::http::browser::Browsers;
use crate::server::http::origin::Site;
use crate::server::ws::socket::SendError;
use crate::tasks::{OpenError, Tasks, TasksOpenError, TasksOptions};
use crate::transport::Acceptor;

/// Shared by all connections; lives as long as the last of them.
#[derive(Debug)]
pub(in crate::server) struct State {
    /// The tasks and their logs.
    pub(in crate::server) tasks: Tasks,
    /// The runs and their events.
    pub(in crate::server) runs: Runs,
    /// What the server was started with.
    pub(in crate::server) options: ServeOptions,
    /// How often each limit was reached.
    pub(in crate::server) hits: Arc<LimitCounters>,
    /// The store's access tokens.
    pub(in crate::server) auth: Arc<Authenticator>,
    /// Who is signed in, and the keys of share links.
    pub(in crate::server) browsers: Browsers,
    /// Wrong tokens, by address.
    pub(in crate::server) login_attempts: LoginAttempts,
    /// Whether only this machine can reach the server: then the Host header must say so too.
    pub(in crate::server) loopback: bool,
    /// What is served without a guard because of `--insecure`: a sentence each.
    pub(in crate::server) insecure: Vec<String>,
    /// The certificate, where TLS is spoken.
    pub(in crate::server) tls: Option<Arc<Acceptor>>,
    /// Counters of the server itself.
    pub(in crate::server) metrics: Metrics,
    /// Searches that may run at the same time.
    pub(in crate::server) searches: Arc<Semaphore>,
    /// Counters of every hop.
    pub(in crate::server) hops: Hops,
    /// Cancelled when the server is to end: sockets close with 1001, streams end.
    pub(in crate::server) shutdown: CancellationToken,
    /// Every connection and every socket; empty when all are gone.
    pub(in crate::server) tracker: TaskTracker,
}

impl State {
    /// A WebSocket's peer is gone; one that was given up is counted.
    pub(in crate::server) fn went(&self, gone: &SendError, who: &str) {
        if matches!(gone, SendError::Stuck(_)) {
            self.metrics.peers_dropped.inc();
            self.hits.count(Limit::send_timeout);
        }
        tracing::debug!(%gone, "{who} went");
    }

    /// What the server is called, and whom it serves.
    pub(in crate::server) fn site(&self) -> Site<'_> {
        Site {
            loopback: self.loopback,
            asks: self.auth.auth_required(),
            public_url: self.options.public_url.as_ref(),
            origins: &self.options.allowed_origins,
        }
    }
}

/// A handle on the state.
pub(in crate::server) type SharedState = Arc<State>;

/// Opens the store: the one place that knows how.
pub(in crate::server) async fn open_tasks(
    options: &ServeOptions,
    hits: &Arc<LimitCounters>,
) -> Result<Tasks, ServeError> {
    let tasks_options = TasksOptions {
        durability: options.durability,
        limits: options.limits.clone(),
        hits: hits.clone(),
        events: true,
    };
    let opened = Tasks::open(&options.data, tasks_options).await;
    let data = options.data.clone();
    opened.map_err(|error| match error {
        TasksOpenError::Store(OpenError::InUse { .. }) => ServeError::InUse { data },
        other => ServeError::Data { data, reason: other.to_string() },
    })
}
