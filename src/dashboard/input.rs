//! Where items come from: a server, a pipe, a file. Each is read by a task of its own into a bounded
//! queue; when that is full the reader waits, and nothing is dropped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::item::Item;
use crate::client::{ClientError, HttpClient, RunFollowStart, RunFollower, RunItem};
use crate::events::{
    EventNotation, ExtractedItem, Extractor, ExtractorOptions, FileFollower, FollowFileError, FollowFileOptions,
    FollowItem, FollowNotice, Identities, clean,
};
use crate::model::{Event, Pipeline, RunId};

/// Items that may wait for the screen.
const ITEMS_MAX: usize = 4096;
/// Bytes read from a pipe at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// What may go on in a next line is shown without it after this silence.
const FLUSH_AFTER: Duration = Duration::from_millis(120);
/// How often the server's counters are asked for.
const COUNTERS_EVERY: Duration = Duration::from_secs(1);
/// A server that has not told its counters by then is asked again later.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(5);

/// What to show.
#[derive(Debug)]
pub enum Input {
    /// A run at a server; it may be there only later.
    Server {
        /// For its events.
        events: Box<HttpClient>,
        /// For the counters, beside them.
        counters: Box<HttpClient>,
        /// The run.
        run: RunId,
    },
    /// Text on stdin.
    Pipe {
        /// Where its bytes are kept as they came.
        keep: Option<PathBuf>,
    },
    /// A file that may still grow: events, one a line, or text that holds them.
    File(PathBuf),
}

