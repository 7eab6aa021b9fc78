//! Sends requests to the server that holds a key, again until they are answered or too late.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, ServerError, Value};
use tokio::time::{Instant, sleep};

use super::connect::NodeSettings;
use super::counters::EngineCounters;
use super::error::EngineError;
use super::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, WAIT_TIMEOUT};
use super::node::{Link, LinkUse, RedisNode, RequestError};
use super::script::LuaScript;
use super::signals::ChangeSignals;
use super::topology::Topology;
use super::url::{JournalUrl, NodeAddress};
use super::value::{ScriptReply, into_number};

/// The servers of a journal.
#[derive(Debug)]
pub(super) struct Router {
    topology: Topology,
    settings: Arc<NodeSettings>,
    pub(super) signals: Arc<ChangeSignals>,
    pub(super) counters: Arc<EngineCounters>,
    /// Held for a few instructions.
    nodes: Mutex<HashMap<NodeAddress, Arc<RedisNode>>>,
    /// Replicas that must confirm a write.
    pub(super) acks: AtomicU32,
    operation_timeout: Duration,
}

/// Answers without an error, and who gave them.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answers: Vec<Value>,
    pub(super) node: Arc<RedisNode>,
    pub(super) link: Link,
}

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    started: Instant,
    pause: Duration,
    timeout: Duration,
    counters: Arc<EngineCounters>,
}

impl Attempts {
    /// Waits before the next attempt, or returns the error if it is too late for one.
    pub(super) async fn next(&mut self, reason: String) -> Result<(), EngineError> {
        let waited = self.started.elapsed();
        if waited + self.pause > self.timeout {
            return Err(EngineError::Unavailable { reason, waited });
        }
        EngineCounters::count(&self.counters.retries);
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
        Ok(())
    }
}

impl Router {
    pub(super) fn new(url: &JournalUrl, settings: NodeSettings, operation_timeout: Duration) -> Self {
        let topology = Topology::new(url);
        Self {
            topology,
            settings: Arc::new(settings),
            signals: Arc::default(),
            counters: Arc::default(),
            nodes: Mutex::default(),
            acks: AtomicU32::new(0),
            operation_timeout,
        }
    }

    /// Starts the attempts of an operation.
    pub(super) fn attempts(&self) -> Attempts {
        let counters = self.counters.clone();
        Attempts { started: Instant::now(), pause: RETRY_PAUSE_MIN, timeout: self.operation_timeout, counters }
    }

    fn node(&self, address: &NodeAddress) -> Arc<RedisNode> {
        let mut nodes = self.nodes.lock();
        let new = || {
            let (settings, signals, counters) = (self.settings.clone(), self.signals.clone(), self.counters.clone());
            Arc::new(RedisNode::new(address.clone(), settings, signals, counters))
        };
        nodes.entry(address.clone()).or_insert_with(new).clone()
    }

    /// Returns the server that holds a key, and a connection to it.
    pub(super) async fn link(&self, key: &str, purpose: LinkUse) -> Result<(Arc<RedisNode>, Link), RequestError> {
        let address = self.topology.address_of(key, &self.settings).await?;
        let node = self.node(&address);
        match node.link(purpose).await {
            Ok(link) => Ok((node, link)),
            Err(error) => {
                self.topology.forget();
                Err(error)
            }
        }
    }

    /// Sends commands about one key together, once, to the server that holds the key or to `ask_at`, which imports it.
    async fn once(
        &self,
        key: &str,
        purpose: LinkUse,
        ask_at: Option<&NodeAddress>,
        pipeline: impl Fn(&str) -> Pipeline,
    ) -> Result<Answered, RequestError> {
        let (node, link) = match ask_at {
            Some(address) => self.link_at(address, purpose).await?,
            None => self.link(key, purpose).await?,
        };
        let pipeline = pipeline(&link.epoch);
        let answers = match ask_at {
            Some(_) => link.send(&asking(&pipeline)).await?.into_iter().skip(1).step_by(2).collect(),
            None => link.send(&pipeline).await?,
        };
        match answers.iter().find_map(server_error) {
            None => Ok(Answered { answers, node, link }),
            Some(error) => {
                let error = RequestError::of_server(error, &node.address);
                self.learn(key, &link, &error);
                Err(error)
            }
        }
    }

    /// Returns a connection to a certain server.
    pub(super) async fn link_at(
        &self,
        address: &NodeAddress,
        purpose: LinkUse,
    ) -> Result<(Arc<RedisNode>, Link), RequestError> {
        let node = self.node(address);
        let link = node.link(purpose).await?;
        Ok((node, link))
    }

    /// Returns the primaries.
    pub(super) async fn primaries(&self) -> Result<Vec<Arc<RedisNode>>, RequestError> {
        let addresses = self.topology.primaries(&self.settings).await?;
        Ok(addresses.iter().map(|address| self.node(address)).collect())
    }

    /// Makes the next request ask again which server holds what.
    pub(super) fn forget(&self) {
        self.topology.forget();
    }

