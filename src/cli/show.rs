//! `tasktail show`: prints details of a task.

use std::time::Duration;

use clap::Args;

use super::locate::{Locator, Purpose};
use super::output::task_error;
use super::screen::columns;
use super::terminal_size::terminal_columns;
use super::{Context, task_ref, text};
use crate::client::HttpClient;
use crate::model::{Task, TaskId, Timestamp, command_line};

/// Columns of the names, with the space after them.
const NAME_COLUMNS: usize = 15;

/// `tasktail show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail show                     the task that runs, or the newest
  tasktail show nightly-7
  tasktail show make-1m8n           a beginning that names one task
  tasktail show nightly-7 --json | jq .exit_code")]
pub struct ShowArgs {
    /// The task: an id or a unique beginning of one [default: the one that runs, or the newest]
    #[arg(value_name = "TASK")]
    task: Option<TaskId>,
}

pub(super) async fn run(args: ShowArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let task = match locator.client().await {
        Ok(client) => task_ref::resolve(&client, args.task.as_ref()).await,
        Err(error) => Err(error),
    };
    locator.close().await;
    let task = task?;
    if output.json() {
        output.object(&task)?;
    } else {
        let room = terminal_columns().map_or(usize::MAX, |columns| columns.saturating_sub(NAME_COLUMNS).max(1));
        for (name, value) in facts(&task) {
            let mut name = format!("{name}:");
            for line in wrapped(&text::words(&value), room) {
                output.line(format_args!("{:<NAME_COLUMNS$}{line}", std::mem::take(&mut name)))?;
            }
        }
    }
    Ok(0)
}

/// Returns a task's details from the server.
///
/// # Errors
/// There is no such task, or no response.
pub(super) async fn get(client: &HttpClient, task: &TaskId) -> anyhow::Result<Task> {
    let facts = client.get(&format!("/api/v1/tasks/{task}"), &[]).await;
    facts.map_err(|error| task_error(error, task, client.endpoint()))
}

/// Returns a text in lines of at most `room` columns, broken at spaces where possible.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(' ') {
        if used > 0 && used + columns(word.trim_end()) > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for c in word.chars() {
            let width = columns(c.encode_utf8(&mut [0; 4]));
            if used > 0 && c != ' ' && used + width > room {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += width;
        }
    }
    lines.push(line);
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Returns the time from the task's start to its end, or to now.
pub(super) fn ran_for(task: &Task) -> Duration {
    let start = task.started.unwrap_or(task.created);
    let end = task.ended.unwrap_or_else(Timestamp::now);
    Duration::from_millis(end.as_millis().saturating_sub(start.as_millis()))
}

/// Returns a task's exit code or signal as text.
pub(super) fn exit(task: &Task) -> Option<String> {
    match (task.exit_code, task.signal) {
        (Some(code), _) => Some(code.to_string()),
        (None, Some(signal)) => Some(format!("signal {signal}")),
        (None, None) => None,
    }
}

/// Returns what is known of missing lines: the verification of an ended log, or what is missing so far.
fn integrity(task: &Task) -> Option<String> {
    match task.complete {
        Some(true) => Some(format!("complete: {}", text::counted(task.kept_lines(), "line"))),
        _ => task.loss().or_else(|| task.integrity.as_ref().map(ToString::to_string)),
    }
}

fn facts(task: &Task) -> Vec<(&'static str, String)> {
    let labels = task.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
    let live = if task.status.is_final() || task.live { "" } else { " (no worker is connected)" };
    let own = match task.own_lines {
        0 => String::new(),
        1 => ", and 1 of tasktail itself".to_owned(),
        own => format!(", and {own} of tasktail itself"),
    };
    let range = match task.last_line {
        0 => String::new(),
        last => format!(" (numbers {} to {last} can be read)", task.first_line),
    };
    let lines = format!("{}{own}{range}", task.lines.saturating_sub(task.own_lines));
    let all = [
        ("task", Some(task.id.to_string())),
        ("status", Some(format!("{}{live}", task.status))),
        ("exit", exit(task)),
        ("command", Some(command_line(&task.command)).filter(|line| !line.is_empty())),
        ("labels", Some(labels).filter(|line| !line.is_empty())),
        ("host", task.host.clone()),
        ("created", Some(task.created.to_string())),
        ("started", task.started.map(|time| time.to_string())),
        ("ended", task.ended.map(|time| time.to_string())),
        ("duration", Some(text::duration(ran_for(task)))),
        ("lines", Some(lines)),
        ("bytes", Some(task.bytes.to_string())),
        ("errors", task.errors.map(|errors| errors.to_string())),
        ("warnings", task.warnings.map(|warnings| warnings.to_string())),
        ("skipped lines", Some(task.skipped_lines).filter(|n| *n > 0).map(|n| n.to_string())),
        ("trimmed lines", Some(task.trimmed_lines).filter(|n| *n > 0).map(|n| n.to_string())),
        ("integrity", integrity(task)),
        ("line sum", task.integrity.as_ref().and_then(|integrity| integrity.hash.clone())),
        ("artifact", task.artifact.as_ref().map(|file| format!("{} bytes, sha256 {}", file.bytes, file.sha256))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_broken_at_spaces() {
        assert_eq!(wrapped("make -j8 all", 8), ["make -j8", "all"]);
        assert_eq!(wrapped("a 0123456789 b", 4), ["a", "0123", "4567", "89 b"]);
        assert_eq!(wrapped("\u{5b8c}\u{4e86}\u{5b8c}", 4), ["\u{5b8c}\u{4e86}", "\u{5b8c}"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("any text", usize::MAX), ["any text"]);
    }
}
