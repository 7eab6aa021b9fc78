//! What a connection knows of the tasks it has spoken of, and how a long line is cut.

use std::borrow::Cow;
use std::collections::HashMap;

use ulid::Ulid;

use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{LineText, TaskId};
use crate::tasks::{TaskHandle, Tasks, TasksError, WorkerGuard};

/// Bytes of text in one batch for the store; then it is handed over.
pub(in crate::server) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A task that a connection has spoken of.
#[derive(Debug, Default)]
struct Spoken {
    /// Looked up with the first line.
    handle: Option<TaskHandle>,
    /// The connection speaks for the task while this lives.
    guard: Option<WorkerGuard>,
    /// The session that its worker named.
    session: Option<String>,
    /// It was noted that lines come without a time.
    times_noted: bool,
    ended: bool,
}

/// All tasks that a connection has spoken of.
#[derive(Debug)]
pub(in crate::server) struct AllSpoken {
    tasks: HashMap<TaskId, Spoken>,
    /// The session of a worker that counts but never named one.
    own_session: String,
    /// Tasks at most; ended ones make room.
    tasks_max: u64,
}

impl AllSpoken {
    /// Of none yet.
    pub(in crate::server) fn new(tasks_max: u64) -> Self {
        Self { tasks: HashMap::new(), own_session: format!("connection-{}", Ulid::generate()), tasks_max }
    }

    /// The session that the numbers of this task count in.
    pub(in crate::server) fn session(&self, id: &TaskId) -> &str {
        let named = self.tasks.get(id).and_then(|spoken| spoken.session.as_deref());
        named.unwrap_or(&self.own_session)
    }

    /// Whether one more task can be spoken of; ended ones are forgotten to make room.
    pub(in crate::server) fn has_room(&mut self, id: &TaskId) -> bool {
        if self.is_full() && !self.tasks.contains_key(id) {
            self.tasks.retain(|_, spoken| !spoken.ended);
        }
        !self.is_full() || self.tasks.contains_key(id)
    }

    fn is_full(&self) -> bool {
        self.tasks.len() as u64 >= self.tasks_max
    }

    /// The task, made if need be; from now on the connection speaks for it.
    pub(in crate::server) async fn handle(&mut self, tasks: &Tasks, id: &TaskId) -> Result<TaskHandle, TasksError> {
        if let Some(handle) = self.tasks.get(id).and_then(|spoken| spoken.handle.as_ref()) {
            return Ok(handle.clone());
        }
        let handle = tasks.get_or_create(id).await?;
        self.speak(handle.clone(), None);
        Ok(handle)
    }

    /// The connection speaks for this task, in this session if it named one.
    pub(in crate::server) fn speak(&mut self, handle: TaskHandle, session: Option<String>) {
        let spoken = self.tasks.entry(handle.id().clone()).or_default();
        spoken.ended = handle.facts().status.is_final();
        spoken.guard = (!spoken.ended).then(|| handle.attach());
        spoken.session = session.or(spoken.session.take());
        spoken.handle = Some(handle);
    }

    /// The task's end was said: the connection speaks for it no more.
    pub(in crate::server) fn ended(&mut self, id: &TaskId) {
        if let Some(spoken) = self.tasks.get_mut(id) {
            spoken.guard = None;
            spoken.ended = true;
        }
    }

    /// The task was removed; a later line makes it anew.
    pub(in crate::server) fn forget(&mut self, id: &TaskId) {
        self.tasks.remove(id);
    }

    /// Whether a missing time is still to be noted in this task's log; true once.
    pub(in crate::server) fn note_times(&mut self, id: &TaskId) -> bool {
        let spoken = self.tasks.entry(id.clone()).or_default();
        !std::mem::replace(&mut spoken.times_noted, true)
    }

    /// The worker lives, and with it every task that it speaks for.
    pub(in crate::server) fn heartbeat(&self) {
        let live = self.tasks.values().filter(|spoken| !spoken.ended);
        live.filter_map(|spoken| spoken.handle.as_ref()).for_each(TaskHandle::heartbeat);
    }
}

/// A line in pieces of at most [`LINE_BYTES_MAX`] bytes, all but the last marked `partial`; nearly
/// always one piece.
pub(in crate::server) fn pieces<'a>(line: &'a LineText<'_>) -> impl Iterator<Item = LineText<'a>> {
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
    fn long_lines_are_cut_between_characters() {
        let text = "a".repeat(LINE_BYTES_MAX - 1) + "ü" + &"b".repeat(LINE_BYTES_MAX);
        let line = LineText { text: text.as_str().into(), ..LineText::default() };
        let cut: Vec<LineText<'_>> = pieces(&line).collect();
        let sizes: Vec<(usize, bool)> = cut.iter().map(|piece| (piece.text.len(), piece.partial)).collect();
        assert_eq!(sizes, [(LINE_BYTES_MAX - 1, true), (LINE_BYTES_MAX, true), (2, false)]);
        assert_eq!(cut.iter().map(|piece| piece.text.as_ref()).collect::<String>(), text);
        let empty = LineText::default();
        assert_eq!(pieces(&empty).count(), 1);
    }
}
