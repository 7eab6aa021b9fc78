//! `tasktail append` and `tasktail end`: write to a task without a worker.
//!
//! Lines are sent in batches by `sender`: all available lines together, a single line at once.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::Context;
use super::locate::{Locator, Purpose};
use super::mask::{MaskArgs, MaskedBytes};
use super::output::{Output, task_error};
use super::sender::{LineSender, RetryPolicy};
use crate::model::{Channel, TaskId};
use crate::worker::LineSplitter;

/// Maximum bytes of one read from stdin.
const CHUNK_BYTES: usize = 64 * 1024;
/// Maximum number of chunks that are read ahead while a batch is sent.
const CHUNKS_MAX: usize = 16;
/// Maximum outage of the server; then the command fails.
const RETRY_FOR: Duration = Duration::from_secs(60);

/// `tasktail append`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail append --task nightly-7 'unpacked, 12 files'
  ./job 2>&1 | tasktail append --task nightly-7
  tasktail append --stream internal 'step 2 of 5'        inside `tasktail run`: to its task")]
pub struct AppendArgs {
    /// Append to this task; inside `tasktail run` the default is its task
    #[arg(long, value_name = "ID", env = "TASKTAIL_TASK")]
    task: TaskId,
    /// Set the stream of the lines: stdout, stderr or internal
    #[arg(long, value_name = "S", default_value = "stdout")]
    stream: Channel,
    #[command(flatten)]
    mask: MaskArgs,
    /// The text [default: read stdin and send each line as it arrives]
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
}

/// `tasktail end`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail end --task nightly-7 --exit-code 0
  ./job | tasktail append --task j1; tasktail end --task j1 --exit-code ${PIPESTATUS[0]}")]
pub struct EndArgs {
    /// End this task; inside `tasktail run` the default is its task
    #[arg(long, value_name = "ID", env = "TASKTAIL_TASK")]
    task: TaskId,
    /// Set the task's exit code
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    exit_code: i32,
}

pub(super) async fn run(args: AppendArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = append(args, &locator, output).await;
    locator.close().await;
    result.map(|()| 0)
}

pub(super) async fn end(args: EndArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
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
    answer.map_err(|error| task_error(error, &args.task, client.endpoint()))
}

async fn append(args: AppendArgs, locator: &Locator, output: Output) -> anyhow::Result<()> {
    let mut masker = MaskedBytes::new(&args.mask.masks()?);
    let client = locator.client().await?;
    let mut sender = LineSender::new(client, locator, output, args.task, args.stream, RetryPolicy::Within(RETRY_FOR));
    let mut splitter = LineSplitter::default();
    match args.text {
        Some(text) => sender.push_lines(&mut splitter, &masker.push(text.as_bytes())).await?,
        None => {
            let mut chunks = read_stdin();
            while let Some(chunk) = chunks.recv().await {
                sender.push_lines(&mut splitter, &masker.push(&chunk.context("cannot read stdin")?)).await?;
                while let Ok(chunk) = chunks.try_recv() {
                    sender.push_lines(&mut splitter, &masker.push(&chunk.context("cannot read stdin")?)).await?;
                }
                sender.flush().await?;
            }
        }
    }
    sender.push_lines(&mut splitter, &masker.finish()).await?;
    while let Some(line) = splitter.finish() {
        sender.push_split(&line)?;
    }
    sender.flush().await?;
    if output.json() {
        output.object(&serde_json::json!({ "appended": sender.sent(), "last_line": sender.last_line() }))?;
    }
    Ok(())
}

/// Returns a channel of the chunks of stdin, with a bounded read-ahead.
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
