//! `tasktail list`: prints the tasks, newest first, as a table.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use serde::Deserialize;

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::values::key_value;
use super::{Context, show, text};
use crate::model::{Task, TaskStatus, Timestamp, command_line};

/// Maximum number of tasks in one request.
const PAGE_TASKS: u64 = 200;
/// Minimum width of the command's column.
const COMMAND_CHARS_MIN: usize = 16;

/// `tasktail list`.
#[derive(Debug, Args)]
#[command(after_help = "\
LINES counts the lines of the command. `! 1253 of 15021` means that lines are
missing; `tasktail show TASK` prints which and why.

Examples:
  tasktail list
  tasktail list --status running
  tasktail list --label branch=main --limit 500 --json | jq -r .id")]
pub struct ListArgs {
    /// List only tasks with this status: running, completed, aborted or lost
    #[arg(long, value_name = "S")]
    status: Option<TaskStatus>,
    /// List only tasks with this label
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    label: Option<(String, String)>,
    /// List at most this many tasks
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct TaskListPage {
    pub(super) tasks: Vec<Task>,
    next: Option<String>,
}

pub(super) async fn run(args: ListArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = fetch(&args, &locator).await;
    locator.close().await;
    let (tasks, more) = result?;
    if output.json() {
        for task in &tasks {
            output.object(task)?;
        }
    } else {
        table(&tasks, output)?;
    }
    if more {
        output.note(format_args!("there are more tasks; list them with --limit {}", args.limit.saturating_mul(10)));
    }
    Ok(0)
}

/// Returns the tasks that match, and whether there are more.
async fn fetch(args: &ListArgs, locator: &Locator) -> anyhow::Result<(Vec<Task>, bool)> {
    let client = locator.client().await?;
    let wanted = usize::try_from(args.limit)?;
    let mut tasks = Vec::new();
    let mut after = None;
    loop {
        let left = args.limit - tasks.len() as u64;
        let query = [
            ("status", args.status.map(|status| status.to_string())),
            ("label", args.label.as_ref().map(|(key, value)| format!("{key}:{value}"))),
            ("limit", Some(left.min(PAGE_TASKS).to_string())),
            ("after", after),
        ];
        let page: TaskListPage = client.get("/api/v1/tasks", &query).await?;
        let empty = page.tasks.is_empty();
        tasks.extend(page.tasks);
        after = page.next;
        if tasks.len() >= wanted || after.is_none() || empty {
            tasks.truncate(wanted);
            return Ok((tasks, after.is_some()));
        }
    }
}

fn table(tasks: &[Task], output: Output) -> anyhow::Result<()> {
    const HEAD: [&str; 7] = ["TASK", "STATUS", "EXIT", "LINES", "STARTED", "DURATION", "COMMAND"];
    let rows: Vec<[String; 7]> = tasks.iter().map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let before_command: usize = widths.iter().take(6).map(|width| width + 2).sum();
    let room = columns().map_or(usize::MAX, |all| all.saturating_sub(before_command).max(COMMAND_CHARS_MIN));
    let bold = Style::new().bold();
    output.line(format_args!("{bold}{}{bold:#}", line(&HEAD.map(str::to_owned), &widths, room, Style::new())))?;
    for (row, task) in rows.iter().zip(tasks) {
        output.line(line(row, &widths, room, colour(task)))?;
    }
    Ok(())
}

fn row(task: &Task) -> [String; 7] {
    let since = task.started.unwrap_or(task.created).as_millis();
    let ago = Duration::from_millis(Timestamp::now().as_millis().saturating_sub(since));
    [
        task.exact_id(),
        task.status.to_string(),
        show::exit(task).unwrap_or_else(|| "-".to_owned()),
        lines(task),
        format!("{} ago", text::age(ago)),
        text::duration(show::ran_for(task)),
        text::words(&command_line(&task.command)).into_owned(),
    ]
}

/// Returns the number of the command's lines, with a mark if some are missing.
fn lines(task: &Task) -> String {
    match task.missing_lines() {
        _ if task.complete != Some(false) => task.kept_lines().to_string(),
        0 => format!("! {}", task.kept_lines()),
        missing => format!("! {} of {}", task.kept_lines(), task.kept_lines().saturating_add(missing)),
    }
}

/// Formats a row with its status in `colour`, lines with a mark in yellow, and its command cut to `room`
/// characters.
fn line(row: &[String; 7], widths: &[usize; 7], room: usize, colour: Style) -> String {
    let [task, status, exit, lines, started, duration, command] = row;
    let [w_task, w_status, w_exit, w_lines, w_started, w_duration, _] = *widths;
    let loss = if lines.starts_with('!') { AnsiColor::Yellow.on_default() } else { Style::new() };
    let mut cells = format!(
        "{task:<w_task$}  {colour}{status:<w_status$}{colour:#}  {exit:>w_exit$}  {loss}{lines:>w_lines$}{loss:#}  \
         {started:>w_started$}  {duration:>w_duration$}  "
    );
    if command.chars().count() <= room {
        cells.push_str(command);
    } else {
        cells.extend(command.chars().take(room.saturating_sub(1)));
        cells.push('…');
    }
    cells.truncate(cells.trim_end().len());
    cells
}

fn colour(task: &Task) -> Style {
    let colour = match (task.status, task.exit_code, task.signal) {
        (TaskStatus::Running, ..) => AnsiColor::Cyan,
        (TaskStatus::Completed, Some(0), _) => AnsiColor::Green,
        (TaskStatus::Completed, ..) => AnsiColor::Red,
        (TaskStatus::Aborted | TaskStatus::Lost, ..) => AnsiColor::Yellow,
    };
    colour.on_default()
}

/// Returns the terminal's width, if stdout is a terminal.
fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
