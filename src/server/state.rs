//! The state shared by all routes and sockets, and the opening of the store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ulid::Ulid;

use super::browser_auth::BrowserAuth;
use super::home::SharedHome;
use super::http::analysis::cache::OutlineCache;
use super::http::analysis::counter::OutlineCounter;
use super::http::public_url::PublicUrl;
use super::metrics::Metrics;
use super::net::login_attempts::{AttemptOutcome, LoginAttempts};
use super::options::{ServeError, ServeOptions};
use super::stages::StageMeters;
use crate::auth::{AuthError, Authenticator, TokenDigest};
use crate::model::limits::{self, Limit, LimitCounters};
use crate::notices::NoticeEngine;
use crate::runs::Runs;
use crate::tasks::{ArchiveBacklog, Durability, OpenError, Tasks, TasksOpenError, TasksOptions};
use crate::transport::Acceptor;

/// State shared by all connections. It lives as long as the last of them.
#[derive(Debug)]
pub(crate) struct State {
    /// A random id of this start of the server.
    pub(crate) instance: String,
    /// The tasks and their logs.
    pub(crate) tasks: Tasks,
    /// The store that several servers share, if there is one.
    pub(crate) home: Option<SharedHome>,
    /// The runs and their events.
    pub(crate) runs: Runs,
    /// The options that the server was started with.
    pub(crate) options: ServeOptions,
    /// Counters of reached limits.
    pub(crate) limit_counters: Arc<LimitCounters>,
    /// The store's access tokens.
    pub(crate) auth: Arc<Authenticator>,
    /// The sessions of browsers, and the keys of share links.
    pub(crate) browser_auth: BrowserAuth,
    /// Failed authentication attempts, by address.
    pub(crate) login_attempts: LoginAttempts,
    /// Set if only this machine can reach the server. If so, the `Host` header must be a loopback name.
    pub(crate) loopback: bool,
    /// The protections that are missing because of `--insecure`, as one sentence each.
    pub(crate) insecure: Vec<String>,
    /// The certificate, if TLS is served.
    pub(crate) tls: Option<Arc<Acceptor>>,
    /// Counters of the server itself.
    pub(crate) metrics: Metrics,
    /// Permits for concurrent searches.
    pub(crate) searches: Arc<Semaphore>,
    /// The outlines of logs that were asked for last.
    pub(crate) outlines: OutlineCache,
    /// The rules that report events of tasks to other programs.
    pub(crate) notices: NoticeEngine,
    /// Counters of every stage.
    pub(crate) stages: StageMeters,
    /// Cancelled at shutdown: sockets close with 1001, streams end.
    pub(crate) shutdown: CancellationToken,
    /// Every connection and socket; empty when all of them have ended.
    pub(crate) tracker: TaskTracker,
}

/// A handle to the state.
pub(crate) type SharedState = Arc<State>;

impl State {
    /// Opens the store, the tokens and the credentials of browsers in the data folder.
    pub(crate) async fn open(
        options: ServeOptions,
        tls: Option<Arc<Acceptor>>,
        loopback: bool,
        insecure: Vec<String>,
    ) -> Result<SharedState, ServeError> {
        let home = match &options.home {
            Some(home) => Some(SharedHome::open(&options, home).await?),
            None => None,
        };
        // After the secrets of the other servers are in the data folder.
        let browser_auth = BrowserAuth::open(&options)?;
        let limit_counters = Arc::<LimitCounters>::default();
        let tasks = open_tasks(&options, home.as_ref(), &limit_counters).await?;
        let authenticator = Authenticator::open(&options.data)
            .map_err(|source| ServeError::DataFolder { data: options.data.clone(), source })?;
        let searches_max = usize::try_from(options.limits.searches_max).unwrap_or(Semaphore::MAX_PERMITS);
        let stages = StageMeters::default();
        let shutdown = CancellationToken::new();
        Ok(Arc::new(State {
            instance: Ulid::generate().to_string(),
            runs: Runs::new(&tasks, stages.runs.clone()),
            tasks,
            home,
            stages,
            limit_counters: limit_counters.clone(),
            options,
            browser_auth,
            auth: Arc::new(authenticator),
            login_attempts: LoginAttempts::default(),
            loopback,
            insecure,
            tls,
            metrics: Metrics::default(),
            searches: Arc::new(Semaphore::new(searches_max.min(Semaphore::MAX_PERMITS))),
            outlines: OutlineCache::default(),
            notices: NoticeEngine::new(limit_counters, shutdown.clone()),
            shutdown,
            tracker: TaskTracker::new(),
        }))
    }

    /// Returns the path prefix of the public address, without a trailing `/`; empty if there is none.
    pub(crate) fn prefix(&self) -> &str {
        self.options.public_url.as_ref().map_or("", PublicUrl::prefix)
    }

    /// Counts an invalid token against its address, and reports whether there were too many. Only the token's
    /// fingerprint is logged.
    pub(crate) fn record_login_failure(&self, address: IpAddr, denied: &AuthError, token: Option<&str>) -> bool {
        let fingerprint = token.map(|token| TokenDigest::of(token.as_bytes()).fingerprint());
        tracing::debug!(%address, fingerprint, reason = denied.reason(), "access token rejected: {denied}");
        match self.login_attempts.record_failure(address, self.options.limits.auth_failures_max) {
            AttemptOutcome::Allowed => false,
            AttemptOutcome::TooMany { first } => {
                self.limit_counters.count(Limit::auth_failures_max);
                if first {
                    tracing::warn!(%address, "many invalid access tokens from this address");
                }
                true
            }
        }
    }
}

/// Opens the store.
async fn open_tasks(
    options: &ServeOptions,
    home: Option<&SharedHome>,
    limit_counters: &Arc<LimitCounters>,
) -> Result<Tasks, ServeError> {
    let tasks_options = TasksOptions {
        backlog: ArchiveBacklog::default(),
        counter: Some(Arc::new(OutlineCounter::new(options.limits.analysis_time_max))),
        // A copy of what others keep need not survive.
        durability: if home.is_some() { Durability::Interval } else { options.durability },
        shared: home.map(|home| home.store.clone()),
        limits: options.limits.clone(),
        hits: limit_counters.clone(),
        events: true,
        reconnect_window: if options.embedded { Duration::ZERO } else { limits::RECONNECT_WINDOW },
    };
    let data = home.map_or(options.data.as_path(), SharedHome::folder).to_owned();
    let opened = Tasks::open(&data, tasks_options).await;
    opened.map_err(|error| match error {
        TasksOpenError::Store(OpenError::InUse { .. }) => ServeError::InUse { data },
        other => ServeError::Data { data, reason: other.to_string() },
    })
}
