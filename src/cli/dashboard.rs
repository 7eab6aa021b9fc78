//! `tasktail dashboard`: shows a run full-screen.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::{Context, interrupted};
use crate::client::HttpClient;
use crate::config::{ConfigError, SettingSource};
use crate::dashboard::{self, DashboardState, Input, InputFeed, LogRow, RowLevel};
use crate::model::{RunId, RunStatus};

/// `tasktail dashboard`.
#[derive(Debug, Args)]
#[command(after_help = "\
Shows three panels: the Run Journal (the state of every repetition or step, or
the play, the task and the hosts of an ordinary playbook),
the Event Status (whether the stream is live, and how many events each stage
has seen, so that a loss shows as a lower number) and the Log Stream. Shows
events live from a run at a server, from text on stdin (LB_EVENT lines in the
output of Ansible or any other program), or from a file. An event is a line
that contains, anywhere and however Ansible quotes it:
  LB_EVENT {\"host\": \"web1\", \"workload\": \"fio\", \"repetition\": 1, \"status\": \"running\"}
Press q to quit, ? to list the other keys. At the end of stdin the last screen
remains until q; with --exit the dashboard exits at once. If stdout is not a
terminal, the log is printed line by line instead. The exit code is 0, or with
--exit-status 1 if the run failed, or if Ansible's PLAY RECAP reports a host
that failed or was unreachable.

Examples:
  tasktail dashboard --run nightly-7
  ansible-playbook -i hosts bench.yml | tasktail dashboard
  ansible-playbook bench.yml 2>&1 | tasktail dashboard --log ansible.log
  tasktail dashboard --file runs/r1/events.jsonl
  ./bench.sh | tasktail dashboard --exit --exit-status > bench.log")]
pub struct DashboardArgs {
    /// Show this run at a server; it may be created later
    #[arg(long, value_name = "ID", conflicts_with_all = ["file", "log"])]
    pub(super) run: Option<RunId>,
    /// Show a file of events (events.jsonl), or of text that contains events; it may still grow
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    pub(super) file: Option<PathBuf>,
    /// Copy stdin unchanged to this file
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Exit at once when stdin ends; with --run or --file, when everything in the run has ended
    #[arg(long)]
    pub(super) exit: bool,
    /// Exit with 1 if the run failed
    #[arg(long)]
    pub(super) exit_status: bool,
}

pub(super) async fn run(args: DashboardArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = show(args, &locator, output).await;
    locator.close().await;
    result
}

async fn show(args: DashboardArgs, locator: &Locator, output: Output) -> anyhow::Result<u8> {
    let input = input(&args, locator).await?;
    let state = DashboardState::new(input.source(), input.is_text(), args.run.clone());
    let feed = input.start().await?;
    let state = if io::stdout().is_terminal() {
        Box::pin(dashboard::show(feed, state, args.exit)).await?
    } else {
        Box::pin(print(feed, state, args.exit, output)).await?
    };
    print_result(&state, output);
    let failed = state.run().is_some_and(|run| run.status == RunStatus::Failed) || state.recap().has_failed();
    Ok(u8::from(args.exit_status && failed))
}

async fn input(args: &DashboardArgs, locator: &Locator) -> anyhow::Result<Input> {
    if let Some(run) = &args.run {
        let events = locator.client().await?;
        let counters = HttpClient::new(events.endpoint().clone());
        return Ok(Input::Server { events: Box::new(events), counters: Box::new(counters), run: run.clone() });
    }
    if let Some(file) = &args.file {
        return Ok(Input::File(file.clone()));
    }
    if io::stdin().is_terminal() {
        let why = "nothing to show: name a run (--run ID) or a file (--file FILE), \
                   or pipe in a command's output (ansible-playbook ... | tasktail dashboard)";
        return Err(ConfigError::Value { at: SettingSource::Flag("--run".to_owned()), why: why.to_owned() }.into());
    }
    Ok(Input::Pipe { keep: args.log.clone() })
}

/// Prints the log line by line, until its end or Ctrl-C.
async fn print(
    feed: InputFeed,
    mut state: DashboardState,
    exit: bool,
    output: Output,
) -> anyhow::Result<DashboardState> {
    let mut each = |row: &LogRow| {
        if row.lines + row.events > 0 {
            return output.line(row.plain());
        }
        output.note(row.plain());
        Ok(())
    };
    tokio::select! {
        result = dashboard::follow_plain(feed, &mut state, exit, &mut each) => result?,
        result = interrupted() => result?,
    }
    Ok(state)
}

/// Prints the result of the run after the screen is closed.
fn print_result(state: &DashboardState, output: Output) {
    if let Some(recap) = state.recap().summary() {
        output.note(recap);
        if state.run().is_none() {
            return;
        }
    }
    let Some(run) = state.run() else {
        let counts = state.counts();
        return output.note(format_args!("no event in {} lines of text", counts.input));
    };
    let failures = if run.failures > 0 { format!(", {} of a failure", run.failures) } else { String::new() };
    output.note(format_args!("run {}: {}, {} events{failures}", run.id, run.status, run.events));
    let failed = state.all().rows().rev().find(|row| row.level == RowLevel::Error && row.events > 0);
    if let Some(row) = failed {
        output.note(format_args!("last failure: {}", row.plain()));
    }
}
