//! `tasktail events extract`: finds the events in any text as it arrives.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::print::StdoutLines;
use crate::cli::Context;
use crate::cli::output::Output;
use crate::events::{ExtractedItem, Extractor, ExtractorOptions, clean};

/// Maximum bytes of one read.
const CHUNK_BYTES: usize = 256 * 1024;
/// Silence after which an event that may continue in the next lines is printed.
const SILENCE: Duration = Duration::from_millis(100);
/// Maximum number of rejected events that are reported one by one.
const REJECTED_PRINTED_MAX: u64 = 1_000;

/// `events extract`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints each event unchanged, as compact JSON, as soon as it is found. An event
that Ansible printed twice is printed once. Text that looks like an event but
cannot be parsed is reported on stderr.

Examples:
  ansible-playbook site.yml | tasktail events extract
  tasktail events extract --tasks run.log | jq -r .message
  ./runner | tasktail events extract --ids | tasktail events record --stdin --run nightly-7
  tasktail events extract --strict run.log > events.jsonl")]
pub(super) struct ExtractArgs {
    /// The text [default: stdin]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Also print the LB_TASK objects
    #[arg(long)]
    tasks: bool,
    /// Print each event as it is stored: with its event_id, without nulls
    #[arg(long)]
    ids: bool,
    /// Set the host of events that name none
    #[arg(long, value_name = "H")]
    host: Option<String>,
    /// Exit with 1 if text looks like an event but cannot be parsed
    #[arg(long)]
    strict: bool,
}

/// A printer of extracted events, with counters.
struct ExtractPrinter {
    tasks: bool,
    ids: bool,
    lines: StdoutLines,
    output: Output,
    events: u64,
    echoes: u64,
    rejected: u64,
    /// First error of a write to stdout.
    failed: Option<io::Error>,
}

pub(super) async fn run(args: ExtractArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let mut printer = ExtractPrinter {
        tasks: args.tasks,
        ids: args.ids,
        lines: StdoutLines::new(),
        output,
        events: 0,
        echoes: 0,
        rejected: 0,
        failed: None,
    };
    let mut extractor = Extractor::new(ExtractorOptions { host: args.host, texts: false });
    match args.file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            let text = tokio::fs::File::open(&file).await;
            let text = text.with_context(|| format!("cannot read {}", file.display()))?;
            read(text, &mut extractor, &mut printer)
                .await
                .with_context(|| format!("cannot read {}", file.display()))?;
        }
        None => read(tokio::io::stdin(), &mut extractor, &mut printer).await?,
    }
    extractor.finish(&mut |found| printer.print(found));
    printer.flush()?;
    if printer.rejected > 0 {
        output.note(format_args!("{} events found, {} rejected", printer.events, printer.rejected));
    }
    Ok(u8::from(args.strict && printer.rejected > 0))
}

/// Reads a text to its end. Prints events before it waits for more input.
async fn read(
    mut text: impl AsyncRead + Unpin,
    extractor: &mut Extractor,
    printer: &mut ExtractPrinter,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = if extractor.is_waiting() {
            match timeout(SILENCE, text.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    extractor.flush(&mut |found| printer.print(found));
                    printer.flush()?;
                    text.read(&mut buffer).await
                }
            }
        } else {
            text.read(&mut buffer).await
        };
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        extractor.feed(buffer.get(..read).unwrap_or_default(), &mut |found| printer.print(found));
        printer.flush()?;
    }
}

impl ExtractPrinter {
    fn print(&mut self, found: ExtractedItem<'_>) {
        let printed = match found {
            ExtractedItem::Event(found) => {
                self.events += 1;
                self.lines.json(if self.ids { found.identified.as_str() } else { found.event.as_str() })
            }
            ExtractedItem::Echo { .. } => {
                self.echoes += 1;
                Ok(())
            }
            ExtractedItem::Task(task) if self.tasks => self.lines.json(&task.json),
            ExtractedItem::Rejected(rejected) => {
                self.rejected += 1;
                if self.rejected <= REJECTED_PRINTED_MAX {
                    let place = format!("line {} (byte {})", rejected.line, rejected.offset);
                    let why = format!("{}: {}", rejected.fault, rejected.excerpt);
                    self.output.announce(format_args!("{place}: {}", clean(&why)));
                }
                Ok(())
            }
            ExtractedItem::Task(_) | ExtractedItem::Text { .. } => Ok(()),
        };
        if let Err(error) = printed {
            self.failed.get_or_insert(error);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.lines.flush(),
        }
    }
}
