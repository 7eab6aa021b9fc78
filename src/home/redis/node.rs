//! Connections to one Redis server: one for scripts, and one for reads that reports changes of what was read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, RedisError, ServerError, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::connect::{NodeSettings, connect};
use super::counters::EngineCounters;
use super::error::EngineError;
use super::limits::{ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use super::signals::ChangeSignals;
use super::state::hex;
use super::url::NodeAddress;
use super::value::{into_bytes, into_text, into_values};

/// One Redis server.
#[derive(Debug)]
pub(super) struct RedisNode {
    pub(super) address: NodeAddress,
    counters: Arc<EngineCounters>,
    settings: Arc<NodeSettings>,
    signals: Arc<ChangeSignals>,
    /// Held while connecting: callers share one attempt.
    scripts: Mutex<LinkSlot>,
    /// Likewise.
    reads: Mutex<LinkSlot>,
}

/// A connection, or the error of the last attempt to establish it.
#[derive(Debug, Default)]
struct LinkSlot {
    link: Option<Link>,
    failed: Option<(Instant, RequestError)>,
}

/// The use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkUse {
    Scripts,
    /// Reads of keys whose changes are to be reported.
    Reads,
}

/// An established connection to a primary.
#[derive(Clone, Debug)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    counters: Arc<EngineCounters>,
    is_broken: Arc<AtomicBool>,
    /// Start of the primary's replication id, as the scripts compare it.
    pub(super) epoch: Arc<str>,
    /// Whether changes are reported.
    pub(super) is_tracking: bool,
}

/// The reason why one attempt failed.
#[derive(Clone, Debug)]
pub(super) enum RequestError {
    /// The same request may succeed later or on a new connection.
    Retry(String),
    /// The server does not know the script: its text must be sent.
    NoScript,
    /// Another server holds the slot.
    Moved(NodeAddress),
    /// Another server holds the key for this request.
    Ask(NodeAddress),
    /// No attempt can succeed.
    Fatal(EngineError),
}

impl RequestError {
    /// Classifies an error that a server sent.
    pub(super) fn of_server(error: &ServerError, node: &NodeAddress) -> Self {
        let details = error.details().unwrap_or_default();
        let target = || {
            let (host, port) = details.split(' ').nth(1)?.rsplit_once(':')?;
            // An empty host is that of the server which sent the redirection.
            let host = if host.is_empty() { &node.host } else { host };
            Some(NodeAddress { host: host.to_owned(), port: port.parse().ok()? })
        };
        let text = || format!("{} {details}", error.code());
        match error.code() {
            "NOSCRIPT" => RequestError::NoScript,
            "MOVED" => target().map_or_else(|| RequestError::Retry(text()), RequestError::Moved),
            "ASK" => target().map_or_else(|| RequestError::Retry(text()), RequestError::Ask),
            "LOADING" | "CLUSTERDOWN" | "TRYAGAIN" | "READONLY" | "MASTERDOWN" | "BUSY" | "UNBLOCKED" => {
                RequestError::Retry(text())
            }
            "OOM" | "NOREPLICAS" | "MISCONF" => RequestError::Fatal(EngineError::Refused(text())),
            _ if is_forbidden(error) => RequestError::Fatal(EngineError::Config(format!(
                "the journal's Redis refused the user or a command: {}",
                text()
            ))),
            _ => RequestError::Fatal(EngineError::Protocol(text())),
        }
    }

    pub(super) fn of_client(error: &RedisError) -> Self {
        match error.kind() {
            redis::ErrorKind::AuthenticationFailed => {
                RequestError::Fatal(EngineError::Config(format!("the journal's Redis refused the login: {error}")))
            }
            redis::ErrorKind::InvalidClientConfig => RequestError::Fatal(EngineError::Config(error.to_string())),
            _ => RequestError::Retry(error.to_string()),
        }
    }
}

impl Link {
    /// Sends commands together. Returns an answer for each, which may be an error of the server.
    pub(super) async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, RequestError> {
        EngineCounters::count(&self.counters.requests);
        let mut connection = self.connection.clone();
        let answer = timeout(ANSWER_TIMEOUT, connection.send_packed_commands(pipeline, 0, pipeline.len())).await;
        match answer {
            Ok(Ok(values)) => Ok(values),
            Ok(Err(error)) => {
                // Answers after it would be those of other requests.
                self.discard();
                Err(RequestError::of_client(&error))
            }
            Err(_) => {
                self.discard();
                Err(RequestError::Retry(format!("no answer within {ANSWER_TIMEOUT:?}")))
            }
        }
    }

    /// Makes the next request use a new connection.
    pub(super) fn discard(&self) {
        self.is_broken.store(true, Ordering::Release);
    }
}

