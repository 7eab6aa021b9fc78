//! Access to tasks: access to a name is access to its attempts.

use super::check_access;
use crate::auth::{Caller, Decision, Resource, Scope};
use crate::model::TaskId;
use crate::server::http::error::ApiError;
use crate::server::state::State;

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
