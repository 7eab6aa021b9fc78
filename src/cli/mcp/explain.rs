//! The tools `explain_log` and `diff_logs`.

use serde_json::{Value, json};

use super::super::task_ref::resolve_id;
use super::access::{SharedAccess, task_id};
use super::fields::ToolArguments;
use super::fitting::{FittingRows, visible};

/// Default budget of an explanation.
const BUDGET_DEFAULT: u64 = 8_000;
/// Default number of lines of each side of a difference.
const LINES_DEFAULT: u64 = 100;

/// Returns the most telling lines of a log.
///
/// # Errors
/// There is no such task, or no response.
pub(super) async fn explain(access: &SharedAccess, arguments: &ToolArguments) -> anyhow::Result<Value> {
    let most = u64::try_from(access.result_bytes_max)?;
    let budget = arguments.number("budget").unwrap_or(BUDGET_DEFAULT).min(most);
    let client = access.locator.client().await?;
    let task = resolve_id(&client, task_id(arguments, "task")?.as_ref()).await?;
    let query = [("budget", Some(budget.to_string())), ("format", Some("json".to_owned()))];
    let mut explanation: Value = client.get(&format!("/api/v1/tasks/{task}/explain"), &query).await?;
    for line in explanation["lines"].as_array_mut().into_iter().flatten() {
        clean(line);
    }
    Ok(explanation)
}

/// Returns the lines that one log has and another has not, and the reverse.
///
/// # Errors
/// There is no such task, no earlier good run, or no response.
pub(super) async fn diff(access: &SharedAccess, arguments: &ToolArguments) -> anyhow::Result<Value> {
    let client = access.locator.client().await?;
    let task = resolve_id(&client, task_id(arguments, "task")?.as_ref()).await?;
    let with = match task_id(arguments, "with")? {
        Some(with) => Some(resolve_id(&client, Some(&with)).await?.to_string()),
        None => None,
    };
    let limit = arguments.number("limit").unwrap_or(LINES_DEFAULT);
    let query = [("with", with), ("limit", Some(limit.to_string()))];
    let mut difference: Value = client.get(&format!("/api/v1/tasks/{task}/diff"), &query).await?;
    let mut sides = ["new", "missing"].map(|side| difference[side].take());
    let mut left = access.result_bytes_max;
    for (name, side) in ["new", "missing"].into_iter().zip(&mut sides) {
        let mut rows = FittingRows::new(left, &difference);
        for line in side.as_array_mut().into_iter().flatten() {
            clean(line);
            if !rows.push(line.take()) {
                break;
            }
        }
        left = rows.left() + difference.to_string().len();
        difference[name] = json!(rows.into_rows());
    }
    Ok(difference)
}

/// Removes what is invisible from a line.
fn clean(line: &mut Value) {
    if let Some(text) = line["line"].as_str() {
        line["line"] = visible(text).into_owned().into();
    }
}
