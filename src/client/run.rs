//! Following the events of a run at a server, through breaks: each event once, none lost.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::http::{ClientError, HttpClient};
use crate::model::{Cursor, Event, RunId};

/// The longest wait between two tries to reach the server again.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The first wait.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Bytes of one event of the stream; one that is larger is no stream of ours.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What following a run gives.
#[derive(Clone, Debug, PartialEq)]
pub enum RunItem {
    /// The server answers; its history comes next, then what is new.
    Connected,
    /// An event, and where it stands.
    Event {
        /// The event as it is stored.
        event: Event,
        /// Its place: a later follower goes on behind it.
        cursor: Cursor,
    },
    /// The connection broke; it is tried again by itself.
    Disconnected {
        /// Why, in words.
        why: String,
        /// When it is tried again.
        retry: Duration,
    },
    /// The run's log was made anew: what was given before is of another one, and all comes again.
    Reset,
}

/// Where a follower begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunStart {
    /// With the first event.
    #[default]
    First,
    /// With the last so many.
    Tail(u64),
    /// Behind this place.
    After(Cursor),
}

/// A follower of one run.
pub struct RunFollower {
    client: HttpClient,
    run: RunId,
    start: RunStart,
    body: Option<BoxStream<'static, Result<Bytes, ClientError>>>,
    buffer: BytesMut,
    retry: Duration,
    /// Not tried again before.
    wait: Option<Instant>,
}

impl std::fmt::Debug for RunFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunFollower").field("run", &self.run).field("start", &self.start).finish_non_exhaustive()
    }
}

impl RunFollower {
    /// Nothing is asked for before the first [`RunFollower::next`]. A run that is not there yet is waited for.
    pub fn new(client: HttpClient, run: RunId, start: RunStart) -> Self {
        Self { client, run, start, body: None, buffer: BytesMut::new(), retry: RETRY_MIN, wait: None }
    }

    /// What comes next; waits for it, and between tries. Cancel-safe.
    ///
    /// # Errors
    /// The server says no, and saying it again would not help.
    pub async fn next(&mut self) -> Result<RunItem, ClientError> {
        loop {
            if let Some(frame) = self.take_frame() {
                if let Some(item) = self.read_frame(&frame)? {
                    return Ok(item);
                }
                continue;
            }
            let Some(body) = &mut self.body else {
                if let Some(wait) = self.wait {
                    tokio::time::sleep_until(wait).await;
                    self.wait = None;
                }
                match self.connect().await {
                    Ok(()) => return Ok(RunItem::Connected),
                    Err(error) if error.is_passing() => return Ok(self.broken(&error.to_string())),
                    Err(error) => return Err(error),
                }
            };
            match body.next().await {
                Some(Ok(chunk)) if self.buffer.len() + chunk.len() <= EVENT_BYTES_MAX => {
                    self.buffer.extend_from_slice(&chunk);
                }
                Some(Ok(_)) => return Ok(self.broken("the server sent an event of over 4 MiB")),
                Some(Err(error)) => return Ok(self.broken(&error.to_string())),
                None => return Ok(self.broken("the server ended the stream")),
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let (after, tail) = match &self.start {
            RunStart::First => (None, None),
            RunStart::Tail(count) => (None, Some(count.to_string())),
            RunStart::After(cursor) => (Some(cursor.to_string()), None),
        };
        let path = format!("/api/v1/runs/{}/events/stream", self.run);
        let query = [("after", after), ("tail", tail), ("wait", Some("1".to_owned()))];
        let (_, body) = self.client.download(&path, &query).await?;
        self.body = Some(body.boxed());
        self.buffer.clear();
        self.retry = RETRY_MIN;
        Ok(())
    }

    fn broken(&mut self, why: &str) -> RunItem {
        self.body = None;
        self.buffer.clear();
        let retry = self.retry;
        self.wait = Some(Instant::now() + retry);
        self.retry = (retry * 2).min(RETRY_MAX);
        RunItem::Disconnected { why: why.to_owned(), retry }
    }

    /// One event of the stream: the lines before an empty one.
    fn take_frame(&mut self) -> Option<Bytes> {
        let end = memchr::memmem::find(&self.buffer, b"\n\n")?;
        Some(self.buffer.split_to(end + 2).freeze())
    }

    fn read_frame(&mut self, frame: &[u8]) -> Result<Option<RunItem>, ClientError> {
        let (mut id, mut kind, mut data) = (None, None, None);
        for line in frame.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            match line.split_once(':').map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value))) {
                Some(("id", value)) => id = value.parse::<Cursor>().ok(),
                Some(("event", value)) => kind = Some(value),
                Some(("data", value)) => data = Some(value),
                _ => {}
            }
        }
        match (kind, data, id) {
            (None, Some(data), Some(cursor)) => match Event::parse(data) {
                Ok(event) => {
                    self.start = RunStart::After(cursor);
                    Ok(Some(RunItem::Event { event, cursor }))
                }
                Err(fault) => Ok(Some(self.broken(&format!("the server sent what is no event: {fault}")))),
            },
            (Some("reset"), ..) => {
                self.start = RunStart::First;
                Ok(Some(RunItem::Reset))
            }
            _ => Ok(None),
        }
    }
}
