//! Good runs: earlier logs of the same job whose command ended with exit code 0.

use super::index::ListQuery;
use super::{Tasks, TasksError};
use crate::model::{StatusFilter, Task, TaskId, TaskStatus};

/// Maximum number of earlier tasks that are considered.
const TASKS_MAX: usize = 2_000;
/// Tasks per read of the list.
const LIST_TASKS: usize = 200;

impl Tasks {
    /// Returns up to `count` visible good runs before this task, newest first.
    ///
    /// # Errors
    /// The tasks cannot be read.
    pub async fn good_runs(
        &self,
        task: &Task,
        count: usize,
        is_visible: impl Fn(&TaskId) -> bool,
    ) -> Result<Vec<Task>, TasksError> {
        let mut query = ListQuery {
            status: Some(StatusFilter::Is(TaskStatus::Completed)),
            limit: LIST_TASKS,
            after: Some(format!("{}.{}", task.created.as_millis(), task.id)),
            ..ListQuery::default()
        };
        let (mut examined, mut good) = (0, Vec::new());
        while examined < TASKS_MAX {
            let page = self.list_where(&query, &is_visible).await?;
            examined += page.tasks.len();
            let is_good = |earlier: &Task| earlier.exit_code == Some(0) && is_same_job(earlier, task);
            good.extend(page.tasks.into_iter().filter(is_good).take(count - good.len()));
            match page.next {
                Some(next) if good.len() < count => query.after = Some(next),
                _ => break,
            }
            tokio::task::yield_now().await;
        }
        Ok(good)
    }
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