/// Why an input gives no more.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The server says no.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// Stdin cannot be read.
    #[error("cannot read stdin: {0}")]
    Stdin(#[source] io::Error),
    /// The copy of the pipe cannot be made.
    #[error("cannot write {}: {source}", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be followed.
    #[error(transparent)]
    File(#[from] FollowFileError),
    /// The task that reads it broke down.
    #[error("the reader of the input broke down: {0}")]
    Broken(String),
}

/// Items as they come.
#[derive(Debug)]
pub struct Feed {
    items: mpsc::Receiver<Item>,
    reader: JoinHandle<Result<(), InputError>>,
}

impl Input {
    /// What the input is called on the screen.
    pub fn source(&self) -> String {
        match self {
            Input::Server { .. } => "server".to_owned(),
            Input::Pipe { .. } => "stdout".to_owned(),
            Input::File(path) => format!("file {}", clean(&path.display().to_string())),
        }
    }

    /// Whether events are looked for in text.
    pub fn is_text(&self) -> bool {
        !matches!(self, Input::Server { .. })
    }

    /// Begins to read.
    ///
    /// # Errors
    /// The file that a pipe is to be kept in cannot be made, or the file cannot be followed.
    pub async fn start(self) -> Result<Feed, InputError> {
        let (sender, items) = mpsc::channel(ITEMS_MAX);
        let reader = match self {
            Input::Server { events, counters, run } => {
                tokio::spawn(ask_counters(*counters, sender.clone()));
                tokio::spawn(read_server(RunFollower::new(*events, run, RunFollowStart::First), sender))
            }
            Input::Pipe { keep } => {
                let copy = match keep {
                    Some(path) => Some(Copy::create(path).await?),
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
        Ok(Feed { items, reader })
    }
}

impl Feed {
    /// Waits for items and takes what is there; none once the input is over. Cancel-safe.
    pub async fn take(&mut self, batch: &mut Vec<Item>, max: usize) -> usize {
        self.items.recv_many(batch, max).await
    }

    /// How the reader ended, once there are no more items.
    ///
    /// # Errors
    /// What ended it.
    pub async fn end(self) -> Result<(), InputError> {
        self.reader.await.unwrap_or_else(|error| Err(InputError::Broken(error.to_string())))
    }
}

/// The person has left; nobody takes items any more.
struct Left;

async fn send(sender: &mpsc::Sender<Item>, item: Item) -> Result<(), Left> {
    sender.send(item).await.map_err(|_| Left)
}

async fn read_server(mut follower: RunFollower, sender: mpsc::Sender<Item>) -> Result<(), InputError> {
    loop {
        let item = match follower.next().await? {
            RunItem::Connected => Item::Connected,
            RunItem::Event { event, .. } => Item::Event { event, in_result: false },
            RunItem::Disconnected { why, retry } => Item::Disconnected { why, retry },
            RunItem::Reset => Item::Reset,
        };
        if send(&sender, item).await.is_err() {
            return Ok(());
        }
    }
}

async fn ask_counters(client: HttpClient, sender: mpsc::Sender<Item>) {
    let mut known = Pipeline::default();
    let mut next = Instant::now();
    while !sender.is_closed() {
        match timeout(COUNTERS_TIMEOUT, client.get::<Pipeline>("/api/v1/pipeline", &[])).await {
            Ok(Ok(pipeline)) if pipeline != known => {
                known = pipeline.clone();
                if send(&sender, Item::Pipeline(pipeline)).await.is_err() {
                    return;
                }
            }
            Ok(Ok(_)) => {}
            // The follower tells of a server that is away; one without this route has no counters.
            Ok(Err(error)) => tracing::debug!(%error, "no counters"),
            Err(_) => tracing::debug!("no counters in time"),
        }
        next = (next + COUNTERS_EVERY).max(Instant::now());
        sleep_until(next).await;
    }
}

/// The copy of a pipe's bytes.
struct Copy {
    path: PathBuf,
    file: File,
}

impl Copy {
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

async fn read_pipe(mut copy: Option<Copy>, sender: mpsc::Sender<Item>) -> Result<(), InputError> {
    let mut stdin = tokio::io::stdin();
    let mut extractor = Extractor::new(ExtractorOptions { texts: true, ..ExtractorOptions::default() });
    let (mut chunk, mut found) = (vec![0; CHUNK_BYTES], Vec::new());
    let mut trouble = None;
    loop {
        let read = stdin.read(&mut chunk);
        let count = if extractor.is_waiting() {
            match timeout(FLUSH_AFTER, read).await {
                Ok(count) => count,
                Err(_) => {
                    extractor.flush(&mut |item| found.push(from_found(item)));
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
            // The screen is worth more than the copy; how it ended is told when the person leaves.
            found.push(Item::Trouble(error.to_string()));
            (trouble, copy) = (Some(error), None);
        }
        if bytes.is_empty() {
            extractor.finish(&mut |item| found.push(from_found(item)));
            found.push(Item::End);
            send_all(&sender, &mut found).await.ok();
            return trouble.map_or(Ok(()), Err);
        }
        found.push(Item::Read { lines: memchr::memchr_iter(b'\n', bytes).count() as u64 });
        extractor.feed(bytes, &mut |item| found.push(from_found(item)));
        if send_all(&sender, &mut found).await.is_err() {
            return trouble.map_or(Ok(()), Err);
        }
    }
}

async fn send_all(sender: &mpsc::Sender<Item>, found: &mut Vec<Item>) -> Result<(), Left> {
    for item in found.drain(..) {
        send(sender, item).await?;
    }
    Ok(())
}

fn from_found(found: ExtractedItem<'_>) -> Item {
    match found {
        ExtractedItem::Event(event) => {
            Item::Event { in_result: event.form != EventNotation::Plain, event: event.identified }
        }
        ExtractedItem::Echo { .. } => Item::Echo,
        ExtractedItem::Task(task) => Item::Task(task.json),
        ExtractedItem::Rejected(rejected) => Item::Rejected {
            reason: rejected.fault.reason(),
            message: rejected.fault.to_string(),
            excerpt: rejected.excerpt,
        },
        ExtractedItem::Text { text, .. } => Item::Text(text.to_owned()),
    }
}

async fn read_file(mut follower: FileFollower, is_events: bool, sender: mpsc::Sender<Item>) -> Result<(), InputError> {
    let mut lines = Lines::new(is_events);
    let mut found = Vec::new();
    loop {
        match follower.next().await? {
            FollowItem::Lines { bytes, .. } => lines.take(&bytes, &mut found),
            FollowItem::CaughtUp => lines.extractor.flush(&mut |item| found.push(from_found(item))),
            FollowItem::Notice(notice) => {
                if matches!(notice, FollowNotice::Truncated { .. } | FollowNotice::Rewritten) {
                    lines = Lines::new(is_events);
                    found.push(Item::Reset);
                }
                found.push(Item::Note(format!("{}: {notice}", follower.path().display())));
            }
        }
        if send_all(&sender, &mut found).await.is_err() {
            return Ok(());
        }
    }
}

/// The lines of a file: events as they are stored, or text that holds them.
struct Lines {
    is_events: bool,
    number: u64,
    extractor: Extractor,
    identities: Identities,
}

impl Lines {
    fn new(is_events: bool) -> Self {
        let options = ExtractorOptions { texts: true, ..ExtractorOptions::default() };
        Self { is_events, number: 0, extractor: Extractor::new(options), identities: Identities::default() }
    }

    fn take(&mut self, bytes: &[u8], found: &mut Vec<Item>) {
        let text = String::from_utf8_lossy(bytes);
        let before = self.number;
        for line in text.split_inclusive('\n') {
            self.number += 1;
            self.line(line.trim_end_matches(['\n', '\r']), found);
        }
        found.push(Item::Read { lines: self.number - before });
    }

    fn line(&mut self, line: &str, found: &mut Vec<Item>) {
        if line.trim_start().starts_with('{') || self.is_events && !line.trim().is_empty() {
            match Event::parse(line) {
                Ok(event) => {
                    let event = self.identities.identify(&event);
                    return found.push(Item::Event { event, in_result: false });
                }
                Err(fault) if self.is_events => {
                    let excerpt = line.chars().take(80).collect();
                    let (reason, message) = (fault.reason(), format!("line {}: {fault}", self.number));
                    return found.push(Item::Rejected { reason, message, excerpt });
                }
                Err(_) => {}
            }
        }
        self.extractor.feed_line(self.number, line, &mut |item| found.push(from_found(item)));
    }
}
