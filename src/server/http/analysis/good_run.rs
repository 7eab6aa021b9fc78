//! The last good run: the newest earlier log of the same name whose command ended with exit code 0.

use crate::auth::Caller;
use crate::model::{StatusFilter, Task, TaskStatus};
use crate::server::http::auth::sees_task;
use crate::server::state::State;
use crate::tasks::{ListQuery, TaskHandle, TasksError};

/// Maximum number of earlier tasks that are considered.
const TASKS_MAX: usize = 2_000;
/// Tasks per read of the list.
const LIST_TASKS: usize = 200;

/// Returns the last good run before this task that the caller may read.
///
/// # Errors
/// The tasks cannot be read.
pub(super) async fn find(state: &State, caller: &Caller, task: &Task) -> Result<Option<TaskHandle>, TasksError> {
    let mut query = ListQuery {
        status: Some(StatusFilter::Is(TaskStatus::Completed)),
        limit: LIST_TASKS,
        after: Some(format!("{}.{}", task.created.as_millis(), task.id)),
        ..ListQuery::default()
    };
    let mut examined = 0;
    while examined < TASKS_MAX {
        let page = state.tasks.list_where(&query, |id| sees_task(state, caller, id)).await?;
        examined += page.tasks.len();
        for earlier in page.tasks {
            if earlier.exit_code == Some(0) && is_same_job(&earlier, task) {
                return state.tasks.get(&earlier.id).await;
            }
        }
        let Some(next) = page.next else { break };
        query.after = Some(next);
        tokio::task::yield_now().await;
    }
    Ok(None)
}

/// Reports whether two tasks are runs of one job: attempts of one name, ids that differ in a number or a random
/// end, or the same command.
fn is_same_job(one: &Task, other: &Task) -> bool {
    let name =
        |task: &Task| task.attempt.as_ref().map_or_else(|| task.id.to_string(), |attempt| attempt.of.to_string());
    let (one_name, other_name) = (name(one), name(other));
    let stem_of_one = stem(&one_name);
    one_name == other_name
        || (!stem_of_one.is_empty() && stem_of_one == stem(&other_name))
        || (!one.command.is_empty() && one.command == other.command)
}

/// Returns an id without the number or the random word at its end.
fn stem(id: &str) -> &str {
    let Some((stem, end)) = id.rsplit_once(['-', '.', '_', ':']) else {
        return id.trim_end_matches(|c: char| c.is_ascii_digit());
    };
    let is_word = |end: &str| end.chars().all(|c| c.is_ascii_alphabetic());
    if is_word(end) { id } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_job_have_the_same_stem() {
        for (id, wanted) in [
            ("nightly-7", "nightly"),
            ("nightly.12", "nightly"),
            ("make-01j9x2k4", "make"),
            ("build42", "build"),
            ("nightly", "nightly"),
            ("deploy-web", "deploy-web"),
            ("42", ""),
        ] {
            assert_eq!(stem(id), wanted, "{id}");
        }
    }
}
