//! `tasktail events extract`: the events in any text, as soon as they are there.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::args::ExtractArgs;
use super::print::Lines;
use crate::cli::Context;
use crate::cli::output::Output;
use crate::events::{ExtractedItem, Extractor, ExtractorOptions, clean};

/// Read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// What may go on in the next lines is given after so much silence.
const SILENCE: Duration = Duration::from_millis(100);
/// Rejected events that are told one by one.
const REJECTED_TOLD_MAX: u64 = 1_000;

/// What was found so far.
struct Tally {
    tasks: bool,
    ids: bool,
    lines: Lines,
    output: Output,
    events: u64,
    echoes: u64,
    rejected: u64,
    /// Stdout took no more.
    failed: Option<io::Error>,
}

pub(super) async fn run(args: ExtractArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let mut tally = Tally {
        tasks: args.tasks,
        ids: args.ids,
        lines: Lines::new(),
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
            read(text, &mut extractor, &mut tally).await.with_context(|| format!("cannot read {}", file.display()))?;
        }
        None => read(tokio::io::stdin(), &mut extractor, &mut tally).await?,
    }
    extractor.finish(&mut |found| tally.take(found));
    tally.flush()?;
    if tally.rejected > 0 {
        output.note(format_args!("{} events found, {} rejected", tally.events, tally.rejected));
    }
    Ok(u8::from(args.strict && tally.rejected > 0))
}

/// Reads a text to its end. What is found goes out before more is waited for.
async fn read(mut text: impl AsyncRead + Unpin, extractor: &mut Extractor, tally: &mut Tally) -> anyhow::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = if extractor.is_waiting() {
            match timeout(SILENCE, text.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    extractor.flush(&mut |found| tally.take(found));
                    tally.flush()?;
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
        extractor.feed(buffer.get(..read).unwrap_or_default(), &mut |found| tally.take(found));
        tally.flush()?;
    }
}

impl Tally {
    fn take(&mut self, found: ExtractedItem<'_>) {
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
                if self.rejected <= REJECTED_TOLD_MAX {
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
