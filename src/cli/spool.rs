//! `tasktail spool`: lists and sends lines that workers left on disk, because the server was unreachable
//! or the worker was killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::locate::{Locator, Purpose, reconnect};
use super::output::Output;
use super::{Context, text};
use crate::config::Settings;
use crate::model::{TaskId, Timestamp, command_line, units};
use crate::worker::WorkerOptions;
use crate::worker::spool::SpoolError;
use crate::worker::unsent::{self, SendOutcome, UnsentSession};

/// `tasktail spool`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail run --spool /var/spool/tasktail -- ./nightly.sh
  tasktail spool list /var/spool/tasktail
  tasktail spool send /var/spool/tasktail")]
pub struct SpoolCommandArgs {
    #[command(subcommand)]
    command: SpoolCommand,
}

#[derive(Debug, Subcommand)]
enum SpoolCommand {
    /// List unsent lines by session
    List(SpoolListArgs),
    /// Send unsent lines
    Send(SpoolSendArgs),
}

/// `tasktail spool list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail spool list /var/spool/tasktail
  TASKTAIL_SPOOL=/var/spool/tasktail tasktail spool list --json | jq -r .task")]
struct SpoolListArgs {
    /// The folder [env: TASKTAIL_SPOOL]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// `tasktail spool send`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines keep their numbers, so no line is stored twice, even if this command is
interrupted and repeated. Confirmed lines are removed from the folder. If a
worker was killed, its task ends as aborted, and a line reports it. A task
whose worker is running is skipped. A sealed task accepts no more lines: they
remain in the folder, and --as sends them as another task. The exit code is 1
if some lines could not be sent.

Examples:
  tasktail spool send /var/spool/tasktail
  tasktail spool send /var/spool/tasktail --task nightly-7
  tasktail spool send /var/spool/tasktail --task nightly-7 --as nightly-7-rest")]
struct SpoolSendArgs {
    /// The folder [env: TASKTAIL_SPOOL]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Send only this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Send the lines as this task instead
    #[arg(long = "as", value_name = "ID", requires = "task")]
    new: Option<TaskId>,
}

/// A session in the JSON output.
#[derive(Debug, Serialize)]
struct SpoolRow {
    task: TaskId,
    session: String,
    /// `ended`, or `killed` if no end was recorded.
    state: &'static str,
    lines: u64,
    bytes: u64,
    started: Timestamp,
    command: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SentRow {
    task: TaskId,
    sent_lines: u64,
}

pub(super) async fn run(args: SpoolCommandArgs, context: Context) -> anyhow::Result<u8> {
    match args.command {
        SpoolCommand::List(args) => list(&dir(args.dir, &context.settings)?, context.output),
        SpoolCommand::Send(args) => {
            let dir = dir(args.dir.clone(), &context.settings)?;
            let locator = Arc::new(Locator::new(context.settings, context.output, Purpose::Query));
            let result = send(&args, &dir, &locator, context.output).await;
            locator.close().await;
            result
        }
    }
}

fn dir(given: Option<PathBuf>, settings: &Settings) -> anyhow::Result<PathBuf> {
    let dir = given.or_else(|| settings.spool.clone());
    dir.context("DIR: no spool folder; name the folder of `run --spool`, or set TASKTAIL_SPOOL")
}

fn list(dir: &Path, output: Output) -> anyhow::Result<u8> {
    let mut failed = false;
    for found in unsent::list(dir, None)? {
        match found {
            Ok(found) => show(found, output)?,
            Err(error) => {
                failed |= !matches!(error, SpoolError::Locked { .. });
                output.note(error);
            }
        }
    }
    Ok(u8::from(failed))
}

fn show(found: UnsentSession, output: Output) -> anyhow::Result<()> {
    let UnsentSession { session, lines, bytes, ended, .. } = found;
    let state = if ended { "ended" } else { "killed" };
    let (task, id, started, command) = (session.task, session.id.to_string(), session.started, session.command);
    if output.json() {
        output.object(&SpoolRow { task, session: id, state, lines, bytes, started, command })?;
        return Ok(());
    }
    let ago = Duration::from_millis(Timestamp::now().as_millis().saturating_sub(started.as_millis()));
    let command = command_line(&command);
    let (size, ago) = (units::show_size(bytes), text::age(ago));
    output.line(format_args!("{task}  {state}  {lines} lines  {size}  {ago} ago  {}", text::words(&command)))?;
    Ok(())
}

async fn send(args: &SpoolSendArgs, dir: &Path, locator: &Arc<Locator>, output: Output) -> anyhow::Result<u8> {
    let (mut wanted, mut failed) = (Vec::new(), false);
    for found in unsent::list(dir, args.task.as_ref())? {
        match found {
            Ok(found) => wanted.push(found),
            Err(error) => {
                failed |= args.task.is_some() || !matches!(error, SpoolError::Locked { .. });
                output.note(error);
            }
        }
    }
    if let (Some(_), [_, _, ..]) = (&args.new, wanted.as_slice()) {
        bail!("--as: {} workers left lines of this task; send them without --as first", wanted.len());
    }
    if wanted.is_empty() {
        output.note(format_args!("nothing to send in {}", dir.display()));
        return Ok(u8::from(failed || args.task.is_some()));
    }
    let endpoint = locator.endpoint().await?;
    for found in wanted {
        let task = args.new.clone().unwrap_or(found.session.task);
        let mut options = WorkerOptions::new(endpoint.to_string(), task.clone());
        options.token = endpoint.token().map(|token| token.reveal().to_owned());
        options.ca_file = endpoint.ca_file().map(Path::to_owned);
        options.notes = Arc::new(move |text| output.note(text));
        options.reconnect = Some(reconnect(locator));
        let outcome = match Box::pin(unsent::send(options, &found.path)).await {
            Ok(outcome) => outcome,
            Err(error) => {
                failed |= args.task.is_some() || !matches!(error, SpoolError::Locked { .. });
                output.note(error);
                continue;
            }
        };
        match outcome {
            SendOutcome::Complete(sent_lines) if output.json() => output.object(&SentRow { task, sent_lines })?,
            SendOutcome::Complete(lines) => output.line(format_args!("{task}: {lines} lines sent"))?,
            SendOutcome::Missing => {}
            SendOutcome::Incomplete(lines) => {
                failed = true;
                let dir = dir.display();
                output.loss(format_args!(
                    "{lines} lines of {task} stay in {dir}, because the server did not confirm them; repeat \
                     `tasktail spool send {dir}` once it does"
                ));
            }
            SendOutcome::TaskEnded(lines) => {
                failed = true;
                let dir = dir.display();
                output.loss(format_args!(
                    "{lines} lines of {task} stay in {dir}: `tasktail spool send {dir} --task {task} --as NEW` sends them \
                     as another task"
                ));
            }
        }
    }
    Ok(u8::from(failed))
}
