//! The rules in force.

use std::sync::Arc;

use super::notice::{Happening, Notice};
use super::queue::ActionQueue;
use super::rule::NoticeRule;
use crate::model::Task;

/// A rule with the queues of its actions.
#[derive(Debug)]
pub(super) struct ActiveRule {
    pub(super) rule: NoticeRule,
    pub(super) queues: Vec<ActionQueue>,
}

/// The rules in force.
pub(super) type ActiveRules = Arc<[ActiveRule]>;

impl ActiveRule {
    /// Reports something to all receivers.
    pub(super) fn report(&self, task: Task, happening: &Happening<'_>, base: &str) {
        let notice = Arc::new(Notice::new(&self.rule, task, happening, base));
        self.queues.iter().for_each(|queue| queue.push(notice.clone()));
    }
}
