//! Sends lines to a task, in batches over HTTP.
//!
//! A batch contains the sequence number of its first line, so a batch that is sent again, because
//! its response was lost, is not stored twice.

use std::time::Duration;

use anyhow::bail;
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::locate::Locator;
use super::output::{Output, task_error};
use crate::client::{ClientError, HttpClient};
use crate::model::{Channel, TaskId, Timestamp};
use crate::wire::worker::OutgoingLine;
use crate::worker::{LineSplitter, SplitLine};

/// Size of a body at which a batch is sent.
const BATCH_BYTES: usize = 512 * 1024;
/// Minimum delay between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Maximum delay between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Maximum time to reach the server after a request to stop.
const LAST_TRY: Duration = Duration::from_secs(5);

/// A policy for retries while the server is unreachable.
#[derive(Clone, Debug)]
pub(super) enum RetryPolicy {
    /// Retry for this time, then report the unsent lines and fail. An embedded server is started
    /// for one that does not return.
    Within(Duration),
    /// Retry until the token is cancelled: the lines are safe in a file.
    Until(CancellationToken),
}

/// A sender of the lines of one channel, numbered in a session.
pub(super) struct LineSender<'a> {
    client: HttpClient,
    locator: &'a Locator,
    output: Output,
    task: TaskId,
    channel: Channel,
    policy: RetryPolicy,
    session: String,
    /// Sequence number of the first unsent line.
    next_seq: u64,
    batch: OutgoingBatch,
    sent: u64,
    last_line: Option<u64>,
}

#[derive(Default)]
struct OutgoingBatch {
    body: Vec<u8>,
    lines: u64,
}

#[derive(Debug, Deserialize)]
struct AppendResponse {
    last_line: Option<u64>,
}

impl<'a> LineSender<'a> {
    /// Creates a sender with a unique session.
    pub(super) fn new(
        client: HttpClient,
        locator: &'a Locator,
        output: Output,
        task: TaskId,
        channel: Channel,
        policy: RetryPolicy,
    ) -> Self {
        let (session, batch) = (Ulid::generate().to_string(), OutgoingBatch::default());
        Self { client, locator, output, task, channel, policy, session, next_seq: 1, batch, sent: 0, last_line: None }
    }

    /// Returns the number of stored lines, in all sessions.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the number that the server assigned to the last line; `None` if it stored no new line.
    pub(super) fn last_line(&self) -> Option<u64> {
        self.last_line
    }

    /// Starts another session at line 1. All previous lines must have been flushed.
    pub(super) fn start_session(&mut self, session: String) {
        debug_assert!(self.batch.lines == 0, "lines of another session");
        (self.session, self.next_seq) = (session, 1);
    }

    /// Queues the lines that end in `bytes` and sends full batches.
    ///
    /// # Errors
    /// As [`LineSender::flush`].
    pub(super) async fn push_lines(&mut self, splitter: &mut LineSplitter, mut bytes: &[u8]) -> anyhow::Result<()> {
        while let Some(line) = splitter.next_line(&mut bytes) {
            self.push_split(&line)?;
            self.flush_if_full().await?;
        }
        Ok(())
    }

    /// Returns the name of the current session.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Appends a line to the batch, and a note of the bytes that were left out of it.
    ///
    /// # Errors
    /// As [`LineSender::push`].
    pub(super) fn push_split(&mut self, line: &SplitLine) -> anyhow::Result<()> {
        if let Some(note) = line.nul_note() {
            self.push_internal(&note)?;
        }
        self.push(line)
    }

    /// Appends a line of tasktail itself to the batch.
    ///
    /// # Errors
    /// As [`LineSender::push`].
    pub(super) fn push_internal(&mut self, text: &str) -> anyhow::Result<()> {
        self.push_on(Channel::Internal, &SplitLine { text: text.to_owned(), ..SplitLine::default() })
    }

    /// Appends a line to the batch.
    ///
    /// # Errors
    /// None in practice: a line always serializes.
    pub(super) fn push(&mut self, line: &SplitLine) -> anyhow::Result<()> {
        self.push_on(self.channel, line)
    }

    fn push_on(&mut self, channel: Channel, line: &SplitLine) -> anyhow::Result<()> {
        let SplitLine { text, partial, lossy, .. } = line;
        let timestamp = Timestamp::now();
        let line = OutgoingLine { line: text, timestamp, channel, partial: *partial, lossy: *lossy };
        serde_json::to_writer(&mut self.batch.body, &line)?;
        self.batch.body.push(b'\n');
        self.batch.lines += 1;
        Ok(())
    }

    /// Sends the batch if it is full.
    ///
    /// # Errors
    /// As [`LineSender::flush`].
    pub(super) async fn flush_if_full(&mut self) -> anyhow::Result<()> {
        if self.batch.body.len() >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends the batch and waits until it is stored.
    ///
    /// # Errors
    /// The server rejects it, or is unreachable for longer than the policy allows.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        let OutgoingBatch { body, lines } = std::mem::take(&mut self.batch);
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
                    let over = match &self.policy {
                        RetryPolicy::Within(limit) => begun.elapsed() + delay > *limit,
                        RetryPolicy::Until(stop) if stop.is_cancelled() => {
                            let since: &mut Instant = last_try.get_or_insert_with(Instant::now);
                            since.elapsed() > LAST_TRY
                        }
                        RetryPolicy::Until(_) => false,
                    };
                    if over {
                        bail!("{error}; {lines} lines, from line {} of the input on, were not sent", self.next_seq);
                    }
                    if !std::mem::replace(&mut noted, true) {
                        self.output.note(format_args!("{error}; retrying"));
                    }
                    self.pause(delay).await;
                    self.relocate().await;
                }
                Err(error) => return Err(task_error(error, &self.task, self.client.endpoint())),
            }
        }
    }

    async fn pause(&self, delay: Duration) {
        match &self.policy {
            RetryPolicy::Until(stop) if !stop.is_cancelled() => {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = stop.cancelled() => {}
                }
            }
            _ => tokio::time::sleep(delay.min(LAST_TRY)).await,
        }
    }

    async fn post(&self, body: &Bytes) -> Result<AppendResponse, ClientError> {
        let path = format!("/api/v1/tasks/{}/lines", self.task);
        let query = [("session", Some(self.session.clone())), ("first_seq", Some(self.next_seq.to_string()))];
        self.client.post(&path, &query, "application/x-ndjson", body.clone()).await
    }

    /// Locates the server again; its address may have changed.
    async fn relocate(&mut self) {
        let endpoint = match self.policy {
            RetryPolicy::Within(_) => self.locator.endpoint_after_loss().await.ok(),
            RetryPolicy::Until(_) => self.locator.find_running().await,
        };
        if let Some(endpoint) = endpoint
            && endpoint != *self.client.endpoint()
        {
            self.client = HttpClient::new(endpoint);
        }
    }
}
