//! The inputs: a server, a pipe, a file. Each has its own reader task and a bounded queue; when the
//! queue is full the reader waits, and nothing is dropped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::item::DashboardItem;
use crate::client::{ClientError, HttpClient, RunFollower, RunItem, RunStreamStart};
use crate::events::{
    EventNotation, ExtractedItem, Extractor, ExtractorOptions, FileFollower, FollowFileError, FollowFileOptions,
    FollowItem, FollowNotice, Identities, clean, excerpt,
};
use crate::model::{LinePart, Pipeline, RunId, events_in_line};

/// Capacity of the queue.
const ITEMS_MAX: usize = 4096;
/// Read size for a pipe.
const CHUNK_BYTES: usize = 64 * 1024;
/// Text that may continue on the next line is shown after this pause.
const FLUSH_AFTER: Duration = Duration::from_millis(120);
/// Interval between requests for the server's counters.
const COUNTERS_EVERY: Duration = Duration::from_secs(1);
/// Timeout of a request for the counters; the next one follows later.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(5);

/// The input of a dashboard.
#[derive(Debug)]
pub enum Input {
    /// A run on a server; it may be created later.
    Server {
        /// Connection for the events.
        events: Box<HttpClient>,
        /// Connection for the counters.
        counters: Box<HttpClient>,
        /// The run.
        run: RunId,
    },
    /// Text on stdin.
    Pipe {
        /// File for a copy of the bytes.
        keep: Option<PathBuf>,
    },
    /// A file that may grow: one event per line, or text with events.
    File(PathBuf),
}

