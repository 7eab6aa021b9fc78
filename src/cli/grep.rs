//! `tasktail grep`: prints the lines of any task that match, newest task first.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use clap::builder::styling::{AnsiColor, Style};

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::search::{FoundLine, FoundLines, LogSearchQuery};
use super::task_ref::resolve_id;
use super::values::{channels, key_value};
use super::when::when;
use super::{Context, EXIT_INTERRUPTED, interrupted, text};
use crate::analysis::{LogPattern, PatternLimits, displayed};
use crate::model::{ChannelSet, TaskId, Timestamp};

/// Exit code if nothing matches, as of grep.
const EXIT_NONE: u8 = 1;
/// Exit code for an error, as of grep.
pub(super) const EXIT_TROUBLE: u8 = 2;
/// Matches per request.
const REQUEST_HITS: u64 = 10_000;

/// `tasktail grep`.
#[derive(Debug, Args)]
#[command(after_help = "\
RE is a regular expression in the syntax of Rust's regex crate, which is that of
ripgrep. It is matched against what a line displays: colours and overwritten text
of progress bars do not count. Lines of tasktail itself are searched too, as on the
page and with `follow --grep`; --stream stdout,stderr leaves them out. Exit codes
are those of grep: 0 if a line matches, 1 if none does, 2 for an error.

Examples:
  tasktail grep 'error:'
  tasktail grep -i 'out of memory' --since 24h
  tasktail grep 'FAILED' nightly-7 -C 3
  tasktail grep 'v[0-9]+ deployed' --label branch=main --json | jq -r .task")]
pub struct GrepCommandArgs {
    /// The regular expression
    #[arg(value_name = "RE")]
    pattern: String,
    /// Search only these tasks
    #[arg(value_name = "TASK")]
    tasks: Vec<TaskId>,
    /// Search only tasks with this label
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    label: Option<(String, String)>,
    /// Search only lines since this time, or this long ago
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when)]
    since: Option<Timestamp>,
    /// Search only these streams: stdout, stderr, internal; separated by commas
    #[arg(long, value_name = "S,..", value_parser = channels)]
    stream: Option<ChannelSet>,
    /// Ignore case
    #[arg(short = 'i', long)]
    ignore_case: bool,
    /// Match what is stored instead of what is displayed
    #[arg(long)]
    raw: bool,
    /// Print N lines after each match
    #[arg(short = 'A', long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100))]
    after_context: u64,
    /// Print N lines before each match
    #[arg(short = 'B', long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100))]
    before_context: u64,
    /// Print N lines before and after each match
    #[arg(short = 'C', long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100))]
    context: u64,
    /// Stop after N matches
    #[arg(short = 'm', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_count: Option<u64>,
}

pub(super) async fn run(args: GrepCommandArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = tokio::select! {
        result = grep(&args, &locator, output) => result.map(|found| if found { 0 } else { EXIT_NONE }),
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    };
    locator.close().await;
    result
}

/// Prints all matches, over as many requests as it takes, and returns whether there are any.
async fn grep(args: &GrepCommandArgs, locator: &Locator, output: Output) -> anyhow::Result<bool> {
    let text = if args.ignore_case { format!("(?i){}", args.pattern) } else { args.pattern.clone() };
    // Checked here as well, to mark the matches.
    let pattern = LogPattern::new(&text, args.raw, PatternLimits::default())?;
    let client = locator.client().await?;
    let mut tasks = Vec::new();
    for name in &args.tasks {
        tasks.push(resolve_id(&client, Some(name)).await?);
    }
    let mut printer = GrepPrinter::new(output, pattern, args);
    let search = LogSearchQuery {
        pattern: &text,
        raw: args.raw,
        tasks: &tasks,
        label: args.label.as_ref().map(|(key, value)| (key.as_str(), value.as_str())),
        since: args.since,
        streams: args.stream,
        around: [args.before_context, args.after_context].map(|lines| lines.max(args.context)),
    };
    let mut after = None;
    loop {
        let left = args.max_count.map_or(REQUEST_HITS, |max| max - printer.found);
        after = search.request(&client, left.min(REQUEST_HITS), after, &mut printer).await?;
        if after.is_none() || args.max_count.is_some_and(|max| printer.found >= max) {
            return Ok(printer.found > 0);
        }
    }
}

/// Prints lines like grep.
struct GrepPrinter {
    output: Output,
    pattern: LogPattern,
    raw: bool,
    terminal: bool,
    /// Whether there are groups of lines, separated by `--`.
    groups: bool,
    /// The last line printed.
    last: Option<(String, u64)>,
    found: u64,
    out: anstream::AutoStream<std::io::Stdout>,
}

impl GrepPrinter {
    fn new(output: Output, pattern: LogPattern, args: &GrepCommandArgs) -> Self {
        let stdout = std::io::stdout();
        Self {
            output,
            pattern,
            raw: args.raw,
            terminal: stdout.is_terminal(),
            groups: args.context.max(args.before_context).max(args.after_context) > 0,
            last: None,
            found: 0,
            out: anstream::AutoStream::auto(stdout),
        }
    }

    fn print(&mut self, found: &FoundLine) -> anyhow::Result<()> {
        self.found += u64::from(!found.context);
        if self.output.json() {
            return Ok(self.output.object(found)?);
        }
        let follows = self.last.as_ref().is_some_and(|(task, n)| *task == found.task && n + 1 == found.n);
        if self.groups && self.last.is_some() && !follows {
            writeln!(self.out, "--")?;
        }
        self.last = Some((found.task.clone(), found.n));
        let (task, number) = (AnsiColor::Magenta.on_default(), AnsiColor::Green.on_default());
        let mark = if found.context { '-' } else { ':' };
        // With --raw a pipe gets what is stored, and a terminal never gets control sequences.
        let shown = if self.raw && !self.terminal { found.line.as_str().into() } else { displayed(&found.line) };
        for row in shown.split('\n') {
            let row = if self.terminal { text::for_terminal(row, false) } else { row.into() };
            let row = if found.context || self.raw { row.into_owned() } else { self.marked(&row) };
            writeln!(self.out, "{task}{}{task:#}{mark}{number}{}{number:#}{mark}{row}", found.task, found.n)?;
        }
        Ok(())
    }

    /// Returns a row with its matches in red.
    fn marked(&self, row: &str) -> String {
        let red: Style = AnsiColor::Red.on_default().bold();
        let mut marked = String::with_capacity(row.len() + 16);
        let mut at = 0;
        for found in self.pattern.regex().find_iter(row).filter(|found| !found.is_empty()) {
            marked.push_str(row.get(at..found.start()).unwrap_or_default());
            marked.push_str(&format!("{red}{}{red:#}", found.as_str()));
            at = found.end();
        }
        marked.push_str(row.get(at..).unwrap_or_default());
        marked
    }
}

impl FoundLines for GrepPrinter {
    fn line(&mut self, line: FoundLine) -> anyhow::Result<()> {
        self.print(&line)
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}
