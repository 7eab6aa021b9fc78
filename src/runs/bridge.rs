//! Events in tasks' output, into their runs.
//!
//! A task that holds events is read from its first line on, history then live, like by any follower.
//! Ids come from what is read, so reading it again after a restart doubles nothing. What looks like an
//! event and is none is counted, and told in the task's own log, [`notes::NOTES_MAX`] times a task.

mod notes;

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::notes::Notes;
use super::wrap::Wrap;
use super::{Incoming, RunMeters, Runs, RunsError, Source};
use crate::events::{Extractor, ExtractorOptions, Found, Rejected, TOKEN};
use crate::journal::PageLimits;
use crate::model::{BadRunId, Channel, Line, RunId, Task, TaskStatus};
use crate::tasks::{End, EventsGuard, FollowEvent, LogPage, Start, TaskHandle, Tasks, TasksError};

/// A text that may go on in the next line is waited for this long.
const FLUSH_AFTER: Duration = Duration::from_millis(200);
/// Bytes of a line that came in pieces, put together; a longer one is taken in pieces.
const JOINED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Whether writers are kept to runs of their own; asked for each event that names another run than its
/// task's.
pub type KeptApart = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why a task is not read on.
#[derive(Debug, thiserror::Error)]
enum BridgeError {
    #[error("the task's log cannot be read: {0}")]
    Task(#[from] TasksError),
    #[error("its events cannot be stored: {0}")]
    Runs(#[from] RunsError),
}

impl Runs {
    /// Brings the events of all tasks' output into their runs, until the server ends. Tasks that are
    /// open already are looked at first.
    ///
    /// An event belongs to the run it names, else to its task's (its label `run`, or the run of the
    /// task's id). Where `kept_apart` says so it must not name another: it is rejected, and told of.
    pub async fn bridge(&self, tasks: Tasks, kept_apart: KeptApart, shutdown: CancellationToken, tracker: TaskTracker) {
        let mut eventful = tasks.eventful();
        let look = async {
            for task in tasks.open_tasks() {
                if let Err(error) = task.look_for_events().await
                    && !matches!(error, TasksError::Removed(_))
                {
                    self.meters().extraction.failed(&format!("task {}: {error}", task.id()));
                    tracing::warn!(task = %task.id(), %error, "a task could not be looked at for events; the next start does it");
                }
            }
            std::future::pending::<()>().await;
        };
        let mut look = std::pin::pin!(look);
        loop {
            let (task, guard) = tokio::select! {
                () = shutdown.cancelled() => return,
                task = eventful.next() => task,
                () = &mut look => return,
            };
            let (runs, kept_apart, shutdown) = (self.clone(), kept_apart.clone(), shutdown.clone());
            tracker.spawn(async move { Bridge::new(runs, task, kept_apart).run(guard, shutdown).await });
        }
    }
}

/// One task's way.
struct Bridge {
    runs: Runs,
    task: TaskHandle,
    /// The line to be read next.
    next: u64,
    /// One for each channel that a command writes to: their texts are not one.
    texts: [Text; 2],
    /// Each line is an event.
    wrap: Option<Wrap>,
    found: Vec<Incoming>,
    default_run: RunId,
    kept_apart: KeptApart,
    source: Arc<str>,
    notes: Notes,
}

/// What came on one channel.
struct Text {
    extractor: Extractor,
    /// The pieces so far of a line that was cut, and the number of the first.
    joined: Option<(u64, String)>,
}

impl Bridge {
    fn new(runs: Runs, task: TaskHandle, kept_apart: KeptApart) -> Self {
        let facts = task.facts();
        let options = ExtractorOptions { host: facts.host.clone(), texts: false };
        let text = || Text { extractor: Extractor::new(options.clone()), joined: None };
        let default_run = facts.labels.get("run").and_then(|run| run.parse().ok());
        let default_run = default_run.unwrap_or_else(|| RunId::from(task.id().clone()));
        let known_through = facts.last_line;
        Self {
            wrap: Wrap::of(&facts, task.epoch().incarnation, &default_run),
            source: format!("task:{}", task.id()).into(),
            next: 1,
            texts: [text(), text()],
            found: Vec::new(),
            notes: Notes::new(known_through),
            default_run,
            kept_apart,
            runs,
            task,
        }
    }

    async fn run(mut self, guard: EventsGuard, shutdown: CancellationToken) {
        match self.read_all(shutdown).await {
            Ok(true) => guard.done(),
            Ok(false) => {}
            // It was removed: nothing is owed.
            Err(BridgeError::Task(TasksError::Removed(_))) => guard.done(),
            Err(error) => {
                self.meters().extraction.failed(&format!("task {}: {error}", self.task.id()));
                tracing::warn!(task = %self.task.id(), %error, "a task's events are not read on; the next start does it");
            }
        }
    }

    fn meters(&self) -> &RunMeters {
        self.runs.meters()
    }

    /// Reads to the task's end; false if the server ends first.
    async fn read_all(&mut self, shutdown: CancellationToken) -> Result<bool, BridgeError> {
        let mut changes = self.task.changes();
        let mut follower = self.task.follow(Start::From(1));
        if let Some(wrap) = &self.wrap {
            self.found.extend(wrap.begin());
        }
        let mut flush_at = None;
        loop {
            changes.mark_unchanged();
            if let Some(end) = self.task.closing() {
                self.read_rest().await?;
                let facts = ended(self.task.facts(), &end);
                self.finish(&facts).await?;
                return Ok(true);
            }
            let silence = async {
                match flush_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(false),
                _ = changes.changed() => {}
                () = silence => {
                    self.each_text(Extractor::flush);
                    flush_at = None;
                    self.send().await?;
                }
                event = follower.next() => match event? {
                    Some(FollowEvent::Page(page)) => {
                        self.page(&page);
                        self.send().await?;
                        let waiting = self.texts.iter().any(|text| text.extractor.is_waiting());
                        flush_at = waiting.then(|| Instant::now() + FLUSH_AFTER);
                    }
                    Some(FollowEvent::End { task, .. }) => {
                        self.finish(&task).await?;
                        return Ok(true);
                    }
                    Some(_) => {}
                    None => return Ok(true),
                },
            }
        }
    }

    /// The end is near: no line can follow those that are there.
    async fn read_rest(&mut self) -> Result<(), BridgeError> {
        loop {
            let page = self.task.read(self.next, PageLimits::default()).await?;
            if page.is_empty() {
                return Ok(());
            }
            self.page(&page);
            self.send().await?;
        }
    }

    async fn finish(&mut self, facts: &Task) -> Result<(), BridgeError> {
        self.end_texts(Extractor::finish);
        if let Some(wrap) = &self.wrap {
            self.found.extend(wrap.end(facts));
        }
        self.notes.known_through = 0;
        self.send().await
    }

    /// Nothing follows what has come so far.
    fn end_texts(&mut self, what: impl Fn(&mut Extractor, &mut dyn FnMut(Found<'_>))) {
        for channel in 0..self.texts.len() {
            if let Some((n, line)) = self.texts.get_mut(channel).and_then(|text| text.joined.take()) {
                self.feed(channel, n, &line);
            }
        }
        self.each_text(what);
    }

    fn page(&mut self, page: &LogPage) {
        if let Some(gap) = &page.gap {
            self.end_texts(Extractor::flush);
            let meter = &self.meters().extraction;
            meter.dropped(gap.count);
            let lines = format!("lines {} to {}", gap.from, gap.to);
            meter.failed(&format!("{}: {lines} are not there any more, nor are their events", self.source));
        }
        for line in &page.lines {
            match line.channel {
                Channel::Internal => self.notes.seen(&line.line),
                Channel::Stdout => self.line(0, line),
                Channel::Stderr => self.line(1, line),
            }
        }
        self.next = page.next;
    }

    /// Takes a line, or a piece of one.
    fn line(&mut self, channel: usize, line: &Line<'_>) {
        let Some(text) = self.texts.get_mut(channel) else { return };
        let whole = match text.joined.take() {
            Some((n, mut begun)) => {
                begun.push_str(&line.line);
                (n, begun)
            }
            None if line.partial => (line.n, line.line.clone().into_owned()),
            None => {
                self.wrap_line(channel, line.n, line);
                return self.feed(channel, line.n, &line.line);
            }
        };
        if line.partial && whole.1.len() < JOINED_BYTES_MAX {
            text.joined = Some(whole);
        } else {
            let joined = Line { line: whole.1.as_str().into(), ..line.clone() };
            self.wrap_line(channel, whole.0, &joined);
            self.feed(channel, whole.0, &whole.1);
        }
    }

    /// A line that holds events of its own is not one itself.
    fn wrap_line(&mut self, channel: usize, n: u64, line: &Line<'_>) {
        if let Some(wrap) = &self.wrap
            && line.line.split_once(TOKEN).is_none_or(|(_, rest)| !rest.contains('{'))
        {
            self.found.extend(wrap.line(n, channel == 1, line));
        }
    }

    fn feed(&mut self, channel: usize, n: u64, line: &str) {
        let Self { texts, found, notes, source, runs, .. } = self;
        let Some(text) = texts.get_mut(channel) else { return };
        text.extractor.feed_line(n, line, &mut |item| take(item, found, notes, source, runs.meters()));
    }

    fn each_text(&mut self, what: impl Fn(&mut Extractor, &mut dyn FnMut(Found<'_>))) {
        let Self { texts, found, notes, source, runs, .. } = self;
        for text in texts {
            what(&mut text.extractor, &mut |item| take(item, found, notes, source, runs.meters()));
        }
    }

    /// The run an event names; the task's own if it names none, or one that cannot be, which is told.
    /// None if that is not the task's to write.
    fn run_of(&mut self, incoming: &Incoming) -> Option<RunId> {
        let view = incoming.event.view();
        let Some(named) = &view.run_id else { return Some(self.default_run.clone()) };
        let line = incoming.source.as_ref().and_then(|source| source.seq).unwrap_or_default();
        let named = named.parse().unwrap_or_else(|error: BadRunId| {
            let text =
                format!("{}, line {line}: field `run_id`: {error}; it is in run {}", self.source, self.default_run);
            self.runs.meters().extraction.failed(&text);
            self.default_run.clone()
        });
        if named == self.default_run || !(self.kept_apart)() {
            return Some(named);
        }
        let text = format!(
            "field `run_id`: this task writes run {} alone, since tokens of this store are limited to runs; start it \
             with the label run={named}",
            self.default_run
        );
        self.runs.meters().extraction.rejected("foreign_run", &text);
        self.notes.add(line, &text);
        None
    }

    /// Gives what was found to its runs, and the notes to the log.
    async fn send(&mut self) -> Result<(), BridgeError> {
        let mut by_run: Vec<(RunId, Vec<Incoming>)> = Vec::new();
        for incoming in std::mem::take(&mut self.found) {
            let Some(run) = self.run_of(&incoming) else { continue };
            match by_run.iter_mut().find(|(known, _)| *known == run) {
                Some((_, events)) => events.push(incoming),
                None => by_run.push((run, vec![incoming])),
            }
        }
        for (run, events) in by_run {
            let appended = self.runs.get_or_new(&run).append(&events).await?;
            let meter = &self.runs.meters().extraction;
            meter.delivered(events.len() as u64 - appended.rejected.len() as u64);
            for refused in &appended.rejected {
                meter.rejected(refused.fault.reason(), &refused.fault.to_string());
                let line = events.get(refused.index).and_then(|event| event.source.as_ref()?.seq);
                self.notes.add(line.unwrap_or_default(), &refused.fault.to_string());
            }
        }
        if self.next > self.notes.known_through {
            let texts: Vec<String> = self.notes.due.values().cloned().collect();
            if !texts.is_empty() {
                match self.task.note(&texts).await {
                    Ok(()) => self.notes.told.extend(std::mem::take(&mut self.notes.due).into_keys()),
                    // The end was begun: it waits for us in a moment, and takes them then.
                    Err(error) => tracing::debug!(task = %self.task.id(), %error, "no note was taken"),
                }
            }
        }
        Ok(())
    }
}

/// The facts of a task as they will be at its end.
fn ended(mut task: Task, end: &End) -> Task {
    if task.status == TaskStatus::Lost && task.ended.is_some() {
        return task;
    }
    task.status = if end.aborted { TaskStatus::Aborted } else { TaskStatus::Completed };
    (task.exit_code, task.signal, task.ended) = (end.exit_code, end.signal, end.at);
    task
}

/// Takes what an extractor found.
fn take(
    item: Found<'_>,
    found: &mut Vec<Incoming>,
    notes: &mut Notes,
    source: &std::sync::Arc<str>,
    meters: &RunMeters,
) {
    let meter = &meters.extraction;
    match item {
        Found::Event(extracted) => {
            meter.received(1);
            meter.parsed(1);
            let source = Some(Source { name: source.clone(), seq: Some(extracted.line) });
            found.push(Incoming { event: extracted.identified, source });
        }
        Found::Echo { .. } => {
            meter.received(1);
            meter.parsed(1);
            meter.deduplicated(1);
        }
        Found::Rejected(Rejected { line, fault, .. }) => {
            meter.received(1);
            meter.rejected(fault.reason(), &format!("{source}, line {line}: {fault}"));
            notes.add(line, &fault.to_string());
        }
        Found::Task(_) | Found::Text { .. } => {}
    }
}
