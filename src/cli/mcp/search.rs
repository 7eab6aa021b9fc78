//! The tool `search_logs`.

use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::search::{FoundLine, FoundLines, LogSearchQuery};
use super::super::task_ref::resolve_id;
use super::super::when::when;
use super::access::{SharedAccess, label};
use super::fields::{ToolArguments, invalid};
use super::fitting::{self, FittingRows};
use crate::analysis::{LogPattern, PatternLimits};
use crate::model::TaskId;

/// Default number of matches.
const HITS_DEFAULT: u64 = 50;
/// Maximum bytes of a line.
const LINE_BYTES_MAX: usize = 1_000;
/// Time after which a result returns what was found so far.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Searches lines of tasks.
///
/// # Errors
/// An argument is invalid, there is no such task, or no response.
pub(super) async fn call(access: &SharedAccess, arguments: &ToolArguments) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let pattern = arguments.text("pattern").unwrap_or_default();
    let pattern = if arguments.flag("ignore_case") { format!("(?i){pattern}") } else { pattern.to_owned() };
    // The server's message would name a parameter of its own.
    LogPattern::new(&pattern, false, PatternLimits::default()).map_err(|error| invalid("pattern", &error))?;
    let label = arguments.text("label").map(|text| label("label", text)).transpose()?;
    let names =
        arguments.texts("tasks").into_iter().map(|name| name.parse::<TaskId>().map_err(|e| invalid("tasks", &e)));
    let names = names.collect::<anyhow::Result<Vec<_>>>()?;
    let client = access.locator.client().await?;
    let mut tasks = Vec::new();
    for name in &names {
        tasks.push(resolve_id(&client, Some(name)).await?);
    }
    let query = LogSearchQuery {
        pattern: &pattern,
        tasks: &tasks,
        label: label.as_ref().map(|(key, value)| (key.as_str(), value.as_str())),
        since: arguments.parsed("since", when)?,
        around: [arguments.number("context").unwrap_or(0); 2],
        ..LogSearchQuery::default()
    };
    let limit = arguments.number("limit").unwrap_or(HITS_DEFAULT);
    let mut found = FittingLines::new(access.result_bytes_max);
    let mut after = arguments.text("after").map(str::to_owned);
    loop {
        let kept = found.keep();
        let mut wanted = limit - kept.hits;
        let next = loop {
            match query.request(&client, wanted, after.clone(), &mut found).await {
                // The cursor of a shorter answer is right for the matches that fit.
                Err(_) if found.is_full => {
                    let fitting = found.complete_hits - kept.hits;
                    found.return_to(kept);
                    if fitting == 0 && kept.hits > 0 {
                        return Ok(found.into_result(after));
                    }
                    found.drops_context = fitting == 0;
                    wanted = fitting.max(1);
                }
                next => break next?,
            }
        };
        if next.is_none() || found.hits >= limit || found.drops_context || begun.elapsed() >= TIME_MAX {
            return Ok(found.into_result(next));
        }
        after = next;
    }
}

/// A point to return to.
#[derive(Clone, Copy, Debug)]
struct KeptLines {
    rows: usize,
    hits: u64,
}

/// The lines that were found, as far as they fit.
struct FittingLines {
    rows: FittingRows,
    hits: u64,
    /// Matches whose lines are all there.
    complete_hits: u64,
    is_full: bool,
    /// Whether lines around a match are left out if they do not fit.
    drops_context: bool,
}

impl FittingLines {
    fn new(bytes_max: usize) -> Self {
        let rows = FittingRows::new(bytes_max, &json!({}));
        Self { rows, hits: 0, complete_hits: 0, is_full: false, drops_context: false }
    }

    fn keep(&self) -> KeptLines {
        KeptLines { rows: self.rows.len(), hits: self.hits }
    }

    fn return_to(&mut self, kept: KeptLines) {
        self.rows.truncate(kept.rows);
        (self.hits, self.complete_hits, self.is_full) = (kept.hits, kept.hits, false);
    }

    fn into_result(self, next: Option<String>) -> Value {
        json!({ "matches": self.hits, "lines": self.rows.into_rows(), "next": next })
    }
}

impl FoundLines for FittingLines {
    fn line(&mut self, found: FoundLine) -> anyhow::Result<()> {
        let mut row = fitting::line(found.n, &found.line, LINE_BYTES_MAX);
        row["task"] = found.task.into();
        if found.context {
            row["context"] = true.into();
        } else {
            // Lines around the match before were complete when this one came.
            self.complete_hits = self.hits;
        }
        if self.rows.push(row) {
            self.hits += u64::from(!found.context);
            return Ok(());
        }
        if found.context && self.drops_context {
            return Ok(());
        }
        self.is_full = true;
        bail!("the result is full")
    }
}
