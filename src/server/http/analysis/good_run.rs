//! The last good run: the newest earlier log of the same job whose command ended with exit code 0.

use crate::auth::Caller;
use crate::model::Task;
use crate::server::http::auth::sees_task;
use crate::server::state::State;
use crate::tasks::{TaskHandle, TasksError};

/// Returns the last good run before this task that the caller may read.
///
/// # Errors
/// The tasks cannot be read.
pub(super) async fn find(state: &State, caller: &Caller, task: &Task) -> Result<Option<TaskHandle>, TasksError> {
    let good = state.tasks.good_runs(task, 1, |id| sees_task(state, caller, id)).await?;
    match good.first() {
        Some(good) => state.tasks.get(&good.id).await,
        None => Ok(None),
    }
}
