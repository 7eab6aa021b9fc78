//! One client's connection. A single task reads requests, runs them and sends the replies, in this
//! order, so a client that does not read its replies is not read from either.

mod send;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use self::send::LAST_SEND_TIMEOUT;
use super::RedisPort;
use super::batch::{BlockedReply, CommandBatch, PendingReply};
use super::clients::RedisClient;
use super::commands::{misconf, task_error};
use super::exec_context::ExecContext;
use super::plan::BatchPlan;
use super::session::RedisSession;
use crate::model::limits::Limit;
use crate::server::net::connection_limit::{GlobalPermit, PerAddressPermit};
use crate::server::net::rate_limit::ConnectionRate;
use crate::server::net::tls;
use crate::tasks::keys::{CommitCallback, JournalError, PreparedTransaction, Transaction, WakeReason};
use crate::transport::{AppProtocol, NetStream};
use crate::wire::resp::{Parser, ProtocolError, Reply, RequestLimits};

/// Bytes to buffer while a command is blocked; further input stays in the socket.
const BLOCKED_BYTES_MAX: usize = 256 * 1024;

/// Serves a client until either side closes the connection.
pub(super) async fn run(
    stream: TcpStream,
    client: Arc<RedisClient>,
    port: Arc<RedisPort>,
    _permits: (GlobalPermit, PerAddressPermit),
) {
    let id = client.id;
    port.state.metrics.redis.connections.inc();
    if let Some(stream) = tls::open(stream, AppProtocol::Redis, &port.state).await {
        let session = RedisSession::new(port.clone(), client.clone());
        let parser = Parser::new(RequestLimits::default());
        let rate = ConnectionRate::new(&port.state);
        let mut connection = RedisConnection {
            stream,
            parser,
            protocol_error: None,
            buffer_filled: false,
            request_received: false,
            rate,
            port: port.clone(),
            client,
        };
        // Boxed, since the batch moves between threads.
        let result = connection.serve(Box::new(CommandBatch::new(session))).await;
        if let Err(error) = result {
            tracing::debug!(%error, client = id, "Redis connection closed");
        }
    }
    port.state.metrics.redis.connections.dec();
    port.clients.remove(id);
}

struct RedisConnection {
    stream: NetStream,
    parser: Parser,
    /// Set after invalid input: reported after the replies to earlier requests.
    protocol_error: Option<ProtocolError>,
    /// Set if the last read filled the buffer.
    buffer_filled: bool,
    /// Set after the first complete request.
    request_received: bool,
    /// Enforces the connection's rate limits.
    rate: ConnectionRate,
    port: Arc<RedisPort>,
    client: Arc<RedisClient>,
}

impl RedisConnection {
    async fn serve(&mut self, mut batch: Box<CommandBatch>) -> io::Result<()> {
        loop {
            if batch.is_empty() {
                self.parse(&mut batch);
            }
            while self.buffer_filled && batch.has_room() && self.read_more()? {
                self.parse(&mut batch);
            }
            if batch.is_empty() {
                if self.protocol_error.is_some() || batch.session.closing {
                    return self.close(batch).await;
                }
                if !self.read().await? {
                    return Ok(());
                }
                continue;
            }
            let pending;
            (batch, pending) = self.run_batch(batch).await?;
            self.send(&mut batch.reply).await?;
            if let Some(pending) = pending {
                match self.wait_unblocked(pending).await? {
                    Some((mut reply, closing)) => {
                        batch.session.closing |= closing;
                        self.send(&mut reply).await?;
                    }
                    None => return Ok(()),
                }
            }
            if batch.session.closing || self.client.disconnect.is_cancelled() {
                return self.close(batch).await;
            }
        }
    }

    /// Moves complete requests into the batch.
    fn parse(&mut self, batch: &mut CommandBatch) {
        while batch.has_room() && self.protocol_error.is_none() && !batch.session.closing {
            match self.parser.next() {
                Ok(Some(request)) if request.is_http() => {
                    tracing::warn!(client = self.client.id, "HTTP request on the Redis port; closing the connection");
                    batch.session.closing = true;
                }
                Ok(Some(request)) => {
                    self.request_received = true;
                    batch.push(request);
                }
                Ok(None) => return,
                Err(error) => self.protocol_error = Some(error),
            }
        }
    }