impl RedisNode {
    pub(super) fn new(
        address: NodeAddress,
        settings: Arc<NodeSettings>,
        signals: Arc<ChangeSignals>,
        counters: Arc<EngineCounters>,
    ) -> Self {
        Self { address, counters, settings, signals, scripts: Mutex::default(), reads: Mutex::default() }
    }

    /// Returns the connection for a use, established if needed.
    pub(super) async fn link(&self, purpose: LinkUse) -> Result<Link, RequestError> {
        let asked_at = Instant::now();
        let mut slot = match purpose {
            LinkUse::Scripts => self.scripts.lock().await,
            LinkUse::Reads => self.reads.lock().await,
        };
        if let Some(link) = slot.link.as_ref().filter(|link| !link.is_broken.load(Ordering::Acquire)) {
            return Ok(link.clone());
        }
        if let Some((_, error)) = slot.failed.as_ref().filter(|(at, _)| *at > asked_at) {
            // It failed while this caller waited: one attempt is enough for all who did.
            return Err(error.clone());
        }
        slot.link = None;
        let link = timeout(CONNECT_TIMEOUT, Box::pin(self.establish(purpose))).await;
        let link = link.unwrap_or_else(|_| Err(RequestError::Retry(format!("no connection to {}", self.address))));
        match &link {
            Ok(link) => {
                EngineCounters::count(&self.counters.connections);
                slot.link = Some(link.clone());
            }
            Err(error) => slot.failed = Some((Instant::now(), error.clone())),
        }
        if purpose == LinkUse::Reads && link.is_ok() {
            // Changes between the two connections were reported to neither.
            self.signals.all_changed();
        }
        link
    }

    async fn establish(&self, purpose: LinkUse) -> Result<Link, RequestError> {
        let is_broken = Arc::new(AtomicBool::new(false));
        let connection = match purpose {
            LinkUse::Scripts => connect(&self.address, &self.settings, None).await,
            LinkUse::Reads => {
                let pushes = Arc::new(receiver(self.signals.clone(), self.counters.clone(), is_broken.clone()));
                match connect(&self.address, &self.settings, Some(pushes)).await {
                    Err(error) if error.kind() == redis::ErrorKind::RESP3NotSupported => {
                        connect(&self.address, &self.settings, None).await
                    }
                    connection => connection,
                }
            }
        };
        let connection = connection.map_err(|error| RequestError::of_client(&error))?;
        let mut link =
            Link { connection, counters: self.counters.clone(), is_broken, epoch: "".into(), is_tracking: false };
        link.epoch = self.epoch(&link).await?.into();
        if purpose == LinkUse::Reads {
            let answers = link.send(redis::pipe().cmd("CLIENT").arg("TRACKING").arg("ON")).await?;
            link.is_tracking = matches!(answers.first(), Some(Value::Okay));
        }
        Ok(link)
    }

    /// Returns the epoch of the server, which must be a primary.
    pub(super) async fn epoch(&self, link: &Link) -> Result<String, RequestError> {
        let answer = link.send(redis::pipe().cmd("INFO").arg("replication")).await?.pop().unwrap_or_default();
        if let Value::ServerError(error) = &answer {
            link.discard();
            return Err(RequestError::of_server(error, &self.address));
        }
        let text = into_text(answer).unwrap_or_default();
        let field = |name: &str| info_field(&text, name).map(str::to_owned);
        if field("role").as_deref() != Some("master") {
            link.discard();
            return Err(RequestError::Retry(format!("{} is not a primary", self.address)));
        }
        let id = field("master_replid").unwrap_or_default();
        let epoch = id.get(..16).and_then(|start| u64::from_str_radix(start, 16).ok()).unwrap_or(0);
        Ok(hex(epoch))
    }
}

/// Reports whether an error is that of a user without the right. A script reports it in its own words.
fn is_forbidden(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&error.code())
        || details.starts_with("The user executing the script can't run")
        || details.starts_with("ACL failure in script")
}

/// Returns a field of the answer to INFO.
pub(super) fn info_field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Returns the receiver of what a server sends unasked. It runs on the connection's task and must not wait.
fn receiver(
    signals: Arc<ChangeSignals>,
    counters: Arc<EngineCounters>,
    is_broken: Arc<AtomicBool>,
) -> impl Fn(PushInfo) -> Result<(), EngineError> + Send + Sync + 'static {
    move |PushInfo { kind, mut data }| {
        match kind {
            PushKind::Disconnection => {
                is_broken.store(true, Ordering::Release);
                signals.all_changed();
            }
            PushKind::Invalidate => {
                EngineCounters::count(&counters.changes);
                match into_values(data.pop().unwrap_or_default()) {
                    Ok(keys) if !keys.is_empty() => {
                        keys.into_iter().filter_map(into_bytes).for_each(|key| signals.changed(&key));
                    }
                    // Nil: all keys (FLUSHALL).
                    _ => signals.all_changed(),
                }
            }
            _ => {}
        }
        Ok(())
    }
}
