//! `tasktail ship`: sends growing files as lines of a task.
//!
//! Each file is followed and sent separately (`file`), in a separate session. A file is its own
//! buffer, so an unreachable server only delays the follower. Files send in turns, so that the pieces of a long line
//! stay together. Changes of a file, such as a rotation,
//! are reported here and in the task, as `internal` lines.

mod file;
mod names;
mod sessions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use self::file::{FileShipper, ShippedFile};
use self::sessions::ShipSessions;
use super::locate::{Locator, Purpose};
use super::mask::MaskArgs;
use super::output::{Output, task_error};
use super::sender::{LineSender, RetryPolicy};
use super::{Context, interrupted};
use crate::client::HttpClient;
use crate::events::{FileFollower, FollowFileOptions};
use crate::model::{Channel, TaskId};
use crate::worker::Masks;

/// Maximum number of files of one command.
const FILES_MAX: usize = 1_000;

/// `tasktail ship`.
#[derive(Debug, Args)]
#[command(after_help = "\
Sends lines written to the files from now on, each complete and once, across
rotation, truncation and rewriting. Waits for a file that does not exist yet.
Reports changes of a file on stderr and in the task. SIGTERM and SIGINT stop it
after all lines in the files are sent.
With --from-start, lines of a file that were sent before are not sent twice:
the task identifies them by their numbers, and the data folder remembers which
content was sent. So a file that was rewritten or rotated while it was not
followed is sent anew, after the rest of a rotated file that is still in the
folder; what is missing is reported. With --no-follow, a last line without a
newline is sent as it is. UTF-16 with a byte order mark is decoded. A hole of
NUL bytes is reported as their number.

Examples:
  tasktail ship /var/log/syslog --task host-1
  tasktail ship build/*.log --task nightly-7 --from-start
  tasktail ship out.log err.log --task nightly-7 --prefix never
  tasktail ship result.log --task nightly-7 --no-follow --end")]
pub struct ShipArgs {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Send to this task; inside `tasktail run` the default is its task
    #[arg(long, value_name = "ID", env = "TASKTAIL_TASK")]
    task: TaskId,
    /// Start with each file's first line instead of lines written from now on
    #[arg(long)]
    from_start: bool,
    /// Send existing lines, from the first on, and exit
    #[arg(long)]
    no_follow: bool,
    /// Set the stream of the lines: stdout, stderr or internal
    #[arg(long, value_name = "S", default_value = "stdout")]
    stream: Channel,
    /// Prefix each line with the file's name; auto does this for several files
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
    /// If there are several files
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

pub(super) async fn run(args: ShipArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let masks = args.mask.masks()?;
    // Opened first, since lines written from now on must be sent.
    let followers = follow(&args, settings.data.as_deref())?;
    let locator = Locator::new(settings, output, Purpose::Task);
    let result = ship(&args, followers, &masks, &locator, output).await;
    locator.close().await;
    result.map(|()| 0)
}

type FileToShip = (Option<ShipSessions>, FileFollower);

fn follow(args: &ShipArgs, data: Option<&Path>) -> anyhow::Result<Vec<FileToShip>> {
    if args.files.len() > FILES_MAX {
        bail!("FILE: too many files ({}); the maximum is {FILES_MAX}", args.files.len());
    }
    let followers = args.files.iter().map(|path| {
        if args.from_start || args.no_follow {
            return ShipSessions::open(data, args.task.clone(), path).map(|(sessions, file)| (Some(sessions), file));
        }
        FileFollower::new(path, FollowFileOptions::default()).map(|file| (None, file))
    });
    let followers = followers.collect::<Result<Vec<_>, _>>()?;
    for (n, (_, one)) in followers.iter().enumerate() {
        if args.no_follow && one.identity().is_none() {
            bail!("FILE: there is no {}; omit --no-follow to wait for it", one.path().display());
        }
        let same = |(_, other): &&FileToShip| {
            other.path() == one.path() || one.identity().is_some_and(|identity| other.identity() == Some(identity))
        };
        if let Some((_, other)) = followers.get(..n).unwrap_or_default().iter().find(same) {
            bail!("FILE: {} and {} are the same file; name it once", other.path().display(), one.path().display());
        }
    }
    Ok(followers)
}

async fn ship(
    args: &ShipArgs,
    followers: Vec<FileToShip>,
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
        let policy = RetryPolicy::Until(stop.clone());
        LineSender::new(HttpClient::new(endpoint.clone()), locator, output, args.task.clone(), channel, policy)
    };
    let turn = Arc::default();
    let shipments = followers.into_iter().zip(names::shortest(&args.files)).map(|((sessions, follower), name)| {
        let name = masks.text(&name);
        let prefix = if named { format!("{name}: ") } else { String::new() };
        let senders = [sender(args.stream), sender(args.stream), sender(Channel::Internal)];
        FileShipper::new(follower, name, prefix, senders, sessions, masks.clone(), output)
            .with_turn(&turn)
            .run(args.no_follow, stop.clone())
    });
    let shipped = try_join_all(shipments);
    let interrupt = async {
        interrupted.await?;
        stop.cancel();
        std::future::pending::<anyhow::Result<Vec<ShippedFile>>>().await
    };
    let shipped = tokio::select! {
        shipped = shipped => shipped?,
        failed = interrupt => failed?,
    };
    if args.end {
        let client = HttpClient::new(locator.find_running().await.unwrap_or(endpoint));
        let body = serde_json::json!({ "exit_code": 0 }).to_string();
        let path = format!("/api/v1/tasks/{}/end", args.task);
        let answer: Result<serde_json::Value, _> = client.post(&path, &[], "application/json", body.into()).await;
        answer.map_err(|error| task_error(error, &args.task, client.endpoint())).context("cannot end the task")?;
    }
    if output.json() {
        shipped.iter().try_for_each(|shipped| output.object(shipped))?;
    }
    Ok(())
}
