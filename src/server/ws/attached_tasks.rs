//! The tasks that a connection writes to, and the splitting of long lines.

use std::borrow::Cow;
use std::collections::HashMap;

use ulid::Ulid;

use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{LineText, TaskId, cut};
use crate::tasks::{TaskHandle, Tasks, TasksError, WorkerGuard};

/// Maximum number of lines that one sent line becomes when it holds newlines.
const LINE_PARTS_MAX: usize = 1024;

/// Text size at which a batch is passed to the store.
pub(in crate::server) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// The reaction to a line for a task that has ended.
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
    /// True once a line had a sequence number: a missing line then shows as a gap.
    numbered: bool,
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

    /// Records that the worker numbers the lines of a task.
    pub(in crate::server) fn note_numbered(&mut self, id: &TaskId) {
        self.tasks.entry(id.clone()).or_default().numbered = true;
    }

    /// Returns the task that a message without an id must belong to, if it is the only one and its lines have
    /// no numbers.
    pub(in crate::server) fn only_unnumbered(&self) -> Option<&TaskId> {
        let mut open = self.tasks.iter().filter(|(_, task)| !task.ended);
        let (id, task) = open.next()?;
        (open.next().is_none() && !task.numbered && task.session.is_none()).then_some(id)
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

/// Returns whether [`split_line`] would change a line.
pub(in crate::server) fn needs_split(text: &str) -> bool {
    text.len() > LINE_BYTES_MAX || memchr::memchr(b'\n', text.as_bytes()).is_some()
}

/// Splits a line into pieces that can be stored: at newlines, of which one at the end is dropped, and into
/// pieces of at most [`LINE_BYTES_MAX`] bytes, of which all but the last are marked `partial`. Newlines beyond
/// the first [`LINE_PARTS_MAX`] are replaced by U+FFFD.
pub(in crate::server) fn split_line<'a>(line: &'a LineText<'_>) -> impl Iterator<Item = LineText<'a>> {
    let text = line.text.strip_suffix('\n').unwrap_or(&line.text);
    let mut parts = text.splitn(LINE_PARTS_MAX, '\n').peekable();
    let mut rest: Option<Cow<'a, str>> = None;
    std::iter::from_fn(move || {
        let text = match rest.take() {
            Some(text) => text,
            None => match parts.next()? {
                part if part.contains('\n') => Cow::Owned(part.replace('\n', "\u{fffd}")),
                part => Cow::Borrowed(part),
            },
        };
        let cut = cut::predictable_position(&text, LINE_BYTES_MAX);
        let (piece, more) = match text {
            Cow::Borrowed(text) => (Cow::Borrowed(&text[..cut]), Cow::Borrowed(&text[cut..])),
            Cow::Owned(text) => (Cow::Owned(text[..cut].to_owned()), Cow::Owned(text[cut..].to_owned())),
        };
        rest = (!more.is_empty()).then_some(more);
        // The mark of a line that goes on in the next message belongs to its last piece.
        let partial = rest.is_some() || (line.partial && parts.peek().is_none());
        let lossy = line.lossy || matches!(piece, Cow::Owned(_));
        let LineText { timestamp, channel, .. } = *line;
        Some(LineText { timestamp, channel, partial, lossy, text: piece })
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
        let coloured = "a".repeat(LINE_BYTES_MAX - 2) + "\x1b[31mred";
        let line = LineText { text: coloured.as_str().into(), ..LineText::default() };
        let pieces: Vec<LineText<'_>> = split_line(&line).collect();
        assert_eq!(pieces[1].text, "\x1b[31mred", "an escape sequence stays whole");
        let empty = LineText::default();
        assert_eq!(split_line(&empty).count(), 1);
    }

    #[test]
    fn newlines_end_lines() {
        let parts = |text: &str| -> Vec<String> {
            let line = LineText { text: text.into(), ..LineText::default() };
            split_line(&line).map(|piece| piece.text.into_owned()).collect()
        };
        assert_eq!(parts("Traceback:\n  main()\nValueError\n"), ["Traceback:", "  main()", "ValueError"]);
        assert_eq!(parts("\n"), [""]);
        assert_eq!(parts("a\n\n"), ["a", ""]);
        let many = parts(&"\n".repeat(100_000));
        assert_eq!(many.len(), 1023 + 5, "the rest is one line of 296,928 bytes");
        assert!(many[1023].starts_with('\u{fffd}') && many[1022].is_empty());
        let open = LineText { partial: true, text: "a\nb".into(), ..LineText::default() };
        assert_eq!(split_line(&open).map(|piece| piece.partial).collect::<Vec<_>>(), [false, true]);
    }
}
