//! `tasktail doctor --explain`: reports how each event in captured output was processed.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::builder::styling::{AnsiColor, Style};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::super::output::Output;
use super::super::text;
use crate::doctor::explain::{Explainer, Explanation, TextFinding};
use crate::events::clean;

/// Maximum bytes of one read.
const CHUNK_BYTES: usize = 256 * 1024;

pub(super) async fn explain(file: &Path, output: Output) -> anyhow::Result<u8> {
    let mut printer = FindingPrinter { output, failed: None };
    let explained = if file.as_os_str() == "-" {
        read(tokio::io::stdin(), &mut printer).await.context("cannot read stdin")?
    } else {
        let text = tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
        read(text, &mut printer).await.with_context(|| format!("cannot read {}", file.display()))?
    };
    if let Some(error) = printer.failed {
        return Err(error.into());
    }
    if output.json() {
        output.object(&serde_json::json!({ "finding": "summary", "summary": explained }))?;
    } else {
        summary(&explained, output)?;
    }
    Ok(u8::from(!explained.is_ok()))
}

async fn read(mut text: impl AsyncRead + Unpin, printer: &mut FindingPrinter) -> io::Result<Explanation> {
    let mut explainer = Explainer::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = text.read(&mut buffer).await?;
        if read == 0 {
            return Ok(explainer.finish(&mut |finding| printer.print(&finding)));
        }
        explainer.feed(buffer.get(..read).unwrap_or_default(), &mut |finding| printer.print(&finding));
    }
}

/// A printer of findings.
struct FindingPrinter {
    output: Output,
    /// First error of a write to stdout.
    failed: Option<io::Error>,
}

impl FindingPrinter {
    fn print(&mut self, finding: &TextFinding) {
        if self.failed.is_some() {
            return;
        }
        let printed = if self.output.json() { self.output.object(finding) } else { self.output.line(line(finding)) };
        self.failed = printed.err();
    }
}

/// Formats a finding for people.
fn line(finding: &TextFinding) -> String {
    let (place, word, style, words) = match finding {
        TextFinding::Event { line, form, summary, .. } => {
            (*line, "event", AnsiColor::Green.on_default(), format!("{summary}  ({form})"))
        }
        TextFinding::Deduplicated { line, form, of, summary, .. } => {
            (*line, "duplicate", Style::new().dimmed(), format!("of line {of}: {summary}  ({form})"))
        }
        TextFinding::Rejected { line, byte, detail, excerpt, .. } => {
            (*line, "rejected", AnsiColor::Red.on_default(), format!("{detail} (byte {byte}): {excerpt}"))
        }
        TextFinding::Named { line, what, excerpt } => {
            (*line, "no event", AnsiColor::Yellow.on_default(), format!("{what}: {excerpt}"))
        }
    };
    format!("line {place:<7} {style}{word:<9}{style:#}  {}", clean(&words))
}

fn summary(explained: &Explanation, output: Output) -> io::Result<()> {
    let Explanation { lines, events, deduplicated, rejected, named, tasks, causes, .. } = explained;
    let bold = Style::new().bold();
    output.line("")?;
    output.line(format_args!(
        "{bold}{lines} lines: {events} events, {deduplicated} duplicates, {rejected} rejected, \
         {named} lines that only name LB_EVENT, {tasks} LB_TASK lines{bold:#}"
    ))?;
    for cause in causes {
        output.line(format_args!("- {}", text::words(cause)))?;
    }
    io::stdout().flush()
}