/// An error that ends an input.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The server rejected the request.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// Stdin cannot be read.
    #[error("cannot read stdin: {0}")]
    Stdin(#[source] io::Error),
    /// The copy of the pipe cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Keep {
        /// Path of the copy.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The file cannot be followed.
    #[error(transparent)]
    File(#[from] FollowFileError),
    /// The reader task panicked.
    #[error("the input reader crashed: {0}")]
    Broken(String),
}

/// The queue of items, and its reader task.
#[derive(Debug)]
pub struct InputFeed {
    items: mpsc::Receiver<DashboardItem>,
    reader: JoinHandle<Result<(), InputError>>,
}

impl Input {
    /// Returns the name of the input on the screen.
    pub fn source(&self) -> String {
        match self {
            Input::Server { .. } => "server".to_owned(),
            Input::Pipe { .. } => "stdout".to_owned(),
            Input::File(path) => format!("file {}", clean(&path.display().to_string())),
        }
    }

    /// Reports whether the input is text that may contain events.
    pub fn is_text(&self) -> bool {
        !matches!(self, Input::Server { .. })
    }

    /// Starts the reader.
    ///
    /// # Errors The copy of the pipe cannot be created, or the file cannot be followed.
    pub async fn start(self) -> Result<InputFeed, InputError> {
        let (sender, items) = mpsc::channel(ITEMS_MAX);
        let reader = match self {
            Input::Server { events, counters, run } => {
                tokio::spawn(poll_counters(*counters, run.clone(), sender.clone()));
                tokio::spawn(read_server(RunFollower::new(*events, run, RunStreamStart::First), sender))
            }
            Input::Pipe { keep } => {
                let copy = match keep {
                    Some(path) => Some(PipeCopy::create(path).await?),
                    None => None,
                };
                tokio::spawn(read_pipe(copy, sender))
            }
            Input::File(path) => {
                let options = FollowFileOptions { from_start: true, ..FollowFileOptions::default() };
                let is_events = path.extension().is_some_and(|ext| ext == "jsonl" || ext == "ndjson");
                tokio::spawn(read_file(FileFollower::new(path, options)?, is_events, sender))
            }
        };
        Ok(InputFeed { items, reader })
    }
}

impl InputFeed {
    /// Waits for items and receives those available. Returns 0 once the input has ended.
    /// Cancel-safe.
    pub async fn recv(&mut self, batch: &mut Vec<DashboardItem>, max: usize) -> usize {
        self.items.recv_many(batch, max).await
    }

    /// Returns the result of the reader, after the last item.
    ///
    /// # Errors The error that ended the input.
    pub async fn end(self) -> Result<(), InputError> {
        self.reader.await.unwrap_or_else(|error| Err(InputError::Broken(error.to_string())))
    }
}

/// The screen was closed, so no more items are received.
struct ScreenClosed;

async fn send(sender: &mpsc::Sender<DashboardItem>, item: DashboardItem) -> Result<(), ScreenClosed> {
    sender.send(item).await.map_err(|_| ScreenClosed)
}

async fn read_server(mut follower: RunFollower, sender: mpsc::Sender<DashboardItem>) -> Result<(), InputError> {
    loop {
        let item = match follower.next().await? {
            RunItem::Connected => DashboardItem::Connected,
            RunItem::Event { event, .. } => DashboardItem::Event { event, in_result: false },
            RunItem::Disconnected { why, retry } => DashboardItem::Disconnected { why, retry },
            RunItem::Reset => DashboardItem::Reset,
        };
        if send(&sender, item).await.is_err() {
            return Ok(());
        }
    }
}

async fn poll_counters(client: HttpClient, run: RunId, sender: mpsc::Sender<DashboardItem>) {
    let (path, mut known) = (format!("/api/v1/runs/{run}"), Pipeline::default());
    let mut is_missing = false;
    let mut next = Instant::now();
    while !sender.is_closed() {
        let counters = timeout(COUNTERS_TIMEOUT, client.get::<Pipeline>(&format!("{path}/pipeline"), &[])).await;
        let item = match counters {
            Ok(Ok(pipeline)) if pipeline != known => {
                known = pipeline.clone();
                is_missing = false;
                Some(DashboardItem::Pipeline(pipeline))
            }
            Ok(Ok(_)) => None,
            // A server without this route may have the run.
            Ok(Err(error)) if error.is_not_found() && !is_missing => {
                let state = timeout(COUNTERS_TIMEOUT, client.get::<serde_json::Value>(&path, &[])).await;
                is_missing = matches!(state, Ok(Err(error)) if error.is_not_found());
                is_missing.then_some(DashboardItem::NoRun)
            }
            // The follower reports an unreachable server.
            Ok(Err(error)) => {
                tracing::debug!(%error, "no counters");
                None
            }
            Err(_) => {
                tracing::debug!("no counters in time");
                None
            }
        };
        if let Some(item) = item
            && send(&sender, item).await.is_err()
        {
            return;
        }
        next = (next + COUNTERS_EVERY).max(Instant::now());
        sleep_until(next).await;
    }
}

/// A copy of a pipe's bytes.
struct PipeCopy {
    path: PathBuf,
    file: File,
}

impl PipeCopy {
    async fn create(path: PathBuf) -> Result<Self, InputError> {
        match File::create(&path).await {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(InputError::Keep { path, source }),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        let written = async {
            self.file.write_all(bytes).await?;
            self.file.flush().await
        };
        written.await.map_err(|source| InputError::Keep { path: self.path.clone(), source })
    }
}

async fn read_pipe(mut copy: Option<PipeCopy>, sender: mpsc::Sender<DashboardItem>) -> Result<(), InputError> {
    let mut stdin = tokio::io::stdin();
    let mut extractor = Extractor::new(ExtractorOptions { texts: true, ..ExtractorOptions::default() });
    let (mut chunk, mut found) = (vec![0; CHUNK_BYTES], Vec::new());
    let mut input_failure = None;
    loop {
        let read = stdin.read(&mut chunk);
        let count = if extractor.is_waiting() {
            match timeout(FLUSH_AFTER, read).await {
                Ok(count) => count,
                Err(_) => {
                    extractor.flush(&mut |item| found.push(to_item(item)));
                    if send_all(&sender, &mut found).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            }
        } else {
            read.await
        };
        let bytes = chunk.get(..count.map_err(InputError::Stdin)?).unwrap_or_default();
        if let Some(file) = &mut copy
            && let Err(error) = file.write(bytes).await
        {
            // The screen continues without the copy; the error is reported again on exit.
            found.push(DashboardItem::InputFailure(error.to_string()));
            (input_failure, copy) = (Some(error), None);
        }
        if bytes.is_empty() {
            extractor.finish(&mut |item| found.push(to_item(item)));
            found.push(DashboardItem::End);
            send_all(&sender, &mut found).await.ok();
            return input_failure.map_or(Ok(()), Err);
        }
        found.push(DashboardItem::Read { lines: memchr::memchr_iter(b'\n', bytes).count() as u64 });
        extractor.feed(bytes, &mut |item| found.push(to_item(item)));
        if send_all(&sender, &mut found).await.is_err() {
            return input_failure.map_or(Ok(()), Err);
        }
    }
}

async fn send_all(sender: &mpsc::Sender<DashboardItem>, found: &mut Vec<DashboardItem>) -> Result<(), ScreenClosed> {
    for item in found.drain(..) {
        send(sender, item).await?;
    }
    Ok(())
}

fn to_item(found: ExtractedItem<'_>) -> DashboardItem {
    match found {
        ExtractedItem::Event(event) => {
            DashboardItem::Event { in_result: event.form != EventNotation::Plain, event: event.identified }
        }
        ExtractedItem::Echo { .. } => DashboardItem::Echo,
        ExtractedItem::Task(task) => DashboardItem::Task(task.json),
        ExtractedItem::Rejected(rejected) => DashboardItem::Rejected {
            reason: rejected.fault.reason(),
            message: rejected.fault.to_string(),
            excerpt: rejected.excerpt,
        },
        ExtractedItem::Text { text, .. } => DashboardItem::Text(text.to_owned()),
    }
}

async fn read_file(
    mut follower: FileFollower,
    is_events: bool,
    sender: mpsc::Sender<DashboardItem>,
) -> Result<(), InputError> {
    let mut lines = FileLines::new(is_events);
    let mut found = Vec::new();
    loop {
        match follower.next().await? {
            FollowItem::Lines { bytes, .. } => lines.push(&bytes, &mut found),
            FollowItem::CaughtUp => lines.extractor.flush(&mut |item| found.push(to_item(item))),
            FollowItem::Notice(notice) => {
                if matches!(notice, FollowNotice::Truncated { .. } | FollowNotice::Rewritten) {
                    lines = FileLines::new(is_events);
                    found.push(DashboardItem::Reset);
                }
                found.push(DashboardItem::Note(format!("{}: {notice}", follower.path().display())));
            }
        }
        if send_all(&sender, &mut found).await.is_err() {
            return Ok(());
        }
    }
}

/// The lines of a file: stored events, or text with events.
struct FileLines {
    is_events: bool,
    number: u64,
    extractor: Extractor,
    identities: Identities,
}

impl FileLines {
    fn new(is_events: bool) -> Self {
        let options = ExtractorOptions { texts: true, ..ExtractorOptions::default() };
        Self { is_events, number: 0, extractor: Extractor::new(options), identities: Identities::default() }
    }

    fn push(&mut self, bytes: &[u8], found: &mut Vec<DashboardItem>) {
        let before = self.number;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.number += 1;
            self.line(line, found);
        }
        found.push(DashboardItem::Read { lines: self.number - before });
    }

    fn line(&mut self, line: &[u8], found: &mut Vec<DashboardItem>) {
        let start = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line).trim_ascii_start();
        if self.is_events || start.starts_with(b"{") {
            let mut parts = Vec::new();
            events_in_line(line, &mut |part| parts.push(part));
            if self.is_events || parts.iter().any(|part| part.event.is_ok()) {
                return found.extend(parts.into_iter().map(|part| self.part(part, line)));
            }
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        self.extractor.feed_line(self.number, text, &mut |item| found.push(to_item(item)));
    }

    fn part(&mut self, part: LinePart, line: &[u8]) -> DashboardItem {
        match part.event {
            Ok(event) => DashboardItem::Event { event: self.identities.identify(&event), in_result: false },
            Err(fault) => DashboardItem::Rejected {
                reason: fault.reason(),
                message: format!("line {}: {fault}", self.number),
                excerpt: excerpt(line.get(part.offset..).unwrap_or_default()),
            },
        }
    }
}
