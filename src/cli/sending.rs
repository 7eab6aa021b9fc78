//! Lines on their way to a task, in batches over HTTP.
//!
//! A batch says which of its session's lines it begins with, so one that is sent again, because its
//! answer was lost, doubles nothing.

use std::time::Duration;

use anyhow::bail;
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::locate::Locator;
use super::output::Output;
use super::show;
use crate::client::{ClientError, HttpClient};
use crate::model::{Channel, TaskId, Timestamp};
use crate::wire::worker::OutgoingLine;
use crate::worker::{LineSplitter, SplitLine};

/// A batch is sent once its body has this size.
const BATCH_BYTES: usize = 512 * 1024;
/// Delays between two tries, from and to.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A server that is away is still given this long when the person wants to end.
const LAST_TRY: Duration = Duration::from_secs(5);

/// How long a server may be away.
#[derive(Clone, Debug)]
pub(super) enum Patience {
    /// So long; then what was not sent is told, and the command fails. A server of our own is
    /// started for one that does not come back.
    For(Duration),
    /// For ever, until the token is cancelled: what is sent waits in a file.
    Until(CancellationToken),
}

/// Lines of one channel, numbered in a session.
pub(super) struct Sender<'a> {
    client: HttpClient,
    locator: &'a Locator,
    output: Output,
    task: TaskId,
    channel: Channel,
    patience: Patience,
    session: String,
    /// The number of the first line that is not sent yet.
    next_seq: u64,
    batch: Batch,
    sent: u64,
    last_line: Option<u64>,
}

#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    lines: u64,
}

#[derive(Debug, Deserialize)]
struct Appended {
    last_line: Option<u64>,
}

impl<'a> Sender<'a> {
    /// Begins a session that nobody else has.
    pub(super) fn new(
        client: HttpClient,
        locator: &'a Locator,
        output: Output,
        task: TaskId,
        channel: Channel,
        patience: Patience,
    ) -> Self {
        let (session, batch) = (Ulid::generate().to_string(), Batch::default());
        Self { client, locator, output, task, channel, patience, session, next_seq: 1, batch, sent: 0, last_line: None }
    }

    /// Lines that were sent and are kept, in all sessions.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The line number that the server gave to the last line; none if it took no new one.
    pub(super) fn last_line(&self) -> Option<u64> {
        self.last_line
    }

    /// Goes on in another session, with its line 1. Everything before must have been flushed.
    pub(super) fn begin_session(&mut self, session: String) {
        debug_assert!(self.batch.lines == 0, "lines of another session");
        (self.session, self.next_seq) = (session, 1);
    }

    /// Sends the lines that end in `bytes`, but for the last batch.
    ///
    /// # Errors
    /// As [`Sender::flush`].
    pub(super) async fn take(&mut self, splitter: &mut LineSplitter, mut bytes: &[u8]) -> anyhow::Result<()> {
        while let Some(line) = splitter.next_line(&mut bytes) {
            self.push(&line)?;
            self.flush_if_full().await?;
        }
        Ok(())
    }

    /// Puts a line into the batch.
    ///
    /// # Errors
    /// None in practice: a line is always JSON.
    pub(super) fn push(&mut self, line: &SplitLine) -> anyhow::Result<()> {
        let SplitLine { text, partial, lossy } = line;
        let timestamp = Timestamp::now();
        let line = OutgoingLine { line: text, timestamp, channel: self.channel, partial: *partial, lossy: *lossy };
        serde_json::to_writer(&mut self.batch.body, &line)?;
        self.batch.body.push(b'\n');
        self.batch.lines += 1;
        Ok(())
    }

    /// Sends the batch if it is large enough.
    ///
    /// # Errors
    /// As [`Sender::flush`].
    pub(super) async fn flush_if_full(&mut self) -> anyhow::Result<()> {
        if self.batch.body.len() >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends what is gathered and waits until it is kept.
    ///
    /// # Errors
    /// The server refuses it, or is away for longer than our patience.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        let Batch { body, lines } = std::mem::take(&mut self.batch);
        if lines == 0 {
            return Ok(());
        }
        let body = Bytes::from(body);
        let delays = ExponentialBuilder::default().with_min_delay(RETRY_MIN).with_max_delay(RETRY_MAX).with_jitter();
        let mut delays = delays.without_max_times().build();
        let (begun, mut noted) = (Instant::now(), false);
        let mut last_try = None;
        loop {
            match self.post(&body).await {
                Ok(answer) => {
                    self.next_seq += lines;
                    self.sent += lines;
                    self.last_line = answer.last_line.or(self.last_line);
                    return Ok(());
                }
                Err(error) if error.is_transient() => {
                    let delay = delays.next().unwrap_or(RETRY_MAX);
                    let over = match &self.patience {
                        Patience::For(limit) => begun.elapsed() + delay > *limit,
                        Patience::Until(stop) if stop.is_cancelled() => {
                            let since: &mut Instant = last_try.get_or_insert_with(Instant::now);
                            since.elapsed() > LAST_TRY
                        }
                        Patience::Until(_) => false,
                    };
                    if over {
                        bail!("{error}; the {lines} lines from line {} of the input on were not sent", self.next_seq);
                    }
                    if !std::mem::replace(&mut noted, true) {
                        self.output.note(format_args!("{error}; trying again"));
                    }
                    self.pause(delay).await;
                    self.look_again().await;
                }
                Err(error) => return Err(show::task_error(error, &self.task, self.client.endpoint())),
            }
        }
    }

    async fn pause(&self, delay: Duration) {
        match &self.patience {
            Patience::Until(stop) if !stop.is_cancelled() => {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = stop.cancelled() => {}
                }
            }
            _ => tokio::time::sleep(delay.min(LAST_TRY)).await,
        }
    }

    async fn post(&self, body: &Bytes) -> Result<Appended, ClientError> {
        let path = format!("/api/v1/tasks/{}/lines", self.task);
        let query = [("session", Some(self.session.clone())), ("first_seq", Some(self.next_seq.to_string()))];
        self.client.post(&path, &query, "application/x-ndjson", body.clone()).await
    }

    /// The server may be elsewhere now.
    async fn look_again(&mut self) {
        let endpoint = match self.patience {
            Patience::For(_) => self.locator.endpoint_after_loss().await.ok(),
            Patience::Until(_) => self.locator.found_again().await,
        };
        if let Some(endpoint) = endpoint
            && endpoint != *self.client.endpoint()
        {
            self.client = HttpClient::new(endpoint);
        }
    }
}
