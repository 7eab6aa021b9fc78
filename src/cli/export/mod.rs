//! `tasktail export`: writes a task's whole log to stdout, or to a file, which appears once it is complete.

mod cast;

use std::io::{IsTerminal as _, Write as _};
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
use super::{Context, EXIT_INTERRUPTED, interrupted, task_ref, text};
use crate::client::ClientError;
use crate::model::{Channel, ChannelSet, Task, TaskId};
use cast::CastWriter;

/// `tasktail export`.
#[derive(Debug, Args)]
#[command(after_help = "\
A file appears under its name once it is complete. The log of a running task is
exported up to its current last line. Lines of tasktail itself begin with `# ` in
text, as in `follow`; --stream stdout,stderr leaves them out.
A recording in asciicast v2 has the times of the lines from the task's start, a
terminal of 80x24, and tasktail's own lines only with --stream internal.

Examples:
  tasktail export nightly-7 -o nightly-7.log
  tasktail export nightly-7 --stream stdout,stderr | sha256sum
  tasktail export nightly-7 -o nightly-7.ndjson --format ndjson
  tasktail export nightly-7 --timestamps | less
  tasktail export nightly-7 --format asciicast -o nightly-7.cast && asciinema play nightly-7.cast")]
pub struct ExportArgs {
    /// The task: an id or a unique beginning of one [default: the one that runs, or the newest]
    #[arg(value_name = "TASK")]
    task: Option<TaskId>,
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
    /// A recording that asciinema plays
    Asciicast,
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
    let task = task_ref::resolve(&client, args.task.as_ref()).await?;
    let id: TaskId = task.exact_id().parse()?;
    let format = if args.format == ExportFormat::Text { "text" } else { "ndjson" };
    let timestamps = args.timestamps.then(|| "1".to_owned());
    let stream = args.stream.map(|streams| streams.to_string());
    let query = [("format", Some(format.to_owned())), ("timestamps", timestamps), ("stream", stream)];
    let (length, chunks) = client
        .download(&format!("/api/v1/tasks/{id}/log"), &query)
        .await
        .map_err(|error| task_error(error, &id, client.endpoint()))?;
    let internal = args.stream.is_some_and(|streams| streams.contains(Channel::Internal));
    let cast = (args.format == ExportFormat::Asciicast).then(|| CastWriter::new(&task, internal));
    let chunks = std::pin::pin!(converted(chunks, cast));
    if args.output == Path::new("-") {
        to_stdout(chunks).await?;
        report_loss(&task, output);
        return Ok(());
    }
    // The text has about the size that the task reports, unless part of it was trimmed or is left out.
    let whole =
        args.format == ExportFormat::Text && !args.timestamps && task.trimmed_lines == 0 && args.stream.is_none();
    let length = length.filter(|_| args.format != ExportFormat::Asciicast);
    let bar = progress_bar(length.or(whole.then_some(task.bytes)), output);
    let part = PartFile::create(&args.output).await?;
    to_file(part, chunks, &bar, args).await?;
    bar.finish_and_clear();
    output.note(format_args!("{}: {}", args.output.display(), text::counted(task.kept_lines(), "line")));
    report_loss(&task, output);
    Ok(())
}

/// Returns the chunks as they are written: as they come, or as a recording.
fn converted(
    chunks: impl Stream<Item = Result<Bytes, ClientError>>,
    cast: Option<CastWriter>,
) -> impl Stream<Item = anyhow::Result<Bytes>> {
    let end = futures::stream::once(async { Ok(None) });
    let all = chunks.map(|chunk| chunk.map(Some)).chain(end);
    all.scan(cast, |cast, chunk| {
        let write = |chunk: Option<Bytes>| {
            let Some(writer) = cast else { return Ok(chunk.unwrap_or_default()) };
            let mut out = Vec::new();
            match chunk {
                Some(chunk) => writer.convert(&chunk, &mut out)?,
                None => writer.finish(&mut out)?,
            }
            Ok(Bytes::from(out))
        };
        futures::future::ready(Some(chunk.map_err(Into::into).and_then(write)))
    })
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

/// Writes the log to stdout: unchanged, or sanitized for a terminal.
async fn to_stdout(mut chunks: impl Stream<Item = anyhow::Result<Bytes>> + Unpin) -> anyhow::Result<()> {
    let stdout = std::io::stdout();
    let (terminal, choice) = (stdout.is_terminal(), anstream::AutoStream::choice(&stdout));
    let mut rest = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if !terminal {
            stdout.lock().write_all(&chunk)?;
            continue;
        }
        rest.extend_from_slice(&chunk);
        let whole = memchr::memrchr(b'\n', &rest).map_or(0, |end| end + 1);
        let lines: Vec<u8> = rest.drain(..whole).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            let line = text::for_terminal(line, choice != anstream::ColorChoice::Never);
            stdout.lock().write_all(format!("{line}\n").as_bytes())?;
        }
    }
    stdout.lock().write_all(text::for_terminal(&String::from_utf8_lossy(&rest), false).as_bytes())?;
    stdout.lock().flush()?;
    Ok(())
}

async fn to_file(
    mut part: PartFile,
    mut chunks: impl Stream<Item = anyhow::Result<Bytes>> + Unpin,
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
