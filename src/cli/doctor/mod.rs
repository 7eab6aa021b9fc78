//! `tasktail doctor`: sends a test message through every stage; `--explain` analyses captured output.

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
Sends a test message along the path of a runner's output and events: store,
worker socket, journal, viewer socket, SSE, extraction, deduplication, run
state, and a file through its follower and the server's folder of runs. Prints
for each stage `ok` and its time, or what arrived, what was expected and the
likely cause. Removes the test data. The exit code is 1 if a stage failed.

With --explain, reports for each event in captured output whether it was
recognised, rejected (and why) or a duplicate (and of which line), and the
likely cause. The exit code is 1 if no event was recognised or one was rejected.

Examples:
  tasktail doctor
  tasktail --url http://127.0.0.1:7117 doctor --json
  tasktail doctor --explain ansible.log
  ansible-playbook site.yml 2>&1 | tasktail doctor --explain -
  tasktail doctor --explain ansible.log --json | jq 'select(.finding == \"rejected\")'")]
pub struct DoctorArgs {
    /// Explain the events in captured output instead; `-` is stdin
    #[arg(long, value_name = "FILE")]
    explain: Option<PathBuf>,
    /// Fail a stage after this time
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration, conflicts_with = "explain")]
    timeout: Duration,
    /// Test the events file in this folder if the server reads no folder of runs [default: a temporary folder]
    #[arg(long, value_name = "DIR", conflicts_with = "explain")]
    folder: Option<PathBuf>,
}

pub(super) async fn run(args: DoctorArgs, context: Context) -> anyhow::Result<u8> {
    if let Some(file) = args.explain {
        return explain::explain(&file, context.output).await;
    }
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let endpoint = locator.endpoint().await?;
    output.note(format_args!("checking the server at {endpoint}"));
    let options = DoctorOptions { endpoint, timeout: args.timeout, folder: args.folder };
    let mut printed = Ok(());
    let healthy = doctor::run(options, &mut |check| {
        if printed.is_ok() {
            printed = print_check(check, output);
        }
    })
    .await;
    locator.close().await;
    printed?;
    Ok(u8::from(!healthy))
}

fn print_check(check: &StageCheck, output: Output) -> std::io::Result<()> {
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
