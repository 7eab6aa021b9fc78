//! `tasktail spool`: what workers have left on disk, because the server was away or they were killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::run::reconnect;
use super::{Context, text};
use crate::config::Settings;
use crate::model::{TaskId, Timestamp, command_line, units};
use crate::worker::WorkerOptions;
use crate::worker::spool::{self, LeftSession, Sent, SpoolError};

/// `tasktail spool`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail run --spool /var/spool/tasktail -- ./nightly.sh
  tasktail spool list /var/spool/tasktail
  tasktail spool send /var/spool/tasktail")]
pub struct SpoolArgs {
    #[command(subcommand)]
    command: SpoolCommand,
}

#[derive(Debug, Subcommand)]
enum SpoolCommand {
    /// Show what was not sent
    List(SpoolListArgs),
    /// Send it
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
Lines keep their numbers, so nothing arrives twice, also when this is ended in
the middle and called again. What the server has confirmed is removed. The end
of a worker that was killed is not known: its task ends as aborted, and a line
says so. A task whose worker still runs is left alone. A server that has sealed
a task meanwhile takes no more lines of it: they stay in the folder, and --as
sends them as another task. Exit code 1 if something could not be sent.

Examples:
  tasktail spool send /var/spool/tasktail
  tasktail spool send /var/spool/tasktail --task nightly-7
  tasktail spool send /var/spool/tasktail --task nightly-7 --as nightly-7-rest")]
struct SpoolSendArgs {
    /// The folder [env: TASKTAIL_SPOOL]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Send its lines to this task instead
    #[arg(long = "as", value_name = "ID", requires = "task")]
    new: Option<TaskId>,
}

/// A session, for people and programs.
#[derive(Debug, Serialize)]
struct Row {
    task: TaskId,
    session: String,
    /// `ended`, or `killed`: its end is not known.
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

pub(super) async fn run(args: SpoolArgs, context: Context) -> anyhow::Result<u8> {
    match args.command {
        SpoolCommand::List(args) => list(&dir(args.dir, &context.settings)?, context.output),
        SpoolCommand::Send(args) => {
            let dir = dir(args.dir.clone(), &context.settings)?;
            let locator = Arc::new(Locator::new(context.settings, context.output, Purpose::Look));
            let result = send(&args, &dir, &locator, context.output).await;
            locator.close().await;
            result
        }
    }
}

fn dir(given: Option<PathBuf>, settings: &Settings) -> anyhow::Result<PathBuf> {
    let dir = given.or_else(|| settings.spool.clone());
    dir.context("DIR: no folder is given, and none is set: give the one that `run --spool` used, or set TASKTAIL_SPOOL")
}

fn list(dir: &Path, output: Output) -> anyhow::Result<u8> {
    let mut failed = false;
    for found in spool::list(dir)? {
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

fn show(found: LeftSession, output: Output) -> anyhow::Result<()> {
    let LeftSession { session, lines, bytes, ended, .. } = found;
    let state = if ended { "ended" } else { "killed" };
    let (task, id, started, command) = (session.task, session.id.to_string(), session.started, session.command);
    if output.json() {
        output.object(&Row { task, session: id, state, lines, bytes, started, command })?;
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
    for found in spool::list(dir)? {
        match found {
            Ok(found) if args.task.as_ref().is_none_or(|task| found.session.task == *task) => wanted.push(found),
            Ok(_) => {}
            Err(error) => {
                failed |= args.task.is_some() || !matches!(error, SpoolError::Locked { .. });
                output.note(error);
            }
        }
    }
    if let (Some(_), [_, _, ..]) = (&args.new, wanted.as_slice()) {
        bail!("--as: {} workers have left lines of this task: send them as they are first", wanted.len());
    }
    if wanted.is_empty() {
        output.note(format_args!("there is nothing to send in {}", dir.display()));
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
        match Box::pin(spool::send(options, &found.path)).await? {
            Sent::All(sent_lines) if output.json() => output.object(&SentRow { task, sent_lines })?,
            Sent::All(lines) => output.line(format_args!("{task}: {lines} lines sent"))?,
            Sent::Gone => {}
            Sent::NotAll(_) => failed = true,
            Sent::TaskEnded(lines) => {
                failed = true;
                let dir = dir.display();
                output.note(format_args!(
                    "{lines} lines of {task} stay in {dir}: `tasktail spool send {dir} --task {task} --as NEW` sends them \
                     as another task"
                ));
            }
        }
    }
    Ok(u8::from(failed))
}
