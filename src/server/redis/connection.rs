//! One client's connection: read what has come, run it, send the replies, in this order and by one
//! task, so that a client that does not read is not read from.

mod send;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use self::send::LAST_SEND_TIMEOUT;
use super::Port;
use super::batch::{Batch, Waited, Waits};
use super::clients::Client;
use super::commands::{refused, unwritten};
use super::exec_context::Place;
use super::plan::Plan;
use super::session::Session;
use crate::model::limits::Limit;
use crate::server::net::connection_limit::{GlobalPermit, PerAddressPermit};
use crate::server::net::rate_limit::ConnectionRate;
use crate::server::net::tls;
use crate::tasks::keys::{CommitCallback, JournalError, Transaction, WakeReason};
use crate::transport::{AppProtocol, NetStream};
use crate::wire::resp::{Parser, ProtocolError, Reply, RequestLimits};

/// Bytes that are read while a command waits; what comes then stays with the system.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Serves a client until it goes, or has to.
pub(super) async fn run(
    stream: TcpStream,
    client: Arc<Client>,
    port: Arc<Port>,
    _place: (GlobalPermit, PerAddressPermit),
) {
    let id = client.id;
    port.state.metrics.redis.connections.inc();
    if let Some(stream) = tls::open(stream, AppProtocol::Redis, &port.state).await {
        let session = Session::new(port.clone(), client.clone());
        let parser = Parser::new(RequestLimits::default());
        let rate = ConnectionRate::new(&port.state);
        let mut connection =
            Connection { stream, parser, broken: None, filled: false, spoke: false, rate, port: port.clone(), client };
        // Boxed: the batch goes back and forth.
        let ended = connection.serve(Box::new(Batch::new(session))).await;
        if let Err(error) = ended {
            tracing::debug!(%error, client = id, "a Redis client's connection ended");
        }
    }
    port.state.metrics.redis.connections.dec();
    port.clients.remove(id);
}

struct Connection {
    stream: NetStream,
    parser: Parser,
    /// What came is no request: an error once what came before is answered.
    broken: Option<ProtocolError>,
    /// The last read took all the room there was.
    filled: bool,
    /// A whole request has come.
    spoke: bool,
    /// Holds the connection to its rates.
    rate: ConnectionRate,
    port: Arc<Port>,
    client: Arc<Client>,
}

impl Connection {
    async fn serve(&mut self, mut batch: Box<Batch>) -> io::Result<()> {
        loop {
            if batch.is_empty() {
                self.parse(&mut batch);
            }
            while self.filled && batch.has_room() && self.read_more()? {
                self.parse(&mut batch);
            }
            if batch.is_empty() {
                if self.broken.is_some() || batch.session.closing {
                    return self.part(batch).await;
                }
                if !self.read().await? {
                    return Ok(());
                }
                continue;
            }
            let waits;
            (batch, waits) = self.turn(batch).await?;
            self.send(&mut batch.reply).await?;
            if let Some(waits) = waits {
                match self.wait(waits).await? {
                    Some((mut reply, closing)) => {
                        batch.session.closing |= closing;
                        self.send(&mut reply).await?;
                    }
                    None => return Ok(()),
                }
            }
            if batch.session.closing || self.client.end.is_cancelled() {
                return self.part(batch).await;
            }
        }
    }

    /// Takes the requests that have come whole.
    fn parse(&mut self, batch: &mut Batch) {
        while batch.has_room() && self.broken.is_none() && !batch.session.closing {
            match self.parser.next() {
                Ok(Some(request)) if request.is_http() => {
                    tracing::warn!(client = self.client.id, "a browser's request on the Redis port: closed");
                    batch.session.closing = true;
                }
                Ok(Some(request)) => {
                    self.spoke = true;
                    batch.push(request);
                }
                Ok(None) => return,
                Err(error) => self.broken = Some(error),
            }
        }
    }

