//! The task that a caller means by an id: a name opens its newest attempt, see
//! [`Tasks::find`](crate::tasks::Tasks::find). A share link opens one exact task.

use super::auth::sees_task;
use super::error::ApiError;
use super::route_request::RouteRequest;
use crate::auth::Caller;
use crate::model::{Epoch, TaskId};
use crate::server::state::State;
use crate::tasks::{FollowStart, TaskHandle, TasksError};

/// Returns the task that the caller means by `id`, if it exists.
pub(crate) async fn find_task(
    state: &State,
    caller: &Caller,
    id: &TaskId,
    start: FollowStart,
) -> Result<Option<TaskHandle>, TasksError> {
    find_log(state, caller, id, epoch_of(start)).await
}

/// Returns the log of a name with this epoch, otherwise its newest log.
async fn find_log(
    state: &State,
    caller: &Caller,
    id: &TaskId,
    epoch: Option<Epoch>,
) -> Result<Option<TaskHandle>, TasksError> {
    if caller.is_share() {
        return state.tasks.get(id).await;
    }
    let found = state.tasks.find(id, epoch.map(|epoch| epoch.incarnation)).await?;
    Ok(found.filter(|task| task.id() == id || sees_task(state, caller, task.id())))
}

fn epoch_of(start: FollowStart) -> Option<Epoch> {
    match start {
        FollowStart::After(cursor) => Some(cursor.epoch),
        FollowStart::From(_) | FollowStart::Tail(_) => None,
    }
}

/// Returns the task that the caller means by `id`, and waits until it exists. Cancel-safe.
pub(crate) async fn wait_for_task(
    state: &State,
    caller: &Caller,
    id: &TaskId,
    start: FollowStart,
) -> Result<TaskHandle, TasksError> {
    let mut changes = state.tasks.changes();
    loop {
        changes.mark_unchanged();
        if let Some(task) = find_task(state, caller, id, start).await? {
            return Ok(task);
        }
        changes.changed().await.map_err(|_| TasksError::Closed)?;
    }
}

impl RouteRequest {
    /// Returns the task that the path names, to be read from `start` on. The parameter `epoch` names one log among
    /// those of a name, as a cursor does.
    ///
    /// # Errors
    /// The task does not exist, or the id is invalid.
    pub(crate) fn task(
        &self,
        start: FollowStart,
    ) -> impl Future<Output = Result<TaskHandle, ApiError>> + Send + 'static {
        // The future does not borrow the request, whose body cannot be shared between threads.
        let (id, caller, query, state) = (self.task_id(), self.caller(), self.query(), self.state.clone());
        async move {
            let (id, caller) = (id?, caller?);
            let epoch = match epoch_of(start) {
                Some(epoch) => Some(epoch),
                None => query?.get("epoch")?,
            };
            let found = find_log(&state, &caller, &id, epoch).await?;
            found.ok_or_else(|| ApiError::task_not_found(&id))
        }
    }
}
