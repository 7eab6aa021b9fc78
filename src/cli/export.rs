//! `tasktail export`: writes a task's whole log to a file, which appears once it is complete.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures::{Stream, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::locate::{Locator, Purpose};
use super::output::{Output, task_error};
use super::values::channels;
use super::{Context, EXIT_INTERRUPTED, interrupted, show, text};
use crate::client::ClientError;
use crate::model::{ChannelSet, Task, TaskId};

/// `tasktail export`.
#[derive(Debug, Args)]
#[command(after_help = "\
A file appears under its name once it is complete. The log of a running task is
exported up to its current last line. Lines of tasktail itself begin with `# ` in
text, as in `follow`; --stream stdout,stderr leaves them out.

Examples:
  tasktail export nightly-7 -o nightly-7.log
  tasktail export nightly-7 --stream stdout,stderr | sha256sum
  tasktail export nightly-7 -o nightly-7.ndjson --format ndjson
  tasktail export nightly-7 --timestamps | less")]
pub struct ExportArgs {
    /// The task
    #[arg(value_name = "TASK")]
    task: TaskId,
    /// Write to this file; `-`, the default, is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    output: PathBuf,
    /// Export only these streams: stdout, stderr, internal; separated by commas
    #[arg(long, value_name = "S,..", value_parser = channels)]
    stream: Option<ChannelSet>,
    /// Set the format of the lines
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ExportFormat,
    /// Prefix each line of text with its timestamp
    #[arg(long)]
    timestamps: bool,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// `export --format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Lines of text
    Text,
    /// One JSON object per line
    Ndjson,
}

pub(super) async fn run(args: ExportArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    if args.output != Path::new("-") {
        refuse_overwrite(&args)?;
    }
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = tokio::select! {
        result = export(&args, &locator, output) => result.map(|()| 0),
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    };
    locator.close().await;
    result
}

async fn export(args: &ExportArgs, locator: &Locator, output: Output) -> anyhow::Result<()> {
    let client = locator.client().await?;
    let task = show::get(&client, &args.task).await?;
    let format = if args.format == ExportFormat::Ndjson { "ndjson" } else { "text" };
    let timestamps = args.timestamps.then(|| "1".to_owned());
    let stream = args.stream.map(|streams| streams.to_string());
    let query = [("format", Some(format.to_owned())), ("timestamps", timestamps), ("stream", stream)];
    let (length, chunks) = client
        .download(&format!("/api/v1/tasks/{}/log", args.task), &query)
        .await
        .map_err(|error| task_error(error, &args.task, client.endpoint()))?;
    let chunks = std::pin::pin!(chunks);
    if args.output == Path::new("-") {
        to_stdout(chunks).await?;
        report_loss(&task, output);
        return Ok(());
    }
    // The text has about the size that the task reports, unless part of it was trimmed or is left out.
    let whole =
        args.format == ExportFormat::Text && !args.timestamps && task.trimmed_lines == 0 && args.stream.is_none();
    let bar = progress_bar(length.or(whole.then_some(task.bytes)), output);
    let part = PartFile::create(&args.output).await?;
    to_file(part, chunks, &bar, args).await?;
    bar.finish_and_clear();
    output.note(format_args!("{}: {}", args.output.display(), text::counted(task.kept_lines(), "line")));
    report_loss(&task, output);
    Ok(())
}

/// Reports what is missing in an exported log.
fn report_loss(task: &Task, output: Output) {
    if let Some(loss) = task.loss() {
        output.loss(format_args!("the log of {} is {loss}", task.id));
    }
}

fn refuse_overwrite(args: &ExportArgs) -> anyhow::Result<()> {
    if args.output.is_dir() {
        bail!("{} is a folder; name a file", args.output.display());
    }
    if !args.force && args.output.symlink_metadata().is_ok() {
        bail!("{} already exists; use --force to replace it", args.output.display());
    }
    Ok(())
}

async fn to_stdout(mut chunks: impl Stream<Item = Result<Bytes, ClientError>> + Unpin) -> anyhow::Result<()> {
    while let Some(chunk) = chunks.next().await {
        std::io::stdout().lock().write_all(&chunk?)?;
    }
    std::io::stdout().lock().flush()?;
    Ok(())
}

async fn to_file(
    mut part: PartFile,
    mut chunks: impl Stream<Item = Result<Bytes, ClientError>> + Unpin,
    bar: &ProgressBar,
    args: &ExportArgs,
) -> anyhow::Result<()> {
    let cannot_write = || format!("cannot write {}", part_name(&args.output).display());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        part.file.write_all(&chunk).await.with_context(cannot_write)?;
        bar.inc(chunk.len() as u64);
    }
    part.file.flush().await.with_context(cannot_write)?;
    part.file.sync_all().await.with_context(cannot_write)?;
    // The file may have been created in the meantime.
    refuse_overwrite(args)?;
    tokio::fs::rename(&part.path, &args.output)
        .await
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    part.kept = true;
    Ok(())
}

/// An incomplete file, removed on drop unless it was renamed.
struct PartFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl PartFile {
    async fn create(target: &Path) -> anyhow::Result<Self> {
        let path = part_name(target);
        let file = File::create(&path).await.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file, kept: false })
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.kept {
            // A leftover file is harmless: its name marks it as incomplete.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Returns the name of the incomplete file: hidden, unique to this process, and in the same folder so that
/// the rename is atomic.
fn part_name(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

/// Returns a progress bar on stderr, which is drawn only on a terminal.
fn progress_bar(length: Option<u64>, output: Output) -> ProgressBar {
    if output.quiet() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
