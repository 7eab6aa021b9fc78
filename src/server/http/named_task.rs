//! The task that a caller means by an id, and the caller's access to it.
//!
//! A name opens the newest attempt of it, see [`Tasks::find`](crate::tasks::Tasks::find). Access to a name is
//! access to its attempts. A share link opens one exact task.

use super::auth::check_access;
use super::error::ApiError;
use super::route_request::RouteRequest;
use crate::auth::{Caller, Decision, Resource, Scope};
use crate::model::TaskId;
use crate::server::state::State;
use crate::tasks::{FollowStart, TaskHandle, TasksError};

/// Checks that a caller has a scope for a task, or for the name that it is an attempt of.
///
/// # Errors
/// Returns 403, or `hidden()` if the caller may not know that the task exists.
pub(crate) fn check_task_access(
    state: &State,
    caller: &Caller,
    scope: Scope,
    id: &TaskId,
    hidden: impl FnOnce() -> ApiError,
) -> Result<(), ApiError> {
    if caller.may(scope, Resource::Task(id)) == Decision::Hidden
        && !caller.is_share()
        && let Some(attempt) = state.tasks.attempt(id)
    {
        return check_access(caller, scope, Resource::Task(&attempt.of), hidden);
    }
    check_access(caller, scope, Resource::Task(id), hidden)
}

/// Returns whether the caller may read a task.
pub(crate) fn sees_task(state: &State, caller: &Caller, id: &TaskId) -> bool {
    check_task_access(state, caller, Scope::Read, id, || ApiError::task_not_found(id)).is_ok()
}

/// Returns the task that the caller means by `id`, if it exists.
pub(crate) async fn find_task(
    state: &State,
    caller: &Caller,
    id: &TaskId,
    start: FollowStart,
) -> Result<Option<TaskHandle>, TasksError> {
    if caller.is_share() {
        return state.tasks.get(id).await;
    }
    let incarnation = match start {
        FollowStart::After(cursor) => Some(cursor.epoch.incarnation),
        FollowStart::From(_) | FollowStart::Tail(_) => None,
    };
    let found = state.tasks.find(id, incarnation).await?;
    Ok(found.filter(|task| task.id() == id || sees_task(state, caller, task.id())))
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
    /// Returns the task that the path names, to be read from `start` on.
    ///
    /// # Errors
    /// The task does not exist, or the id is invalid.
    pub(crate) fn task(
        &self,
        start: FollowStart,
    ) -> impl Future<Output = Result<TaskHandle, ApiError>> + Send + 'static {
        // The future does not borrow the request, whose body cannot be shared between threads.
        let (id, caller, state) = (self.task_id(), self.caller(), self.state.clone());
        async move {
            let (id, caller) = (id?, caller?);
            let found = find_task(&state, &caller, &id, start).await?;
            found.ok_or_else(|| ApiError::task_not_found(&id))
        }
    }
}
