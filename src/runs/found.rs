//! Results of the search for events in the output, by task.

use std::collections::{HashMap, VecDeque};

use crate::events::{MalformedEvent, clean};
use crate::model::{RejectedText, TaskEventCounts, TaskId};

/// Tasks whose counts are kept; those of the oldest are forgotten.
const TASKS_MAX: usize = 10_000;
/// Rejected texts that are kept of one task.
const EXAMPLES_MAX: usize = 10;

/// The counts of all tasks that were read since the server started.
#[derive(Debug, Default)]
pub(super) struct FoundEvents {
    tasks: HashMap<TaskId, TaskEventCounts>,
    order: VecDeque<TaskId>,
}

impl FoundEvents {
    /// Returns the counts of a task.
    pub(super) fn get(&self, task: &TaskId) -> Option<&TaskEventCounts> {
        self.tasks.get(task)
    }

    /// Returns the counts of a task, all zero if it is read for the first time.
    pub(super) fn of(&mut self, task: &TaskId) -> &mut TaskEventCounts {
        if !self.tasks.contains_key(task) {
            if self.order.len() >= TASKS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.tasks.remove(&oldest);
            }
            self.order.push_back(task.clone());
        }
        self.tasks.entry(task.clone()).or_default()
    }

    /// Forgets the counts of a task that is read again from its first line.
    pub(super) fn restart(&mut self, task: &TaskId) {
        *self.of(task) = TaskEventCounts::default();
    }
}

impl TaskEventCounts {
    /// Counts a rejected text.
    pub(super) fn reject(&mut self, text: &MalformedEvent) {
        self.reject_as(text.fault.reason(), text.line, &text.fault.to_string(), &text.excerpt);
    }

    /// Counts a text that is rejected for a reason of the server.
    pub(super) fn reject_as(&mut self, reason: &'static str, line: u64, message: &str, excerpt: &str) {
        *self.rejected.entry(reason.to_owned()).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            let (message, excerpt) = (clean(message), crate::events::excerpt(excerpt.as_bytes()));
            self.examples.push(RejectedText { line, reason: reason.to_owned(), message, excerpt });
        }
    }
}
