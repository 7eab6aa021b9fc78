//! `tasktail append` and `tasktail end`: a voice for jobs that have no worker.
//!
//! Lines go out in batches, as many as are there and one at once if there is one. Each batch says
//! which of this session's lines it begins with, so a batch that is sent again, because its answer
//! was lost, doubles nothing.

use std::time::Duration;

use anyhow::{Context as _, bail};
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use ulid::Ulid;

use super::args::{AppendArgs, EndArgs};
use super::locate::{Locator, Purpose};
use super::output::Output;
use super::{Context, show};
use crate::client::{ClientError, HttpClient};
use crate::model::{Channel, TaskId, Timestamp};
use crate::wire::worker::OutgoingLine;
use crate::worker::LineSplitter;

/// A batch is sent once its body has this size.
const BATCH_BYTES: usize = 512 * 1024;
/// Read from stdin at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that may wait while a batch is on its way; then stdin waits.
const CHUNKS_MAX: usize = 16;
/// A server that is away longer than this ends the command.
const RETRY_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
struct Appended {
    last_line: u64,
}

pub(super) async fn run(args: AppendArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Look);
    let result = append(args, &locator, output).await;
    locator.close().await;
    result.map(|()| 0)
}

pub(super) async fn end(args: EndArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Look);
    let result = send_end(&args, &locator).await;
    locator.close().await;
    let answer = result?;
    if output.json() {
        output.object(&answer)?;
    }
    Ok(0)
}

async fn send_end(args: &EndArgs, locator: &Locator) -> anyhow::Result<serde_json::Value> {
    let client = locator.client().await?;
    let body = serde_json::json!({ "exit_code": args.exit_code }).to_string();
    let path = format!("/api/v1/tasks/{}/end", args.task);
    let answer = client.post(&path, &[], "application/json", body.into()).await;
    answer.map_err(|error| show::task_error(error, &args.task, client.endpoint()))
}

async fn append(args: AppendArgs, locator: &Locator, output: Output) -> anyhow::Result<()> {
    let mut sender = Sender {
        client: locator.client().await?,
        locator,
        output,
        task: args.task,
        channel: args.stream,
        session: Ulid::generate().to_string(),
        next_seq: 1,
        batch: Batch::default(),
        last_line: 0,
    };
    let mut splitter = LineSplitter::default();
    match args.text {
        Some(text) => sender.take(&mut splitter, text.as_bytes()).await?,
        None => {
            let mut chunks = read_stdin();
            while let Some(chunk) = chunks.recv().await {
                sender.take(&mut splitter, &chunk.context("cannot read stdin")?).await?;
                while let Ok(chunk) = chunks.try_recv() {
                    sender.take(&mut splitter, &chunk.context("cannot read stdin")?).await?;
                }
                sender.flush().await?;
            }
        }
    }
    while let Some(line) = splitter.finish() {
        sender.push(&line.text, line.partial, line.lossy)?;
    }
    sender.flush().await?;
    if output.json() {
        let appended = sender.next_seq - 1;
        output.object(&serde_json::json!({ "appended": appended, "last_line": sender.last_line }))?;
    }
    Ok(())
}

/// Stdin in chunks as they come, read ahead a little.
fn read_stdin() -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let chunk = match stdin.read(&mut buffer).await {
                Ok(0) => return,
                Ok(read) => Ok(Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default())),
                Err(error) => Err(error),
            };
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Lines on their way, numbered.
struct Sender<'a> {
    client: HttpClient,
    locator: &'a Locator,
    output: Output,
    task: TaskId,
    channel: Channel,
    session: String,
    /// The number of the first line that is not sent yet.
    next_seq: u64,
    batch: Batch,
    /// The line number that the server gave to the last line.
    last_line: u64,
}

#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    lines: u64,
}

impl Sender<'_> {
    async fn take(&mut self, splitter: &mut LineSplitter, mut bytes: &[u8]) -> anyhow::Result<()> {
        while let Some(line) = splitter.next_line(&mut bytes) {
            self.push(&line.text, line.partial, line.lossy)?;
            if self.batch.body.len() >= BATCH_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn push(&mut self, line: &str, partial: bool, lossy: bool) -> anyhow::Result<()> {
        let line = OutgoingLine { line, timestamp: Timestamp::now(), channel: self.channel, partial, lossy };
        serde_json::to_writer(&mut self.batch.body, &line)?;
        self.batch.body.push(b'\n');
        self.batch.lines += 1;
        Ok(())
    }

    /// Sends what is gathered and waits until it is kept.
    async fn flush(&mut self) -> anyhow::Result<()> {
        let Batch { body, lines } = std::mem::take(&mut self.batch);
        if lines == 0 {
            return Ok(());
        }
        let body = Bytes::from(body);
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times()
            .with_total_delay(Some(RETRY_FOR))
            .build();
        let mut noted = false;
        loop {
            match self.post(&body).await {
                Ok(answer) => {
                    self.next_seq += lines;
                    self.last_line = answer.last_line;
                    return Ok(());
                }
                Err(error) if error.is_passing() => {
                    let Some(delay) = delays.next() else {
                        bail!("{error}; the {lines} lines from line {} of the input on were not sent", self.next_seq);
                    };
                    if !std::mem::replace(&mut noted, true) {
                        self.output.note(format_args!("{error}; trying again"));
                    }
                    tokio::time::sleep(delay).await;
                    self.look_again().await;
                }
                Err(error) => return Err(show::task_error(error, &self.task, self.client.endpoint())),
            }
        }
    }

    async fn post(&self, body: &Bytes) -> Result<Appended, ClientError> {
        let path = format!("/api/v1/tasks/{}/lines", self.task);
        let query = [("session", Some(self.session.clone())), ("first_seq", Some(self.next_seq.to_string()))];
        self.client.post(&path, &query, "application/x-ndjson", body.clone()).await
    }

    /// The server may be elsewhere now.
    async fn look_again(&mut self) {
        if let Ok(endpoint) = self.locator.endpoint_after_loss().await
            && endpoint != *self.client.endpoint()
        {
            self.client = HttpClient::new(endpoint);
        }
    }
}
