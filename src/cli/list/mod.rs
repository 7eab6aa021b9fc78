//! `tasktail list`: prints the tasks, newest first, as a table.

mod select;
mod table;
mod watch;

use std::cmp::Ordering;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::Context;
use super::locate::{Locator, Purpose};
use super::output::Output;
use super::terminal_size::terminal_columns;
use super::values::{key_value, status_filter};
use crate::model::{StatusFilter, Task};
pub(super) use select::{TaskQuery, list_page, select};

/// `tasktail list`.
#[derive(Debug, Args)]
#[command(after_help = "\
LINES counts the lines of the command. `! 1253 of 15021` means that lines are
missing; `tasktail show TASK` prints which and why. A task failed if its exit
code is not 0, if a signal ended it, or if it is lost. ERRORS counts the errors
of known formats in an ended log, and after a plus the warnings.
On a terminal each task has one row: columns that do not fit are left out, and
ids are shortened to beginnings that name one task of the table.

Examples:
  tasktail list
  tasktail list --status failed --status running
  tasktail list --label branch=main --label os=linux --limit 500 --json | jq -r .id
  tasktail list --sort duration
  tasktail list --sort errors
  tasktail list --watch")]
pub struct ListArgs {
    /// List only tasks with this status: running, completed, failed, aborted or lost; repeatable
    #[arg(long, value_name = "S", value_parser = status_filter())]
    status: Vec<StatusFilter>,
    /// List only tasks with this label; repeatable: with all of them
    #[arg(long = "label", value_name = "K=V", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Sort by this column
    #[arg(long, value_name = "COLUMN", default_value = "created")]
    sort: SortKey,
    /// Sort the other way round
    #[arg(long)]
    reverse: bool,
    /// List at most this many tasks
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Update the table every second, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

/// `list --sort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SortKey {
    /// Newest first
    Created,
    /// The one that ended last first; running ones before all
    Ended,
    /// Longest first
    Duration,
    /// Most lines first
    Lines,
    /// Most bytes first
    Bytes,
    /// Most errors first, then most warnings
    Errors,
    /// By id
    Name,
}

impl SortKey {
    fn compare(self, a: &Task, b: &Task) -> Ordering {
        let newest_first = b.created.cmp(&a.created);
        let first = match self {
            SortKey::Created => Ordering::Equal,
            SortKey::Ended => (a.ended.is_some(), b.ended).cmp(&(b.ended.is_some(), a.ended)),
            SortKey::Duration => super::show::ran_for(b).cmp(&super::show::ran_for(a)),
            SortKey::Lines => b.lines.cmp(&a.lines),
            SortKey::Bytes => b.bytes.cmp(&a.bytes),
            SortKey::Errors => (b.errors, b.warnings).cmp(&(a.errors, a.warnings)),
            SortKey::Name => a.id.as_str().cmp(b.id.as_str()),
        };
        first.then(newest_first)
    }
}

pub(super) async fn run(args: ListArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = if args.watch {
        if output.json() {
            bail!("--watch draws a table; it conflicts with --json");
        }
        watch::run(&args, &locator).await
    } else {
        print(&args, &locator, output).await.map(|()| 0)
    };
    locator.close().await;
    result
}

async fn print(args: &ListArgs, locator: &Locator, output: Output) -> anyhow::Result<()> {
    let client = locator.client().await?;
    let (tasks, more) = fetch(args, &client).await?;
    if output.json() {
        for task in &tasks {
            output.object(task)?;
        }
    } else {
        for line in table::draw(&tasks, terminal_columns()) {
            output.line(line)?;
        }
    }
    if more {
        output.note(format_args!("there are more tasks; list them with --limit {}", args.limit.saturating_mul(10)));
    }
    Ok(())
}

/// Returns the tasks to list, and whether there are more.
async fn fetch(args: &ListArgs, client: &crate::client::HttpClient) -> anyhow::Result<(Vec<Task>, bool)> {
    let limit = usize::try_from(args.limit)?;
    let is_sorted = args.sort == SortKey::Created && !args.reverse;
    let query = TaskQuery { status: &args.status, labels: &args.labels };
    let (mut tasks, mut more) = select(client, &query, is_sorted.then_some(limit)).await?;
    tasks.sort_by(|a, b| args.sort.compare(a, b));
    if args.reverse {
        tasks.reverse();
    }
    more |= tasks.len() > limit;
    tasks.truncate(limit);
    Ok((tasks, more))
}
