//! Sends requests to the server that holds a key, again until they are answered or too late.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, sleep};

use super::error::EngineError;
use super::limits::{OPERATION_TIMEOUT, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, WAIT_TIMEOUT};
use super::node::{Link, LinkUse, NodeSettings, RedisNode, RequestError};
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
    /// Held for a few instructions.
    nodes: Mutex<HashMap<NodeAddress, Arc<RedisNode>>>,
    /// Replicas that must confirm a write.
    pub(super) acks: AtomicU32,
}

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    started: Instant,
    pause: Duration,
}

impl Attempts {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), pause: RETRY_PAUSE_MIN }
    }

    /// Waits before the next attempt, or returns the error if it is too late for one.
    pub(super) async fn next(&mut self, reason: String) -> Result<(), EngineError> {
        let waited = self.started.elapsed();
        if waited + self.pause > OPERATION_TIMEOUT {
            return Err(EngineError::Unavailable { reason, waited });
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
        Ok(())
    }
}

impl Router {
    pub(super) fn new(url: &JournalUrl, settings: NodeSettings) -> Self {
        let topology = Topology::new(url);
        Self {
            topology,
            settings: Arc::new(settings),
            signals: Arc::default(),
            nodes: Mutex::default(),
            acks: AtomicU32::new(0),
        }
    }

    fn node(&self, address: &NodeAddress) -> Arc<RedisNode> {
        let mut nodes = self.nodes.lock();
        let new = || Arc::new(RedisNode::new(address.clone(), self.settings.clone(), self.signals.clone()));
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

    /// Sends commands about one key together, once. An answer can be an error of the server.
    pub(super) async fn once(
        &self,
        key: &str,
        purpose: LinkUse,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, RequestError> {
        let (node, link) = self.link(key, purpose).await?;
        let answers = link.send(pipeline).await?;
        match answers.first() {
            Some(Value::ServerError(error)) => {
                let error = RequestError::of_server(error, &node.address);
                self.learn(key, &link, &error);
                match error {
                    RequestError::Ask(address) if pipeline.len() == 1 => self.asking(&address, purpose, pipeline).await,
                    error => Err(error),
                }
            }
            _ => Ok(answers),
        }
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

    /// Sends one command to a server that imports the slot of its key.
    async fn asking(
        &self,
        address: &NodeAddress,
        purpose: LinkUse,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, RequestError> {
        let link = self.node(address).link(purpose).await?;
        let mut asking = redis::pipe();
        asking.cmd("ASKING");
        for command in pipeline.cmd_iter() {
            asking.add_command(command.clone());
        }
        let mut answers = link.send(&asking).await?;
        match answers.last() {
            Some(Value::ServerError(error)) => Err(RequestError::of_server(error, address)),
            _ => Ok(answers.split_off(1)),
        }
    }

    /// Sends commands about one key together until all are answered without an error.
    pub(super) async fn all(
        &self,
        key: &str,
        purpose: LinkUse,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, EngineError> {
        let mut attempts = Attempts::start();
        loop {
            let error = match self.once(key, purpose, pipeline).await {
                Ok(answers) => {
                    let failed = answers.iter().find_map(|answer| match answer {
                        Value::ServerError(error) => Some(error.clone()),
                        _ => None,
                    });
                    match failed {
                        None => return Ok(answers),
                        Some(error) => RequestError::of_server(&error, &NodeAddress { host: String::new(), port: 0 }),
                    }
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
        let mut attempts = Attempts::start();
        loop {
            let error = match self.link(key, LinkUse::Scripts).await {
                Ok((_, link)) => {
                    let mut pipeline = redis::pipe();
                    pipeline.add_command(script.call(keys, &args(&link.epoch)));
                    match self.once(key, LinkUse::Scripts, &pipeline).await {
                        Ok(mut answers) => return Ok(answers.pop().unwrap_or_default()),
                        Err(RequestError::NoScript) => match self.load(key, script).await {
                            Ok(()) => RequestError::Retry(format!("the script {} is not known", script.name)),
                            Err(error) => error,
                        },
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            attempts.next(self.retry_reason(error)?).await?;
        }
    }

    /// Loads a script on the server that holds a key.
    pub(super) async fn load(&self, key: &str, script: &LuaScript) -> Result<(), RequestError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(script.load());
        self.once(key, LinkUse::Scripts, &pipeline).await.map(drop)
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
