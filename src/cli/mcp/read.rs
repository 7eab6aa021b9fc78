//! The tool `read_log`.

use anyhow::bail;
use serde_json::{Value, json};

use super::super::follow::LogPages;
use super::super::task_ref::resolve;
use super::access::{SharedAccess, task_id};
use super::fields::ToolArguments;
use super::fitting::{self, FittingRows};
use crate::model::{Channel, Line, TaskId};

/// Default number of lines.
const LINES_DEFAULT: u64 = 200;
/// Default number of bytes after which a line is cut.
const LINE_BYTES_DEFAULT: u64 = 1_000;
/// Maximum number of gaps of a result.
const GAPS_MAX: usize = 5;

/// Reads lines of a task.
///
/// # Errors
/// An argument is invalid, there is no such task, or no response.
pub(super) async fn call(access: &SharedAccess, arguments: &ToolArguments) -> anyhow::Result<Value> {
    let (from, tail) = (arguments.number("from"), arguments.number("tail"));
    if from.is_some() && tail.is_some() {
        bail!("`from` and `tail` exclude each other; use one of them");
    }
    let limit = tail.or(arguments.number("limit")).unwrap_or(LINES_DEFAULT);
    let line_bytes = usize::try_from(arguments.number("line_bytes").unwrap_or(LINE_BYTES_DEFAULT))?;
    // A line of this size fits, whatever JSON makes of its characters.
    let line_bytes = line_bytes.min(access.result_bytes_max / 4);
    let client = access.locator.client().await?;
    let task = resolve(&client, task_id(arguments, "task")?.as_ref()).await?;
    let id: TaskId = task.exact_id().parse()?;
    let start = match tail {
        Some(tail) => ("tail", Some(tail.to_string())),
        None => ("from", Some(from.unwrap_or(1).to_string())),
    };
    let query = [start, ("limit", Some(limit.to_string())), ("stream", arguments.text("stream").map(str::to_owned))];
    let page = LogPages { task: &id, client: &client }.request(&query).await?;
    let mut result = fitting::task(&task);
    result["first_line"] = task.first_line.into();
    let gaps: Vec<Value> = page.gaps.iter().take(GAPS_MAX).map(|gap| json!(gap)).collect();
    if !gaps.is_empty() {
        result["gaps"] = gaps.into();
    }
    let mut rows = FittingRows::new(access.result_bytes_max, &result);
    let mut next = page.next_line;
    if tail.is_some() {
        // Of lines that do not all fit, the last ones are kept.
        page.lines.iter().rev().take_while(|line| rows.push(row(line, line_bytes))).count();
        rows.reverse();
        next = next.max(task.last_line + 1);
    } else {
        let kept = page.lines.iter().take_while(|line| rows.push(row(line, line_bytes))).count();
        next = page.lines.get(kept).map_or(next, |line| line.n);
    }
    result["lines"] = rows.into_rows().into();
    let is_end = task.status.is_final() && next > task.last_line;
    result["next"] = Some(next).filter(|_| !is_end).into();
    Ok(result)
}

fn row(line: &Line<'_>, bytes_max: usize) -> Value {
    let mut row = fitting::line(line.n, &line.line, bytes_max);
    if line.channel != Channel::Stdout {
        row["stream"] = json!(line.channel);
    }
    if line.partial {
        row["partial"] = true.into();
    }
    row
}
