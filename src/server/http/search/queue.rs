//! The position of a search, and the tasks that are still to be searched.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use crate::model::{TaskId, Timestamp};
use crate::server::http::error::ApiError;
use crate::server::http::query::QueryParams;
use crate::tasks::ListQuery;

/// Tasks per read of the list.
const LIST_TASKS: usize = 100;

/// The position of a search: a line of a task, or the end of the task for line 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) created: Timestamp,
    pub(super) task: TaskId,
}

impl Position {
    /// Returns the key by which tasks are ordered.
    pub(super) fn key(&self) -> (Timestamp, &TaskId) {
        (self.created, &self.task)
    }
}

/// Writes `LINE.MILLISECONDS.ID`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.line, self.created.as_millis(), self.task)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (line, rest) = text.split_once('.')?;
            let (created, task) = rest.split_once('.')?;
            let created = Timestamp::from_millis(created.parse().ok()?);
            Some(Self { line: line.parse().ok()?, created, task: task.parse().ok()? })
        };
        parse().ok_or("is not the cursor of a search")
    }
}

/// The tasks that are still to be searched, newest first.
pub(super) struct TaskQueue {
    pub(super) ready: VecDeque<Position>,
    /// The query of the next page of the list; `None` at its end, and if the tasks were named.
    pub(super) list: Option<ListQuery>,
}

impl TaskQueue {
    pub(super) fn new(
        query: &QueryParams,
        named: Option<Vec<Position>>,
        after: Option<Position>,
    ) -> Result<Self, ApiError> {
        if let Some(named) = named {
            let mut ready: VecDeque<Position> = named.into();
            if let Some(after) = after {
                ready.retain(|position| position.key() < after.key());
                if after.line > 0 {
                    ready.push_front(after);
                }
            }
            return Ok(Self { ready, list: None });
        }
        let labels = query.labels()?;
        let list_after = after.as_ref().map(|after| format!("{}.{}", after.created.as_millis(), after.task));
        let list = Some(ListQuery { labels, limit: LIST_TASKS, after: list_after, ..ListQuery::default() });
        Ok(Self { ready: after.filter(|after| after.line > 0).into_iter().collect(), list })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_parsed_as_written() {
        let position: Position = "7.1778336581000.nightly.2".parse().unwrap();
        assert_eq!((position.line, position.task.as_str()), (7, "nightly.2"));
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!(["", "7", "7.x.t", "7.1."].iter().all(|text| text.parse::<Position>().is_err()));
    }
}
