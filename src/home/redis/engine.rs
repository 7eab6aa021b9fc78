//! The engine: a handle to the shared journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::batch::{SharedBatch, StoreReply};
use super::calls::{EndCall, EndReply};
use super::checks::{JournalDurability, check};
use super::connect::{NodeLogin, NodeSettings};
use super::counters::EngineCounts;
use super::error::EngineError;
use super::keys::{LogName, SERVERS_KEY};
use super::lane::{AppendLane, LaneMap, LaneRequest, LaneTask};
use super::limits::{LANE_CALLS_MAX, OPERATION_TIMEOUT, STREAM_LINES_MAX};
use super::node::LinkUse;
use super::router::Router;
use super::state::OWN_SESSION;
use super::url::JournalUrl;
use super::value::{into_text, into_values};
use crate::model::TaskId;

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Replicas that must confirm a write; `None`: one where the primary has a replica, else none.
    pub acks: Option<u32>,
    /// Certificates of the authority that signed the servers', in a PEM file; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Starts although the settings of Redis cannot be read or are not safe.
    pub trust: bool,
    /// Unique name of this server process.
    pub server: String,
    /// Lines of a stream above which appends are refused.
    pub stream_lines_max: u64,
    /// Time in which an operation is retried before it fails.
    pub operation_timeout: Duration,
}

impl EngineOptions {
    /// Returns the default settings of a server.
    pub fn new(server: &str) -> Self {
        Self {
            acks: None,
            ca_file: None,
            trust: false,
            server: server.to_owned(),
            stream_lines_max: STREAM_LINES_MAX,
            operation_timeout: OPERATION_TIMEOUT,
        }
    }
}

/// A handle to the shared journal, cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) inner: Arc<EngineInner>,
}

#[derive(Debug)]
pub(super) struct EngineInner {
    pub(super) router: Arc<Router>,
    pub(super) server: String,
    stream_lines_max: u64,
    durability: JournalDurability,
    /// The server's name and a random number.
    process: String,
    /// Last number used for a token.
    counter: AtomicU64,
    /// Session of lines without numbers.
    own_session: Arc<str>,
    lanes: Arc<LaneMap>,
}

impl Engine {
    /// Connects and checks that the servers can hold a journal.
    pub async fn connect(url: &JournalUrl, options: EngineOptions) -> Result<Self, EngineError> {
        let ca_pem = match &options.ca_file {
            None => None,
            Some(path) => Some(tokio::fs::read(path).await.map_err(|error| {
                EngineError::Config(format!("the journal's CA file {} cannot be read: {error}", path.display()))
            })?),
        };
        let JournalUrl { tls, username, password, database, .. } = url.clone();
        let login = password.map(|password| NodeLogin { username, password });
        let settings = NodeSettings { tls, login, database, ca_pem };
        let router = Arc::new(Router::new(url, settings, options.operation_timeout));
        let durability = check(&router, options.trust).await?;
        let acks = options.acks.unwrap_or_else(|| u32::from(durability.replicas > 0));
        router.acks.store(acks, Ordering::Relaxed);
        // A server that is started again under its name must not use numbers of the one before it.
        let process = format!("{}.{:x}", options.server, random()?);
        let inner = EngineInner {
            router,
            server: options.server,
            stream_lines_max: options.stream_lines_max,
            durability,
            counter: AtomicU64::new(0),
            own_session: format!("{OWN_SESSION}{process}").into(),
            process,
            lanes: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns what survives a failure according to the settings of Redis at the start.
    pub fn durability(&self) -> &JournalDurability {
        &self.inner.durability
    }

    /// Returns the counters of this engine.
    pub fn counts(&self) -> EngineCounts {
        self.inner.router.counters.snapshot()
    }

    /// Returns the name of this server.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    pub(super) fn router(&self) -> &Router {
        &self.inner.router
    }

    /// Appends lines to a task. Batches are stored in the order in which their futures are first polled.
    ///
    /// After an error it is not known whether the lines are stored. A batch with a session can be sent again: it is
    /// stored once. Later batches of the session are refused until then.
    pub async fn append(&self, id: &TaskId, birth: u64, batch: SharedBatch) -> Result<StoreReply, EngineError> {
        batch.check()?;
        let (reply, answer) = oneshot::channel();
        self.submit(id, birth, LaneRequest::Append(batch, reply)).await;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Ends a task after all earlier appends. The first end stays; `session` is the one whose numbers end below the
    /// given one.
    pub async fn end(
        &self,
        id: &TaskId,
        birth: u64,
        fields: &[(String, String)],
        session: Option<(String, u64)>,
    ) -> Result<EndReply, EngineError> {
        let end = EndCall { token: self.token(), session, fields: fields.to_vec() };
        let (reply, answer) = oneshot::channel();
        self.submit(id, birth, LaneRequest::End(end, reply)).await;
        let reply = answer.await.unwrap_or_else(|_| Err(closed()))?;
        if matches!(reply, EndReply::Ended { .. }) {
            self.announce(LogName::Task(id)).await?;
        }
        Ok(reply)
    }

    /// Returns the time of Redis, in milliseconds since 1970.
    pub async fn now_ms(&self) -> Result<u64, EngineError> {
        let answer = self.router().command(SERVERS_KEY, LinkUse::Scripts, redis::cmd("TIME")).await?;
        let mut parts =
            into_values(answer)?.into_iter().filter_map(into_text).filter_map(|part| part.parse::<u64>().ok());
        match (parts.next(), parts.next()) {
            (Some(seconds), Some(micros)) => Ok(seconds * 1_000 + micros / 1_000),
            _ => Err(EngineError::Protocol("a bad answer to TIME".to_owned())),
        }
    }

    /// Returns a text that no other call of any server uses.
    pub(super) fn token(&self) -> String {
        format!("{}:{}", self.inner.process, self.inner.counter.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn submit(&self, id: &TaskId, birth: u64, request: LaneRequest) {
        // A lane closes only without senders. If it failed, the request is dropped, which answers the caller.
        // Unconstrained: a caller that polls many of them must not have some put off, and so overtaken.
        drop(tokio::task::unconstrained(self.lane(id, birth).send(request)).await);
    }

    /// Returns the lane of a task, started if needed.
    fn lane(&self, id: &TaskId, birth: u64) -> mpsc::Sender<LaneRequest> {
        let inner = &self.inner;
        let mut lanes = inner.lanes.lock();
        let start = || {
            let (sender, requests) = mpsc::channel(LANE_CALLS_MAX);
            let task = LaneTask {
                id: id.clone(),
                birth,
                bound: inner.stream_lines_max,
                own_session: inner.own_session.clone(),
            };
            let lane = AppendLane::new(inner.router.clone(), task, requests);
            tokio::spawn(lane.run(Arc::downgrade(&inner.lanes)));
            sender
        };
        lanes.entry((id.clone(), birth)).or_insert_with(start).clone()
    }
}

fn closed() -> EngineError {
    EngineError::Protocol("the engine was shut down".to_owned())
}

/// Returns a random number.
pub(super) fn random() -> Result<u64, EngineError> {
    getrandom::u64().map_err(|error| EngineError::Config(format!("the system has no random numbers: {error}")))
}