    /// Waits for input. Returns `false` at end of file, on timeout and on shutdown.
    async fn read(&mut self) -> io::Result<bool> {
        let buffer = self.parser.buffer();
        let capacity = buffer.capacity() - buffer.len();
        let limits = self.port.limits();
        let (until, limit) = if self.request_received {
            let active = self.client.status.lock().active;
            (limits.resp_idle_timeout.map(|idle| active + idle), Limit::resp_idle_timeout)
        } else {
            (Some(self.client.since + limits.header_timeout), Limit::header_timeout)
        };
        let idle_timeout = async {
            match until {
                Some(until) => sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let count = tokio::select! {
            read = self.stream.read_buf(buffer) => read?,
            () = idle_timeout => {
                self.port.state.limit_counters.count(limit);
                return Ok(false);
            }
            () = self.port.state.shutdown.cancelled() => return Ok(false),
            () = self.client.disconnect.cancelled() => return Ok(false),
        };
        self.record_read(count, capacity);
        Ok(count > 0)
    }

    /// Reads available input without waiting. Returns `false` if there is none.
    fn read_more(&mut self) -> io::Result<bool> {
        let buffer = self.parser.buffer();
        let capacity = buffer.capacity() - buffer.len();
        match self.stream.try_read_buf(buffer) {
            Ok(count) => {
                self.record_read(count, capacity);
                Ok(count > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.buffer_filled = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn record_read(&mut self, count: usize, capacity: usize) {
        self.buffer_filled = count > 0 && count == capacity;
        self.port.state.metrics.redis.bytes_in.inc_by(count as u64);
        let mut status = self.client.status.lock();
        status.bytes_in += count as u64;
        status.buffered_bytes = self.parser.buffered();
        status.active = Instant::now();
    }

    /// Runs a batch where its plan requires.
    async fn run_batch(
        &mut self,
        mut batch: Box<CommandBatch>,
    ) -> io::Result<(Box<CommandBatch>, Option<PendingReply>)> {
        let tasks = &self.port.state.tasks;
        let plan = batch.plan(tasks);
        let plan_bytes = plan.bytes as u64;
        let (mut batch, pending) = if plan.writes {
            match self.submit(batch, plan).await {
                Ok(done) => done,
                Err(error) => {
                    // The replies moved away with the batch: send one error and close.
                    if error.kind() == io::ErrorKind::TimedOut {
                        let line = format!("-{error}\r\n");
                        timeout(LAST_SEND_TIMEOUT, self.stream.write_all(line.as_bytes())).await.ok();
                    }
                    return Err(error);
                }
            }
        } else if plan.heavy {
            let tasks = tasks.clone();
            let run = move || {
                batch.run(&mut ExecContext::read(&tasks));
                batch
            };
            (tokio::task::spawn_blocking(run).await.map_err(io::Error::other)?, None)
        } else {
            batch.run(&mut ExecContext::read(tasks));
            (batch, None)
        };
        batch.confirm_adds();
        self.rate.record(batch.stats.adds, if batch.stats.adds > 0 { plan_bytes } else { 0 });
        self.record_stats(&mut batch);
        if std::mem::take(&mut batch.session.delay_login) {
            self.port.state.login_attempts.delay().await;
        }
        if let Some(pause) = self.rate.pause() {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.port.state.shutdown.cancelled() => {}
                () = self.client.disconnect.cancelled() => {}
            }
        }
        Ok((batch, pending))
    }

    /// Runs a batch in a transaction and waits until it is durable.
    async fn submit(
        &self,
        mut batch: Box<CommandBatch>,
        plan: BatchPlan,
    ) -> io::Result<(Box<CommandBatch>, Option<PendingReply>)> {
        let tasks = &self.port.state.tasks;
        let prepared = async {
            for key in plan.append_keys {
                // An entry for a key of another type is rejected, and must create no task.
                if self.port.values.as_ref().is_some_and(|values| values.holds_now(&key)) {
                    continue;
                }
                let task = tasks.key_task(&key).await;
                if let Some(task) = task.transpose() {
                    batch.add_task(key, task.map_err(|error| task_error(&error)));
                }
            }
            let permit = tasks.reserve(plan.bytes).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((batch, permit))
        };
        let (mut batch, permit) = tokio::select! {
            prepared = prepared => prepared?,
            () = self.port.state.shutdown.cancelled() => return Err(shutting_down()),
        };
        let (sender, done) = oneshot::channel();
        self.port.submit(PreparedTransaction::new(permit, move |keys: &mut Transaction<'_>| -> CommitCallback {
            let pending = batch.run(&mut ExecContext::Write(keys));
            Box::new(move |failed| {
                if let Some(error) = failed {
                    batch.fail(error);
                }
                // Fails only if the connection is closed.
                sender.send((batch, pending)).ok();
            })
        }));
        let commit_timeout = tasks.journal().commit_timeout();
        match timeout(commit_timeout, done).await {
            Ok(done) => done.map_err(|_| shutting_down()),
            Err(_) => {
                let text = misconf(&JournalError::Unconfirmed(commit_timeout));
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    fn record_stats(&self, batch: &mut CommandBatch) {
        let stats = std::mem::take(&mut batch.stats);
        let metrics = &self.port.state.metrics.redis;
        metrics.commands.inc_by(stats.commands);
        metrics.errors.inc_by(stats.errors);
        let stage = &self.port.state.stages.redis;
        stage.received(stats.adds);
        stage.parsed(stats.adds);
        stage.stored(stats.added);
        for _ in stats.added..stats.adds {
            stage.rejected("refused", "XADD rejected; the client received an error");
        }
        if stats.runs_changed {
            self.port.state.runs.notify_changed();
        }
        let mut status = self.client.status.lock();
        status.commands += stats.commands;
        status.command = stats.last.unwrap_or(status.command);
        status.protocol = batch.reply.protocol();
    }

    /// Waits for the reply of a blocked command. Returns the reply and whether to close the connection
    /// after it, or `None` if the client disconnected or must be disconnected.
    async fn wait_unblocked(&mut self, mut pending: PendingReply) -> io::Result<Option<(Reply, bool)>> {
        let unblock = |port: &RedisPort, id| port.state.tasks.unblock(id, WakeReason::TimedOut);
        let (mut overdue, id) = (false, self.client.id);
        loop {
            let deadline = pending.deadline.filter(|_| !overdue);
            let timed_out = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let reading = self.parser.buffered() < BLOCKED_BYTES_MAX;
            let read = async {
                if reading { self.stream.read_buf(self.parser.buffer()).await } else { std::future::pending().await }
            };
            let disconnect = tokio::select! {
                result = &mut pending.reply => {
                    let result = result.map_err(|_| shutting_down())?;
                    return Ok(Some(self.unblocked_reply(result, pending.send_reply)));
                }
                () = timed_out => {
                    // The writer still sends the reply: the command may just have been served.
                    unblock(&self.port, id);
                    overdue = true;
                    continue;
                }
                read = read => match read {
                    Ok(count) => {
                        self.record_read(count, 0);
                        count == 0
                    }
                    Err(_) => true,
                },
                () = self.port.state.shutdown.cancelled() => true,
                () = self.client.disconnect.cancelled() => true,
            };
            if disconnect {
                unblock(&self.port, id);
                return Ok(None);
            }
        }
    }

    fn unblocked_reply(&self, result: BlockedReply, send_reply: bool) -> (Reply, bool) {
        self.client.status.lock().active = Instant::now();
        let (mut reply, closing) = match result {
            Ok(reply) => (reply, false),
            Err(error) => {
                let mut reply = Reply::default();
                reply.error(misconf(&error));
                (reply, true)
            }
        };
        if !send_reply {
            reply.truncate(0);
        }
        (reply, closing)
    }
}

fn shutting_down() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "server shutting down")
}
