//! The bridge from tasks' output to runs: extracts events and appends them.
//!
//! A task with events is read from its first line on, history then live, like by any follower. Event ids are
//! derived from the text, so a second read after a restart adds no duplicates. Text that looks like an event
//! but is invalid is counted, and noted in the task's own log, at most [`notes::NOTES_MAX`] times per task.

mod notes;

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::notes::LogNotes;
use super::line_events::LineEventAdapter;
use super::{EventSource, IncomingEvent, RunMeters, Runs, RunsError};
use crate::events::{ExtractedItem, Extractor, ExtractorOptions, MalformedEvent, TOKEN};
use crate::journal::PageLimits;
use crate::model::{BadRunId, Channel, Line, RunId, Task, TaskStatus};
use crate::tasks::{EndRequest, EventsGuard, FollowEvent, FollowStart, LogPage, TaskHandle, Tasks, TasksError};

/// Time for which a text that may continue in the next line is held back.
const FLUSH_AFTER: Duration = Duration::from_millis(200);
/// Maximum bytes of a line joined from its pieces; a longer one is read in several parts.
const JOINED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Reports whether tasks may write only to their own runs. Called for each event that names another run.
pub type RunIsolation = Arc<dyn Fn() -> bool + Send + Sync>;

/// An error that stops the reading of a task.
#[derive(Debug, thiserror::Error)]
enum BridgeError {
    #[error("cannot read the task's log: {0}")]
    Task(#[from] TasksError),
    #[error("cannot store its events: {0}")]
    Runs(#[from] RunsError),
}

impl Runs {
    /// Appends the events in all tasks' output to their runs, until shutdown. Tasks that are open already are
    /// scanned as well.
    ///
    /// An event belongs to the run it names, or else to the run of its task: the label `run`, or the task's
    /// id. With `isolation` an event that names another run is rejected and noted in the task's log.
    pub async fn bridge(
        &self,
        tasks: Tasks,
        isolation: RunIsolation,
        shutdown: CancellationToken,
        tracker: TaskTracker,
    ) {
        let mut with_events = tasks.tasks_with_events();
        let scan = async {
            for task in tasks.open_tasks() {
                if let Err(error) = task.scan_for_events().await
                    && !matches!(error, TasksError::Removed(_))
                {
                    self.meters().extraction.failed(&format!("task {}: {error}", task.id()));
                    tracing::warn!(task = %task.id(), %error, "failed to scan a task for events; the next start will retry");
                }
            }
            std::future::pending::<()>().await;
        };
        let mut scan = std::pin::pin!(scan);
        loop {
            let (task, guard) = tokio::select! {
                () = shutdown.cancelled() => return,
                task = with_events.next() => task,
                () = &mut scan => return,
            };
            let (runs, isolation, shutdown) = (self.clone(), isolation.clone(), shutdown.clone());
            tracker.spawn(async move { Bridge::new(runs, task, isolation).run(guard, shutdown).await });
        }
    }
}

/// The bridge of one task.
struct Bridge {
    runs: Runs,
    task: TaskHandle,
    /// Next line to read.
    next: u64,
    /// Separate text of stdout and stderr.
    texts: [ChannelText; 2],
    /// Set if each line is an event.
    adapter: Option<LineEventAdapter>,
    found: Vec<IncomingEvent>,
    default_run: RunId,
    isolation: RunIsolation,
    source: Arc<str>,
    notes: LogNotes,
}

/// The text of one channel.
struct ChannelText {
    extractor: Extractor,
    /// Pieces of an incomplete line so far, and the number of the first piece.
    joined: Option<(u64, String)>,
}

impl Bridge {
    fn new(runs: Runs, task: TaskHandle, isolation: RunIsolation) -> Self {
        let details = task.details();
        let options = ExtractorOptions { host: details.host.clone(), texts: false };
        let text = || ChannelText { extractor: Extractor::new(options.clone()), joined: None };
        let default_run = details.labels.get("run").and_then(|run| run.parse().ok());
        let default_run = default_run.unwrap_or_else(|| RunId::from(task.id().clone()));
        let known_through = details.last_line;
        Self {
            adapter: LineEventAdapter::new(&details, task.epoch().incarnation, &default_run),
            source: format!("task:{}", task.id()).into(),
            next: 1,
            texts: [text(), text()],
            found: Vec::new(),
            notes: LogNotes::new(known_through),
            default_run,
            isolation,
            runs,
            task,
        }
    }

    async fn run(mut self, guard: EventsGuard, shutdown: CancellationToken) {
        match self.read_all(shutdown).await {
            Ok(true) => guard.finish(),
            Ok(false) => {}
            // Removed: there is nothing left to read.
            Err(BridgeError::Task(TasksError::Removed(_))) => guard.finish(),
            Err(error) => {
                self.meters().extraction.failed(&format!("task {}: {error}", self.task.id()));
                tracing::warn!(task = %self.task.id(), %error, "stopped reading a task's events; the next start will retry");
            }
        }
    }

    fn meters(&self) -> &RunMeters {
        self.runs.meters()
    }

    /// Reads to the task's end. Returns false if the server shuts down first.
    async fn read_all(&mut self, shutdown: CancellationToken) -> Result<bool, BridgeError> {
        let mut changes = self.task.changes();
        let mut follower = self.task.follow(FollowStart::From(1));
        if let Some(adapter) = &self.adapter {
            self.found.extend(adapter.start());
        }
        let mut flush_at = None;
        loop {
            changes.mark_unchanged();
            if let Some(end) = self.task.pending_end() {
                self.read_rest().await?;
                let details = ended(self.task.details(), &end);
                self.finish(&details).await?;
                return Ok(true);
            }
            let flush_due = async {
                match flush_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(false),
                _ = changes.changed() => {}
                () = flush_due => {
                    self.for_each_text(Extractor::flush);
                    flush_at = None;
                    self.flush().await?;
                }
                event = follower.next() => match event? {
                    Some(FollowEvent::Page(page)) => {
                        self.read_page(&page);
                        self.flush().await?;
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

    /// Reads all remaining lines, once the end was announced.
    async fn read_rest(&mut self) -> Result<(), BridgeError> {
        loop {
            let page = self.task.read(self.next, PageLimits::default()).await?;
            if page.is_empty() {
                return Ok(());
            }
            self.read_page(&page);
            self.flush().await?;
        }
    }

    /// Ends all texts and flushes the last events.
    async fn finish(&mut self, details: &Task) -> Result<(), BridgeError> {
        self.end_texts(Extractor::finish);
        if let Some(adapter) = &self.adapter {
            self.found.extend(adapter.end(details));
        }
        self.notes.known_through = 0;
        self.flush().await
    }

    /// Feeds incomplete lines and applies `end` to every extractor, because no text continues.
    fn end_texts(&mut self, end: impl Fn(&mut Extractor, &mut dyn FnMut(ExtractedItem<'_>))) {
        for channel in 0..self.texts.len() {
            if let Some((n, line)) = self.texts.get_mut(channel).and_then(|text| text.joined.take()) {
                self.feed(channel, n, &line);
            }
        }
        self.for_each_text(end);
    }

    fn read_page(&mut self, page: &LogPage) {
        if let Some(gap) = &page.gap {
            self.end_texts(Extractor::flush);
            let meter = &self.meters().extraction;
            meter.dropped(gap.count);
            let lines = format!("lines {} to {}", gap.from, gap.to);
            meter.failed(&format!("{}: {lines} are missing, and so are their events", self.source));
        }
        for line in &page.lines {
            match line.channel {
                Channel::Internal => self.notes.observe(&line.line),
                Channel::Stdout => self.read_line(0, line),
                Channel::Stderr => self.read_line(1, line),
            }
        }
        self.next = page.next;
    }

    /// Reads a line, or a piece of one.
    fn read_line(&mut self, channel: usize, line: &Line<'_>) {
        let Some(text) = self.texts.get_mut(channel) else { return };
        let whole = match text.joined.take() {
            Some((n, mut joined)) => {
                joined.push_str(&line.line);
                (n, joined)
            }
            None if line.partial => (line.n, line.line.clone().into_owned()),
            None => {
                self.adapt_line(channel, line.n, line);
                return self.feed(channel, line.n, &line.line);
            }
        };
        if line.partial && whole.1.len() < JOINED_BYTES_MAX {
            text.joined = Some(whole);
        } else {
            let joined = Line { line: whole.1.as_str().into(), ..line.clone() };
            self.adapt_line(channel, whole.0, &joined);
            self.feed(channel, whole.0, &whole.1);
        }
    }

    /// Converts a line into an event, unless it contains events.
    fn adapt_line(&mut self, channel: usize, n: u64, line: &Line<'_>) {
        if let Some(adapter) = &self.adapter
            && line.line.split_once(TOKEN).is_none_or(|(_, rest)| !rest.contains('{'))
        {
            self.found.extend(adapter.line(n, channel == 1, line));
        }
    }

    fn feed(&mut self, channel: usize, n: u64, line: &str) {
        let Self { texts, found, notes, source, runs, .. } = self;
        let Some(text) = texts.get_mut(channel) else { return };
        text.extractor.feed_line(n, line, &mut |item| collect(item, found, notes, source, runs.meters()));
    }

    fn for_each_text(&mut self, apply: impl Fn(&mut Extractor, &mut dyn FnMut(ExtractedItem<'_>))) {
        let Self { texts, found, notes, source, runs, .. } = self;
        for text in texts {
            apply(&mut text.extractor, &mut |item| collect(item, found, notes, source, runs.meters()));
        }
    }

    /// Returns the run of an event: the one it names, or the task's own if it names none or an invalid one.
    /// Returns `None` if the task must not write to that run.
    fn run_of(&mut self, incoming: &IncomingEvent) -> Option<RunId> {
        let view = incoming.event.view();
        let Some(named) = &view.run_id else { return Some(self.default_run.clone()) };
        let line = incoming.source.as_ref().and_then(|source| source.seq).unwrap_or_default();
        let named = named.parse().unwrap_or_else(|error: BadRunId| {
            let text =
                format!("{}, line {line}: field `run_id`: {error}; stored in run {}", self.source, self.default_run);
            self.runs.meters().extraction.failed(&text);
            self.default_run.clone()
        });
        if named == self.default_run || !(self.isolation)() {
            return Some(named);
        }
        let text = format!(
            "field `run_id`: this task may write only to run {}, because tokens of this server are limited to runs; start \
             the task with the label run={named}",
            self.default_run
        );
        self.runs.meters().extraction.rejected("foreign_run", &text);
        self.notes.add(line, &text);
        None
    }

    /// Appends the collected events to their runs, and the notes to the task's log.
    async fn flush(&mut self) -> Result<(), BridgeError> {
        let mut by_run: Vec<(RunId, Vec<IncomingEvent>)> = Vec::new();
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
                match self.task.append_internal(&texts).await {
                    Ok(()) => self.notes.written.extend(std::mem::take(&mut self.notes.due).into_keys()),
                    // The end is being committed; once it waits for the events, notes are accepted.
                    Err(error) => tracing::debug!(task = %self.task.id(), %error, "notes not accepted yet"),
                }
            }
        }
        Ok(())
    }
}

/// Returns the details of a task as they will be after its end.
fn ended(mut task: Task, end: &EndRequest) -> Task {
    if task.status == TaskStatus::Lost && task.ended.is_some() {
        return task;
    }
    task.status = if end.aborted { TaskStatus::Aborted } else { TaskStatus::Completed };
    (task.exit_code, task.signal, task.ended) = (end.exit_code, end.signal, end.at);
    task
}

/// Collects and counts an item found by an extractor.
fn collect(
    item: ExtractedItem<'_>,
    found: &mut Vec<IncomingEvent>,
    notes: &mut LogNotes,
    source: &std::sync::Arc<str>,
    meters: &RunMeters,
) {
    let meter = &meters.extraction;
    match item {
        ExtractedItem::Event(extracted) => {
            meter.received(1);
            meter.parsed(1);
            let source = Some(EventSource { name: source.clone(), seq: Some(extracted.line) });
            found.push(IncomingEvent { event: extracted.identified, source });
        }
        ExtractedItem::Echo { .. } => {
            meter.received(1);
            meter.parsed(1);
            meter.deduplicated(1);
        }
        ExtractedItem::Rejected(MalformedEvent { line, fault, .. }) => {
            meter.received(1);
            meter.rejected(fault.reason(), &format!("{source}, line {line}: {fault}"));
            notes.add(line, &fault.to_string());
        }
        ExtractedItem::Task(_) | ExtractedItem::Text { .. } => {}
    }
}
