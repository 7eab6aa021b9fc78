//! The bridge from tasks' output to runs: extracts events and appends them.
//!
//! A task with events is read from its first line on, history then live, like by any follower. Event ids are
//! derived from the text, so a second read after a restart adds no duplicates. Text that looks like an event
//! but is invalid is counted by task and reason, and never written to the task's log.

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::line_events::LineEventAdapter;
use super::{EventSource, IncomingEvent, RunHandle, RunStage, Runs, RunsError};
use crate::events::{ExtractedItem, Extractor, ExtractorOptions, TOKEN};
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
    /// id. With `isolation` an event that names another run is rejected.
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
    /// The run that rejected texts are counted for.
    own_run: RunHandle,
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
        runs.inner.found.lock().restart(task.id());
        Self {
            adapter: LineEventAdapter::new(&details, task.epoch().incarnation, &default_run),
            source: format!("task:{}", task.id()).into(),
            next: 1,
            texts: [text(), text()],
            found: Vec::new(),
            own_run: runs.get_or_new(&default_run),
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
                self.meter().failed(&format!("task {}: {error}", self.task.id()));
                tracing::warn!(task = %self.task.id(), %error, "stopped reading a task's events; the next start will retry");
            }
        }
    }

    fn meter(&self) -> RunStage<'_> {
        self.own_run.stage(|meters| &meters.extraction)
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
            let meter = self.meter();
            meter.dropped(gap.count);
            let lines = format!("lines {} to {}", gap.from, gap.to);
            meter.failed(&format!("{}: {lines} are missing, and so are their events", self.source));
        }
        for line in &page.lines {
            match line.channel {
                Channel::Internal => {}
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
        let Self { texts, found, source, runs, own_run, task, .. } = self;
        let Some(text) = texts.get_mut(channel) else { return };
        let mut found = FoundItems { events: found, source, runs, run: own_run, task };
        text.extractor.feed_line(n, line, &mut |item| found.collect(item));
    }

    fn for_each_text(&mut self, apply: impl Fn(&mut Extractor, &mut dyn FnMut(ExtractedItem<'_>))) {
        let Self { texts, found, source, runs, own_run, task, .. } = self;
        let mut found = FoundItems { events: found, source, runs, run: own_run, task };
        for text in texts {
            apply(&mut text.extractor, &mut |item| found.collect(item));
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
            self.own_run.stage(|meters| &meters.extraction).failed(&text);
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
        self.reject("foreign_run", line, &text, incoming.event.as_str());
        None
    }

    /// Counts an event that cannot be stored.
    fn reject(&self, reason: &'static str, line: u64, message: &str, text: &str) {
        self.meter().rejected(reason, message);
        self.runs.inner.found.lock().of(self.task.id()).reject_as(reason, line, message, text);
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
            let run = self.runs.get_or_new(&run);
            let appended = run.append(&events).await?;
            let (count, rejected) = (events.len() as u64, appended.rejected.len() as u64);
            // Counted for the server when they were found.
            run.own_meters().extraction.received(count);
            run.own_meters().extraction.parsed(count);
            run.stage(|meters| &meters.extraction).delivered(count - rejected);
            for refused in &appended.rejected {
                let event = events.get(refused.index);
                let line = event.and_then(|event| event.source.as_ref()?.seq).unwrap_or_default();
                let text = event.map_or("", |incoming| incoming.event.as_str());
                self.reject(refused.fault.reason(), line, &refused.fault.to_string(), text);
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

/// Collects and counts the items that an extractor finds.
struct FoundItems<'a> {
    events: &'a mut Vec<IncomingEvent>,
    source: &'a Arc<str>,
    runs: &'a Runs,
    run: &'a RunHandle,
    task: &'a TaskHandle,
}

impl FoundItems<'_> {
    fn collect(&mut self, item: ExtractedItem<'_>) {
        let server = &self.runs.meters().extraction;
        match item {
            ExtractedItem::Event(extracted) => {
                server.received(1);
                server.parsed(1);
                self.runs.inner.found.lock().of(self.task.id()).found += 1;
                let source = Some(EventSource { name: self.source.clone(), seq: Some(extracted.line) });
                self.events.push(IncomingEvent { event: extracted.identified, source });
            }
            ExtractedItem::Echo { .. } => {
                let stage = self.run.stage(|meters| &meters.extraction);
                stage.received(1);
                stage.parsed(1);
                stage.deduplicated(1);
                self.runs.inner.found.lock().of(self.task.id()).repeated += 1;
            }
            ExtractedItem::Rejected(rejected) => {
                let stage = self.run.stage(|meters| &meters.extraction);
                stage.received(1);
                let place = format!("{}, line {}: {}", self.source, rejected.line, rejected.fault);
                stage.rejected(rejected.fault.reason(), &place);
                self.runs.inner.found.lock().of(self.task.id()).reject(&rejected);
            }
            ExtractedItem::Task(_) | ExtractedItem::Text { .. } => {}
        }
    }
}
