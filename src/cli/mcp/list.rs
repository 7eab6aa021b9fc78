//! The tool `list_tasks`.

use serde_json::{Value, json};

use super::super::list::list_page;
use super::access::{SharedAccess, label};
use super::fields::ToolArguments;
use super::fitting::{self, FittingRows};
use crate::model::StatusFilter;

/// Default number of tasks.
const TASKS_DEFAULT: u64 = 20;

/// Lists tasks.
///
/// # Errors
/// An argument is invalid, or there is no response.
pub(super) async fn call(access: &SharedAccess, arguments: &ToolArguments) -> anyhow::Result<Value> {
    let status = arguments.parsed("status", str::parse::<StatusFilter>)?;
    let labels = arguments.texts("labels").into_iter().map(|text| label("labels", text));
    let labels = labels.collect::<anyhow::Result<Vec<_>>>()?;
    let mut limit = usize::try_from(arguments.number("limit").unwrap_or(TASKS_DEFAULT))?;
    let client = access.locator.client().await?;
    loop {
        let after = arguments.text("after").map(str::to_owned);
        let page = list_page(&client, status, &labels, limit, after).await?;
        let mut rows = FittingRows::new(access.result_bytes_max, &json!({}));
        let fitting = page.tasks.iter().take_while(|task| rows.push(fitting::task(task))).count();
        if fitting == page.tasks.len() || limit == 1 {
            return Ok(json!({ "tasks": rows.into_rows(), "next": page.next }));
        }
        // The cursor of a shorter page is right for the tasks that fit.
        limit = fitting.max(1);
    }
}
