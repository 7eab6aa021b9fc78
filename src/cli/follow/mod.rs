//! `tasktail follow`: prints lines of tasks, history then live.
//!
//! ```text
//! start, history: where to begin      single | several (join: new tasks)
//!   -> session -> view (what is wanted) -> printer -> assemble, grep, lead, stamp -> painter | output_stream
//! ```

mod assemble;
mod grep;
mod history;
mod join;
mod lead;
mod output_stream;
mod pages;
mod painter;
mod printer;
mod session;
mod several;
mod single;
mod stamp;
mod start;
mod view;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::values::{channels, key_value};
use super::when::when;
use super::{Context, EXIT_INTERRUPTED, interrupted, task_ref};
use crate::client::follow::Relocate;
use crate::model::{ChannelSet, Cursor, TaskId, Timestamp};
use grep::GrepArgs;
pub(super) use pages::LogPages;
use printer::LinePrinter;
use session::FollowSession;
use stamp::TimeMode;

/// `tasktail follow`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints lines of stdout to stdout, lines of stderr to stderr, and internal
messages of the worker and the server to stderr, prefixed with `# `. A pipe
receives the text unchanged. A terminal shows what the task's own terminal would
have shown: colours, and progress redrawn in place, also while a line is still
being written; other control sequences are left out.

A task is an id, the name of several attempts (the newest one), or a beginning
that names one task. Several tasks, --label and --all print the tasks that have
ended one after another, oldest first, and those that run as their lines come,
each with its name. Tasks that start later and match join. It ends when all have
ended; with --wait it waits for more.

Times are durations before now (10m, 1h30m, -1h, \"2 days ago\"), RFC 3339,
local dates and times (2026-11-30, \"2026-11-30 10:30\", 10:30), `today`,
`yesterday`, `now`, or seconds since 1970.

The exit code is 0 at the end of the task. With --exit-status it is the task's:
its exit code, 128+N for signal N, and 1 for a lost task or one that was aborted
without an exit code; of several tasks the highest.

Examples:
  tasktail follow                                  the task that runs, or the newest
  tasktail follow nightly-7 -n 100 -t
  tasktail follow nightly-7 --since 10:30 --until 11:00 --stream stderr,internal
  tasktail follow nightly-7 --grep 'error|failed' -i -C 3
  tasktail follow web worker                       both, each line with its task
  tasktail follow --label branch=main --time local
  tasktail follow --all --wait -n 0                everything from now on
  tasktail follow nightly-7 --no-follow | less
  tasktail follow nightly-7 --wait --exit-status && ./deploy")]
pub struct FollowArgs {
    /// The tasks: ids or unique beginnings of them [default: the one that runs, or the newest]
    #[arg(value_name = "TASK")]
    tasks: Vec<TaskId>,
    /// Print all tasks with this label; repeatable: with all of them
    #[arg(long = "label", value_name = "K=V", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Print all tasks
    #[arg(long)]
    all: bool,
    /// Start with the last N lines, or with `all`
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "N", allow_negative_numbers = true, value_parser = line_count)]
    lines: Option<TailCount>,
    /// Start at this time, or this long ago
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when)]
    since: Option<Timestamp>,
    /// Stop at this time, or this long ago
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when)]
    until: Option<Timestamp>,
    /// Print only these streams: stdout, stderr, internal; separated by commas
    #[arg(long, value_name = "S,..", value_parser = channels)]
    stream: Option<ChannelSet>,
    /// Start after this cursor
    #[arg(long, value_name = "CURSOR", conflicts_with_all = ["lines", "since", "labels", "all"])]
    after: Option<Cursor>,
    #[command(flatten)]
    grep: GrepArgs,
    /// Print new lines as they come (the default)
    #[arg(short = 'f', long, overrides_with = "no_follow")]
    follow: bool,
    /// Print existing lines and exit
    #[arg(long)]
    no_follow: bool,
    /// Wait for a task that does not exist yet
    #[arg(long)]
    wait: bool,
    /// Precede each line with its time in UTC
    #[arg(short = 't', long)]
    timestamps: bool,
    /// Precede each line with its time, in this form
    #[arg(long, value_name = "FORM")]
    time: Option<TimeMode>,
    /// Precede each line with its task
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    prefix: PrefixMode,
    /// Exit with the task's exit code
    #[arg(long, conflicts_with = "no_follow")]
    exit_status: bool,
}

/// `follow --prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrefixMode {
    /// If several tasks are followed
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `follow --lines`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TailCount {
    /// This many lines before the end.
    Last(u64),
    /// Every line.
    All,
}

/// Parses the number of lines: `all`, or -1 as in kubectl.
fn line_count(text: &str) -> Result<TailCount, String> {
    match text {
        "all" | "-1" => Ok(TailCount::All),
        number => match number.parse() {
            Ok(count) => Ok(TailCount::Last(count)),
            Err(_) => Err("use a number of lines, or `all`".to_owned()),
        },
    }
}

impl FollowArgs {
    /// Reports whether tasks that start later are followed too.
    fn joins(&self) -> bool {
        self.all || !self.labels.is_empty()
    }

    fn is_several(&self) -> bool {
        self.tasks.len() > 1 || self.joins()
    }
}

pub(super) async fn run(args: FollowArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let explicit = settings.url.is_some();
    let locator = Arc::new(Locator::new(settings, output, Purpose::Query));
    let result = tokio::select! {
        result = follow(&args, &locator, explicit, output) => result,
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    };
    locator.close().await;
    result
}

async fn follow(args: &FollowArgs, locator: &Arc<Locator>, explicit: bool, output: Output) -> anyhow::Result<u8> {
    if args.after.is_some() && args.tasks.len() > 1 {
        anyhow::bail!("--after is a position in one log; name one task");
    }
    let client = locator.client().await?;
    let time = args.time.or(args.timestamps.then_some(TimeMode::Utc));
    let prefix = match args.prefix {
        PrefixMode::Auto => args.is_several(),
        PrefixMode::Always => true,
        PrefixMode::Never => false,
    };
    let streams = args.stream.unwrap_or(ChannelSet::ALL);
    let printer = LinePrinter::new(streams, output.json(), time, prefix, args.is_several(), args.grep.filter()?);
    let mut session = FollowSession { output, printer, names_tasks: args.is_several() };
    if args.is_several() {
        return Box::pin(several::follow(args, &client, locator, explicit, &mut session)).await;
    }
    let name = args.tasks.first();
    let id = match (task_ref::resolve_id(&client, name).await, name) {
        (Err(_), Some(name)) if args.wait => name.clone(),
        (id, _) => id?,
    };
    Box::pin(single::follow(args, id, &client, locator, explicit, &mut session)).await
}

/// Waits until a time in the future; never returns for one in the past, whose lines are there.
async fn deadline(until: Option<Timestamp>) {
    let left = until.and_then(|until| until.as_millis().checked_sub(Timestamp::now().as_millis()));
    match left.filter(|left| *left > 0) {
        Some(left) => tokio::time::sleep(Duration::from_millis(left)).await,
        None => std::future::pending().await,
    }
}

/// Returns a function that locates the server again: an embedded server ends with its `run`, and then this
/// process serves the log.
pub(super) fn relocate(locator: &Arc<Locator>) -> Relocate {
    let locator = Arc::clone(locator);
    Box::new(move || {
        let locator = Arc::clone(&locator);
        Box::pin(async move { locator.endpoint_after_loss().await.ok() })
    })
}
