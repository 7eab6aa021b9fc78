//! `tasktail ship`: growing files as a task's lines.
//!
//! Each file is followed and sent on its own, in its own session: a file is its own buffer, so a
//! server that is away only makes the follower wait. What happens to a file (`file` sends it) is told
//! here and in the task, as `internal` lines.

mod file;
mod names;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use self::file::{Shipment, Shipped};
use super::locate::{Locator, Purpose};
use super::mask::MaskArgs;
use super::output::Output;
use super::sending::{Patience, Sender};
use super::{Context, interrupted, show};
use crate::client::HttpClient;
use crate::events::{FileFollower, FollowFileOptions};
use crate::model::{Channel, TaskId};
use crate::worker::Masks;

/// Files that one command follows.
const FILES_MAX: usize = 1_000;

/// `tasktail ship`.
#[derive(Debug, Args)]
#[command(after_help = "\
Sends what is written to the files from now on, each line whole and once,
through rotation, truncation and rewriting; a file that is not there yet is
waited for. What happens to a file is told on stderr and in the task. SIGTERM
and SIGINT end it once everything that is in the files was sent.
With --from-start a file that was shipped before is not sent twice: the task
knows each file's lines by their numbers. A line that is still without its
newline at the end of --no-follow is sent as it is.

Examples:
  tasktail ship /var/log/syslog --task host-1
  tasktail ship build/*.log --task nightly-7 --from-start
  tasktail ship out.log err.log --task nightly-7 --prefix never
  tasktail ship result.log --task nightly-7 --no-follow --end")]
pub struct ShipArgs {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The task; inside `tasktail run` its own
    #[arg(long, value_name = "ID", env = "TASKTAIL_TASK")]
    task: TaskId,
    /// Begin with each file's first line, not with what is written from now on
    #[arg(long)]
    from_start: bool,
    /// Send what is there, from the first line on, and end
    #[arg(long)]
    no_follow: bool,
    /// The lines' stream: stdout, stderr or internal
    #[arg(long, value_name = "S", default_value = "stdout")]
    stream: Channel,
    /// Put the file's name before each line: auto does where there are several
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    prefix: PrefixWhen,
    #[command(flatten)]
    mask: MaskArgs,
    /// End the task with exit code 0 once everything is sent
    #[arg(long)]
    end: bool,
}

/// `ship --prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrefixWhen {
    /// Where there are several files
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

pub(super) async fn run(args: ShipArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let masks = args.mask.masks()?;
    // Before anything that takes time: "from now on" is now.
    let followers = follow(&args)?;
    let locator = Locator::new(settings, output, Purpose::Task);
    let result = ship(&args, followers, &masks, &locator, output).await;
    locator.close().await;
    result.map(|()| 0)
}

fn follow(args: &ShipArgs) -> anyhow::Result<Vec<FileFollower>> {
    if args.files.len() > FILES_MAX {
        bail!("FILE: {} files are given, at most {FILES_MAX} are followed", args.files.len());
    }
    let options = FollowFileOptions { from_start: args.from_start || args.no_follow, ..FollowFileOptions::default() };
    let followers = args.files.iter().map(|path| FileFollower::new(path, options.clone()));
    let followers = followers.collect::<Result<Vec<_>, _>>()?;
    for (n, one) in followers.iter().enumerate() {
        if args.no_follow && one.identity().is_none() {
            bail!("FILE: there is no {}; without --no-follow it would be waited for", one.path().display());
        }
        let same = |other: &&FileFollower| {
            other.path() == one.path() || one.identity().is_some_and(|identity| other.identity() == Some(identity))
        };
        if let Some(other) = followers.get(..n).unwrap_or_default().iter().find(same) {
            bail!("FILE: {} and {} are the same file: give it once", other.path().display(), one.path().display());
        }
    }
    Ok(followers)
}

async fn ship(
    args: &ShipArgs,
    followers: Vec<FileFollower>,
    masks: &Masks,
    locator: &Locator,
    output: Output,
) -> anyhow::Result<()> {
    let endpoint = locator.endpoint().await?;
    let interrupted = interrupted();
    output.announce(format_args!("watch: {}", endpoint.task_page(&args.task)));
    let stop = CancellationToken::new();
    let named = match args.prefix {
        PrefixWhen::Auto => args.files.len() > 1,
        PrefixWhen::Always => true,
        PrefixWhen::Never => false,
    };
    let sender = |channel| {
        let patience = Patience::Until(stop.clone());
        Sender::new(HttpClient::new(endpoint.clone()), locator, output, args.task.clone(), channel, patience)
    };
    let shipments = followers.into_iter().zip(names::shortest(&args.files)).map(|(follower, name)| {
        let name = masks.text(&name);
        let prefix = if named { format!("{name}: ") } else { String::new() };
        let senders = [sender(args.stream), sender(args.stream), sender(Channel::Internal)];
        let begin = (args.from_start || args.no_follow).then(|| args.task.clone());
        Shipment::new(follower, name, prefix, senders, begin, masks.clone(), output).run(args.no_follow, stop.clone())
    });
    let shipped = try_join_all(shipments);
    let interrupt = async {
        interrupted.await?;
        stop.cancel();
        std::future::pending::<anyhow::Result<Vec<Shipped>>>().await
    };
    let shipped = tokio::select! {
        shipped = shipped => shipped?,
        failed = interrupt => failed?,
    };
    if args.end {
        let client = HttpClient::new(locator.found_again().await.unwrap_or(endpoint));
        let body = serde_json::json!({ "exit_code": 0 }).to_string();
        let path = format!("/api/v1/tasks/{}/end", args.task);
        let answer: Result<serde_json::Value, _> = client.post(&path, &[], "application/json", body.into()).await;
        answer
            .map_err(|error| show::task_error(error, &args.task, client.endpoint()))
            .context("cannot end the task")?;
    }
    if output.json() {
        shipped.iter().try_for_each(|shipped| output.object(shipped))?;
    }
    Ok(())
}
