//! `tasktail doctor`: a sentinel through every hop; `--explain`: captured output explained.

mod explain;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::styling::{AnsiColor, Style};

use super::Context;
use super::locate::{Locator, Purpose};
use super::output::Output;
use crate::doctor::{self, CheckResult, DoctorOptions, StageCheck};
use crate::events::clean;
use crate::model::units;

/// `tasktail doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Sends a sentinel the way of a runner's output and events: store, worker socket,
journal, viewer socket, SSE, extraction, dedupe, run state, and a file through
its follower and the server's folder of runs. Each hop is `ok` with its
milliseconds, or what arrived, what was expected and the likely cause. What
the sentinel left is removed. Exit code 1 if a hop failed.

With --explain: for each event in captured output whether it was recognised,
rejected (and why) or there already (and where), and what is likely behind it.
Exit code 1 if nothing was recognised or something was rejected.

Examples:
  tasktail doctor
  tasktail --url http://127.0.0.1:7117 doctor --json
  tasktail doctor --explain ansible.log
  ansible-playbook site.yml 2>&1 | tasktail doctor --explain -
  tasktail doctor --explain ansible.log --json | jq 'select(.finding == \"rejected\")'")]
pub struct DoctorArgs {
    /// Explain captured output instead; `-` is stdin
    #[arg(long, value_name = "FILE")]
    explain: Option<PathBuf>,
    /// How long a hop may take before it counts as broken
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration, conflicts_with = "explain")]
    timeout: Duration,
    /// Where the events file is tried, if the server bridges no folder of runs [default: a temporary folder]
    #[arg(long, value_name = "DIR", conflicts_with = "explain")]
    folder: Option<PathBuf>,
}

pub(super) async fn run(args: DoctorArgs, context: Context) -> anyhow::Result<u8> {
    if let Some(file) = args.explain {
        return explain::explain(&file, context.output).await;
    }
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Look);
    let endpoint = locator.endpoint().await?;
    output.note(format_args!("the pipe of the server at {endpoint}"));
    let options = DoctorOptions { endpoint, timeout: args.timeout, folder: args.folder };
    let mut told = Ok(());
    let healthy = doctor::run(options, &mut |check| {
        if told.is_ok() {
            told = tell(check, output);
        }
    })
    .await;
    locator.close().await;
    told?;
    Ok(u8::from(!healthy))
}

fn tell(check: &StageCheck, output: Output) -> std::io::Result<()> {
    if output.json() {
        return output.object(check);
    }
    let (good, bad, muted) = (AnsiColor::Green.on_default(), AnsiColor::Red.on_default().bold(), Style::new().dimmed());
    let hop = check.hop;
    match &check.finding {
        CheckResult::Ok { ms } => output.line(format_args!("{good}ok{good:#}       {hop:<14} {ms:>8.1} ms")),
        CheckResult::Skipped { why } => output.line(format_args!("{muted}skipped  {hop:<14} {}{muted:#}", clean(why))),
        CheckResult::Failed(trouble) => {
            output.line(format_args!("{bad}FAILED{bad:#}   {hop:<14} arrived:  {}", clean(&trouble.arrived)))?;
            output.line(format_args!("{:24}expected: {}", "", clean(&trouble.expected)))?;
            output.line(format_args!("{:24}likely:   {}", "", clean(&trouble.cause)))
        }
    }
}
