//! `tasktail append` and `tasktail end`: a voice for jobs that have no worker.
//!
//! Lines go out as `sending` has it: as many as are there, and one at once if there is one.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::args::{AppendArgs, EndArgs};
use super::locate::{Locator, Purpose};
use super::mask::MaskedBytes;
use super::output::Output;
use super::sending::{Patience, Sender};
use super::{Context, show};
use crate::worker::LineSplitter;

/// Read from stdin at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that may wait while a batch is on its way; then stdin waits.
const CHUNKS_MAX: usize = 16;
/// A server that is away longer than this ends the command.
const RETRY_FOR: Duration = Duration::from_secs(60);

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
    let mut masker = MaskedBytes::new(&args.mask.masks()?);
    let client = locator.client().await?;
    let mut sender = Sender::new(client, locator, output, args.task, args.stream, Patience::For(RETRY_FOR));
    let mut splitter = LineSplitter::default();
    match args.text {
        Some(text) => sender.take(&mut splitter, &masker.push(text.as_bytes())).await?,
        None => {
            let mut chunks = read_stdin();
            while let Some(chunk) = chunks.recv().await {
                sender.take(&mut splitter, &masker.push(&chunk.context("cannot read stdin")?)).await?;
                while let Ok(chunk) = chunks.try_recv() {
                    sender.take(&mut splitter, &masker.push(&chunk.context("cannot read stdin")?)).await?;
                }
                sender.flush().await?;
            }
        }
    }
    sender.take(&mut splitter, &masker.finish()).await?;
    while let Some(line) = splitter.finish() {
        sender.push(&line)?;
    }
    sender.flush().await?;
    if output.json() {
        output.object(&serde_json::json!({ "appended": sender.sent(), "last_line": sender.last_line() }))?;
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
