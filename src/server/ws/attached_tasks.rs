//! The tasks that a connection writes to, and the splitting of long lines.

use std::borrow::Cow;
use std::collections::HashMap;

use ulid::Ulid;

use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{LineText, TaskId};
use crate::tasks::{TaskHandle, Tasks, TasksError, WorkerGuard};

/// Text size at which a batch is passed to the store.
pub(in crate::server) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// What a line for a task that has ended leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum IfEnded {
    /// An error, which the worker reads.
    Reject,
    /// A new attempt, because the worker reads no errors.
    NewAttempt,
}

/// A task that a connection writes to.
#[derive(Debug, Default)]
struct AttachedTask {
    /// The task, looked up with the first line.
    handle: Option<TaskHandle>,
    /// Marks the connection as the task's worker until dropped.
    guard: Option<WorkerGuard>,
    /// The session given by the worker.
    session: Option<String>,
    /// True once missing timestamps were noted in the log.
    times_noted: bool,
    ended: bool,
}

/// The tasks that a connection writes to.
#[derive(Debug)]
pub(in crate::server) struct AttachedTasks {
    tasks: HashMap<TaskId, AttachedTask>,
    /// The session of a worker that numbers its lines without naming a session.
    default_session: String,
    /// Maximum number of tasks. Ended ones are evicted.
    tasks_max: u64,
}

impl AttachedTasks {
    /// Returns an empty set of at most `tasks_max` tasks.
    pub(in crate::server) fn new(tasks_max: u64) -> Self {
        Self { tasks: HashMap::new(), default_session: format!("connection-{}", Ulid::generate()), tasks_max }
    }

    /// Returns the session that the sequence numbers of this task belong to.
    pub(in crate::server) fn session(&self, id: &TaskId) -> &str {
        let named = self.tasks.get(id).and_then(|task| task.session.as_deref());
        named.unwrap_or(&self.default_session)
    }

    /// Returns whether the task is or can be attached. Evicts ended tasks if the limit is reached.
    pub(in crate::server) fn has_capacity(&mut self, id: &TaskId) -> bool {
        if self.is_full() && !self.tasks.contains_key(id) {
            self.tasks.retain(|_, task| !task.ended);
        }
        !self.is_full() || self.tasks.contains_key(id)
    }

    /// Returns whether the limit is reached.
    fn is_full(&self) -> bool {
        self.tasks.len() as u64 >= self.tasks_max
    }

    /// Returns the task's handle. Creates the task if needed, and attaches it.
    pub(in crate::server) async fn handle(
        &mut self,
        tasks: &Tasks,
        id: &TaskId,
        if_ended: IfEnded,
    ) -> Result<TaskHandle, TasksError> {
        let known = self.tasks.get(id).and_then(|task| Some((task.handle.clone()?, task.ended)));
        let handle = match known {
            // A line after this worker's own end is no new log.
            Some((handle, ended)) if ended || if_ended == IfEnded::Reject || !handle.has_ended() => return Ok(handle),
            Some((handle, _)) => handle,
            None => tasks.find_or_create(id, Some(self.session(id))).await?,
        };
        let handle = match if_ended {
            IfEnded::NewAttempt if handle.has_ended() => tasks.start_anonymous_attempt(id).await?,
            _ => handle,
        };
        self.attach(id, handle.clone(), None);
        Ok(handle)
    }

    /// Makes the connection the worker of the task that it calls `id`, in `session` if given.
    pub(in crate::server) fn attach(&mut self, id: &TaskId, handle: TaskHandle, session: Option<String>) {
        let task = self.tasks.entry(id.clone()).or_default();
        task.ended = handle.has_ended();
        task.guard = (!task.ended).then(|| handle.attach());
        task.session = session.or(task.session.take());
        task.handle = Some(handle);
    }

    /// Detaches a task that has ended.
    pub(in crate::server) fn mark_ended(&mut self, id: &TaskId) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.guard = None;
            task.ended = true;
        }
    }

    /// Returns whether the task is a later attempt of the id that the connection uses.
    pub(in crate::server) fn is_later_attempt(&self, id: &TaskId) -> bool {
        self.tasks.get(id).and_then(|task| task.handle.as_ref()).is_some_and(|handle| handle.id() != id)
    }

    /// Forgets a task that was deleted. A later line creates it again.
    pub(in crate::server) fn forget(&mut self, id: &TaskId) {
        self.tasks.remove(id);
    }

    /// Returns true on the first call for a task, whose log should then note the missing timestamps.
    pub(in crate::server) fn note_times(&mut self, id: &TaskId) -> bool {
        let task = self.tasks.entry(id.clone()).or_default();
        !std::mem::replace(&mut task.times_noted, true)
    }

    /// Records a sign of life of the worker for all tasks that have not ended.
    pub(in crate::server) fn heartbeat(&self) {
        let live = self.tasks.values().filter(|task| !task.ended);
        live.filter_map(|task| task.handle.as_ref()).for_each(TaskHandle::heartbeat);
    }
}

/// Splits a line into pieces of at most [`LINE_BYTES_MAX`] bytes. All but the last are marked `partial`.
/// Most lines are a single piece.
pub(in crate::server) fn split_line<'a>(line: &'a LineText<'_>) -> impl Iterator<Item = LineText<'a>> {
    let mut rest = Some(line.text.as_ref());
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let (piece, more) = text.split_at(text.floor_char_boundary(LINE_BYTES_MAX));
        rest = (!more.is_empty()).then_some(more);
        let partial = line.partial || rest.is_some();
        let LineText { timestamp, channel, lossy, .. } = *line;
        Some(LineText { timestamp, channel, partial, lossy, text: Cow::Borrowed(piece) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_split_between_characters() {
        let text = "a".repeat(LINE_BYTES_MAX - 1) + "ü" + &"b".repeat(LINE_BYTES_MAX);
        let line = LineText { text: text.as_str().into(), ..LineText::default() };
        let pieces: Vec<LineText<'_>> = split_line(&line).collect();
        let sizes: Vec<(usize, bool)> = pieces.iter().map(|piece| (piece.text.len(), piece.partial)).collect();
        assert_eq!(sizes, [(LINE_BYTES_MAX - 1, true), (LINE_BYTES_MAX, true), (2, false)]);
        assert_eq!(pieces.iter().map(|piece| piece.text.as_ref()).collect::<String>(), text);
        let empty = LineText::default();
        assert_eq!(split_line(&empty).count(), 1);
    }
}