    /// Waits for bytes; `false` if there will be none.
    async fn read(&mut self) -> io::Result<bool> {
        let buffer = self.parser.buffer();
        let room = buffer.capacity() - buffer.len();
        let limits = self.port.limits();
        let (until, limit) = if self.spoke {
            let active = self.client.facts.lock().active;
            (limits.resp_idle_timeout.map(|idle| active + idle), Limit::resp_idle_timeout)
        } else {
            (Some(self.client.since + limits.header_timeout), Limit::header_timeout)
        };
        let silent = async {
            match until {
                Some(until) => sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let count = tokio::select! {
            read = self.stream.read_buf(buffer) => read?,
            () = silent => {
                self.port.state.limit_counters.count(limit);
                return Ok(false);
            }
            () = self.port.state.shutdown.cancelled() => return Ok(false),
            () = self.client.end.cancelled() => return Ok(false),
        };
        self.took(count, room);
        Ok(count > 0)
    }

    /// Takes bytes that have come already; `false` if there are none now.
    fn read_more(&mut self) -> io::Result<bool> {
        let buffer = self.parser.buffer();
        let room = buffer.capacity() - buffer.len();
        match self.stream.try_read_buf(buffer) {
            Ok(count) => {
                self.took(count, room);
                Ok(count > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.filled = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn took(&mut self, count: usize, room: usize) {
        self.filled = count > 0 && count == room;
        self.port.state.metrics.redis.bytes_in.inc_by(count as u64);
        let mut facts = self.client.facts.lock();
        facts.bytes_in += count as u64;
        facts.buffered_bytes = self.parser.buffered();
        facts.active = Instant::now();
    }

    /// Runs a batch where it belongs.
    async fn turn(&mut self, mut batch: Box<Batch>) -> io::Result<(Box<Batch>, Option<Waits>)> {
        let tasks = &self.port.state.tasks;
        let plan = batch.plan(tasks);
        let plan_bytes = plan.bytes as u64;
        let (mut batch, waits) = if plan.keys {
            match self.submit(batch, plan).await {
                Ok(done) => done,
                Err(error) => {
                    // The replies are in the writer's hands: one error, and the end.
                    if error.kind() == io::ErrorKind::TimedOut {
                        let said = format!("-{error}\r\n");
                        timeout(LAST_SEND_TIMEOUT, self.stream.write_all(said.as_bytes())).await.ok();
                    }
                    return Err(error);
                }
            }
        } else if plan.heavy {
            let tasks = tasks.clone();
            let run = move || {
                batch.run(&mut Place::published(&tasks));
                batch
            };
            (tokio::task::spawn_blocking(run).await.map_err(io::Error::other)?, None)
        } else {
            batch.run(&mut Place::published(tasks));
            (batch, None)
        };
        batch.settle();
        self.rate.record(batch.done.adds, if batch.done.adds > 0 { plan_bytes } else { 0 });
        self.count(&mut batch);
        if std::mem::take(&mut batch.session.slow) {
            self.port.state.login_attempts.delay().await;
        }
        if let Some(pause) = self.rate.pause() {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.port.state.shutdown.cancelled() => {}
                () = self.client.end.cancelled() => {}
            }
        }
        Ok((batch, waits))
    }

    /// Runs a batch among the writes; it comes back when they are durable.
    async fn submit(&self, mut batch: Box<Batch>, plan: Plan) -> io::Result<(Box<Batch>, Option<Waits>)> {
        let tasks = &self.port.state.tasks;
        let prepared = async {
            for key in plan.adds {
                let task = tasks.key_task(&key).await;
                if let Some(task) = task.transpose() {
                    batch.add_task(key, task.map_err(|error| refused(&error)));
                }
            }
            let room = tasks.reserve(plan.bytes).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((batch, room))
        };
        let (mut batch, room) = tokio::select! {
            prepared = prepared => prepared?,
            () = self.port.state.shutdown.cancelled() => return Err(ending()),
        };
        let (sender, done) = oneshot::channel();
        tasks.submit(room, move |keys: &mut Transaction<'_>| -> CommitCallback {
            let waits = batch.run(&mut Place::Keys(keys));
            Box::new(move |failed| {
                if let Some(error) = failed {
                    batch.fail(error);
                }
                // A connection that has gone wants no replies.
                sender.send((batch, waits)).ok();
            })
        });
        let commit_timeout = tasks.journal().commit_timeout();
        match timeout(commit_timeout, done).await {
            Ok(done) => done.map_err(|_| ending()),
            Err(_) => {
                let text = unwritten(&JournalError::Unconfirmed(commit_timeout));
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    fn count(&self, batch: &mut Batch) {
        let done = std::mem::take(&mut batch.done);
        let metrics = &self.port.state.metrics.redis;
        metrics.commands.inc_by(done.commands);
        metrics.errors.inc_by(done.errors);
        let hop = &self.port.state.stages.redis;
        hop.received(done.adds);
        hop.parsed(done.adds);
        hop.stored(done.added);
        for _ in done.added..done.adds {
            hop.rejected("refused", "an XADD was refused; its client was told why");
        }
        if done.of_runs {
            self.port.state.runs.notify_changed();
        }
        let mut facts = self.client.facts.lock();
        facts.commands += done.commands;
        facts.command = done.last.unwrap_or(facts.command);
        facts.protocol = batch.reply.protocol();
    }

    /// Waits with a command that waits; `None` if the client has gone, or has to. Gives its reply, and
    /// whether it is the last.
    async fn wait(&mut self, mut waits: Waits) -> io::Result<Option<(Reply, bool)>> {
        let unblock = |port: &Port, id| port.state.tasks.unblock(id, WakeReason::TimedOut);
        let (mut overdue, id) = (false, self.client.id);
        loop {
            let deadline = waits.deadline.filter(|_| !overdue);
            let time_is_up = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let reading = self.parser.buffered() < WAITING_BYTES_MAX;
            let read = async {
                if reading { self.stream.read_buf(self.parser.buffer()).await } else { std::future::pending().await }
            };
            let gone = tokio::select! {
                answer = &mut waits.answer => {
                    let answer = answer.map_err(|_| ending())?;
                    return Ok(Some(self.waited(answer, waits.wanted)));
                }
                () = time_is_up => {
                    // The answer still comes from the writer: it may just have been served.
                    unblock(&self.port, id);
                    overdue = true;
                    continue;
                }
                read = read => match read {
                    Ok(count) => {
                        self.took(count, 0);
                        count == 0
                    }
                    Err(_) => true,
                },
                () = self.port.state.shutdown.cancelled() => true,
                () = self.client.end.cancelled() => true,
            };
            if gone {
                unblock(&self.port, id);
                return Ok(None);
            }
        }
    }

    fn waited(&self, answer: Waited, wanted: bool) -> (Reply, bool) {
        self.client.facts.lock().active = Instant::now();
        let (mut reply, closing) = match answer {
            Ok(reply) => (reply, false),
            Err(error) => {
                let mut reply = Reply::default();
                reply.error(unwritten(&error));
                (reply, true)
            }
        };
        if !wanted {
            reply.truncate(0);
        }
        (reply, closing)
    }
}

fn ending() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server ends")
}