    /// Draws the conclusions of an error for later requests.
    pub(super) fn learn(&self, key: &str, link: &Link, error: &RequestError) {
        match error {
            RequestError::Moved(address) => self.topology.moved(key, address),
            RequestError::Retry(reason) if reason.starts_with("READONLY") => {
                link.discard();
                self.topology.forget();
            }
            _ => {}
        }
    }

    /// Sends commands about one key together until all are answered without an error.
    pub(super) async fn all(
        &self,
        key: &str,
        purpose: LinkUse,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, EngineError> {
        Ok(self.answered(key, purpose, pipeline).await?.answers)
    }

    /// Sends commands like [`Router::all`]. Returns who answered too.
    pub(super) async fn answered(
        &self,
        key: &str,
        purpose: LinkUse,
        pipeline: &Pipeline,
    ) -> Result<Answered, EngineError> {
        let mut attempts = self.attempts();
        let mut ask_at = None;
        loop {
            let asked = ask_at.take();
            let error = match self.once(key, purpose, asked.as_ref(), |_| pipeline.clone()).await {
                Ok(answered) => return Ok(answered),
                Err(RequestError::Ask(address)) if asked.is_none() => {
                    ask_at = Some(address);
                    continue;
                }
                Err(error) => error,
            };
            attempts.next(self.retry_reason(error)?).await?;
        }
    }

    /// Sends one command until it is answered.
    pub(super) async fn command(&self, key: &str, purpose: LinkUse, command: Cmd) -> Result<Value, EngineError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(command);
        Ok(self.all(key, purpose, &pipeline).await?.pop().unwrap_or_default())
    }

    /// Calls a script until it is answered. `args` receives the epoch of the primary.
    pub(super) async fn script(
        &self,
        script: &LuaScript,
        keys: &[String],
        args: impl Fn(&str) -> Vec<Vec<u8>>,
    ) -> Result<ScriptReply, EngineError> {
        ScriptReply::parse(self.script_value(script, keys, args).await?)
    }

    /// Calls a script like [`Router::script`], for an answer of another form.
    pub(super) async fn script_value(
        &self,
        script: &LuaScript,
        keys: &[String],
        args: impl Fn(&str) -> Vec<Vec<u8>>,
    ) -> Result<Value, EngineError> {
        let key = keys.first().map_or("", String::as_str);
        let mut attempts = self.attempts();
        let mut whole = false;
        let mut ask_at = None;
        loop {
            let asked = ask_at.take();
            let pipeline = |epoch: &str| {
                let mut pipeline = redis::pipe();
                pipeline.add_command(script.call(whole, keys, &args(epoch)));
                pipeline
            };
            let error = match self.once(key, LinkUse::Scripts, asked.as_ref(), pipeline).await {
                Ok(Answered { mut answers, .. }) => return Ok(answers.pop().unwrap_or_default()),
                Err(RequestError::Ask(address)) if asked.is_none() => {
                    ask_at = Some(address);
                    continue;
                }
                Err(RequestError::NoScript) if !whole => {
                    (whole, ask_at) = (true, asked);
                    continue;
                }
                Err(error) => error,
            };
            attempts.next(self.retry_reason(error)?).await?;
        }
    }

    /// Adds the wait for replicas, if confirmations need them.
    pub(super) fn append_wait(&self, pipeline: &mut Pipeline) {
        let acks = self.acks.load(Ordering::Relaxed);
        if acks > 0 {
            pipeline.cmd("WAIT").arg(acks).arg(WAIT_TIMEOUT.as_millis().to_string());
        }
    }

    /// Removes the answer to the wait for replicas. Returns an error if too few confirmed.
    pub(super) fn check_wait(&self, answers: &mut Vec<Value>, has_wait: bool) -> Result<(), String> {
        if !has_wait {
            return Ok(());
        }
        let acks = u64::from(self.acks.load(Ordering::Relaxed));
        match answers.pop().and_then(into_number) {
            Some(count) if count >= acks => Ok(()),
            count => Err(format!("{} of {acks} replicas confirmed", count.unwrap_or(0))),
        }
    }

    /// Returns the reason to try again, or the error if that is of no use.
    pub(super) fn retry_reason(&self, error: RequestError) -> Result<String, EngineError> {
        match error {
            RequestError::Retry(reason) => Ok(reason),
            RequestError::NoScript => Ok("a script is not known".to_owned()),
            RequestError::Moved(address) | RequestError::Ask(address) => Ok(format!("moved to {address}")),
            RequestError::Fatal(error) => Err(error),
        }
    }
}

/// Returns the error in an answer.
fn server_error(answer: &Value) -> Option<&ServerError> {
    match answer {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

/// Returns the commands for a server that imports the slot of their key.
pub(super) fn asking(pipeline: &Pipeline) -> Pipeline {
    let mut asking = redis::pipe();
    for command in pipeline.cmd_iter() {
        asking.cmd("ASKING").add_command(command.clone());
    }
    asking
}
