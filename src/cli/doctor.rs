//! `tasktail doctor`: a sentinel through every hop; `--explain`: captured output explained.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::output::Output;
use super::{Context, text};
use crate::doctor::explain::{Explained, Explainer, Finding};
use crate::events::clean;

/// Read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// `tasktail doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --explain: for each event in captured output whether it was recognised,
rejected (and why) or there already (and where), and what is likely behind it.
Exit code 1 if nothing was recognised or something was rejected.

Examples:
  tasktail doctor
  tasktail doctor --explain ansible.log
  ansible-playbook site.yml 2>&1 | tasktail doctor --explain -
  tasktail doctor --explain ansible.log --json | jq 'select(.finding == \"rejected\")'")]
pub struct DoctorArgs {
    /// Explain captured output instead; `-` is stdin
    #[arg(long, value_name = "FILE")]
    explain: Option<PathBuf>,
}

pub(super) async fn run(args: DoctorArgs, context: Context) -> anyhow::Result<u8> {
    match args.explain {
        Some(file) => explain(&file, context.output).await,
        None => bail!("only `tasktail doctor --explain FILE` is there yet"),
    }
}

async fn explain(file: &Path, output: Output) -> anyhow::Result<u8> {
    let mut teller = Teller { output, failed: None };
    let explained = if file.as_os_str() == "-" {
        read(tokio::io::stdin(), &mut teller).await.context("cannot read stdin")?
    } else {
        let text = tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
        read(text, &mut teller).await.with_context(|| format!("cannot read {}", file.display()))?
    };
    if let Some(error) = teller.failed {
        return Err(error.into());
    }
    if output.json() {
        output.object(&serde_json::json!({ "finding": "summary", "summary": explained }))?;
    } else {
        summary(&explained, output)?;
    }
    Ok(u8::from(!explained.is_well()))
}

async fn read(mut text: impl AsyncRead + Unpin, teller: &mut Teller) -> io::Result<Explained> {
    let mut explainer = Explainer::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = text.read(&mut buffer).await?;
        if read == 0 {
            return Ok(explainer.finish(&mut |finding| teller.tell(&finding)));
        }
        explainer.feed(buffer.get(..read).unwrap_or_default(), &mut |finding| teller.tell(&finding));
    }
}

/// Prints findings as they come.
struct Teller {
    output: Output,
    /// Stdout took no more.
    failed: Option<io::Error>,
}

impl Teller {
    fn tell(&mut self, finding: &Finding) {
        if self.failed.is_some() {
            return;
        }
        let told = if self.output.json() { self.output.object(finding) } else { self.output.line(line(finding)) };
        self.failed = told.err();
    }
}

/// A finding for people.
fn line(finding: &Finding) -> String {
    let (place, word, style, words) = match finding {
        Finding::Event { line, form, summary, .. } => {
            (*line, "event", AnsiColor::Green.on_default(), format!("{summary}  ({form})"))
        }
        Finding::Deduplicated { line, form, of, summary, .. } => {
            (*line, "duplicate", Style::new().dimmed(), format!("of line {of}: {summary}  ({form})"))
        }
        Finding::Rejected { line, byte, detail, excerpt, .. } => {
            (*line, "rejected", AnsiColor::Red.on_default(), format!("{detail} (byte {byte}): {excerpt}"))
        }
        Finding::Named { line, what, excerpt } => {
            (*line, "no event", AnsiColor::Yellow.on_default(), format!("{what}: {excerpt}"))
        }
    };
    format!("line {place:<7} {style}{word:<9}{style:#}  {}", clean(&words))
}

fn summary(explained: &Explained, output: Output) -> io::Result<()> {
    let Explained { lines, events, deduplicated, rejected, named, tasks, causes, .. } = explained;
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
