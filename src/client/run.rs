//! Follows the events of a run at a server across lost connections: each event once, none lost.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::http::{ClientError, HttpClient};
use crate::model::{Cursor, Event, RunId};

/// Maximum delay between two attempts to reconnect.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Delay before the first attempt to reconnect.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Maximum bytes of one event of the stream; a larger one is a protocol error.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An item of a followed run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunItem {
    /// The connection is open; history follows, then new events.
    Connected,
    /// An event and its position.
    Event {
        /// The event as it is stored.
        event: Event,
        /// Position of the event; a later follower can start after it.
        cursor: Cursor,
    },
    /// The connection was lost; the follower reconnects by itself.
    Disconnected {
        /// Reason, for people.
        why: String,
        /// Delay until the next attempt.
        retry: Duration,
    },
    /// The run's log was recreated: earlier items belong to another log, and all events follow again.
    Reset,
}

/// The position where a follower of a run starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunFollowStart {
    /// The first event.
    #[default]
    First,
    /// This many events before the end.
    Tail(u64),
    /// The event after this cursor.
    After(Cursor),
}

/// A follower of one run.
pub struct RunFollower {
    client: HttpClient,
    run: RunId,
    start: RunFollowStart,
    body: Option<BoxStream<'static, Result<Bytes, ClientError>>>,
    buffer: BytesMut,
    retry: Duration,
    /// Earliest time of the next attempt.
    wait: Option<Instant>,
}

impl std::fmt::Debug for RunFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunFollower").field("run", &self.run).field("start", &self.start).finish_non_exhaustive()
    }
}

impl RunFollower {
    /// Creates a follower, which connects at the first [`RunFollower::next`] and waits for a run that
    /// does not exist yet.
    pub fn new(client: HttpClient, run: RunId, start: RunFollowStart) -> Self {
        Self { client, run, start, body: None, buffer: BytesMut::new(), retry: RETRY_MIN, wait: None }
    }

    /// Returns the next item, waiting for it and between attempts to reconnect. Cancel-safe.
    ///
    /// # Errors
    /// The server rejects the request, and a retry would not help.
    pub async fn next(&mut self) -> Result<RunItem, ClientError> {
        loop {
            if let Some(frame) = self.pop_frame() {
                if let Some(item) = self.parse_frame(&frame)? {
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
                    Err(error) if error.is_transient() => return Ok(self.disconnect(&error.to_string())),
                    Err(error) => return Err(error),
                }
            };
            match body.next().await {
                Some(Ok(chunk)) if self.buffer.len() + chunk.len() <= EVENT_BYTES_MAX => {
                    self.buffer.extend_from_slice(&chunk);
                }
                Some(Ok(_)) => return Ok(self.disconnect("the server sent an event over 4 MiB")),
                Some(Err(error)) => return Ok(self.disconnect(&error.to_string())),
                None => return Ok(self.disconnect("the server ended the stream")),
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let (after, tail) = match &self.start {
            RunFollowStart::First => (None, None),
            RunFollowStart::Tail(count) => (None, Some(count.to_string())),
            RunFollowStart::After(cursor) => (Some(cursor.to_string()), None),
        };
        let path = format!("/api/v1/runs/{}/events/stream", self.run);
        let query = [("after", after), ("tail", tail), ("wait", Some("1".to_owned()))];
        let (_, body) = self.client.download(&path, &query).await?;
        self.body = Some(body.boxed());
        self.buffer.clear();
        self.retry = RETRY_MIN;
        Ok(())
    }

    /// Drops the connection and schedules the next attempt.
    fn disconnect(&mut self, why: &str) -> RunItem {
        self.body = None;
        self.buffer.clear();
        let retry = self.retry;
        self.wait = Some(Instant::now() + retry);
        self.retry = (retry * 2).min(RETRY_MAX);
        RunItem::Disconnected { why: why.to_owned(), retry }
    }

    /// Removes one complete SSE event from the buffer: the lines before an empty line.
    fn pop_frame(&mut self) -> Option<Bytes> {
        let end = memchr::memmem::find(&self.buffer, b"\n\n")?;
        Some(self.buffer.split_to(end + 2).freeze())
    }

    /// Parses an SSE event; returns `None` for one that carries no item, such as a comment.
    fn parse_frame(&mut self, frame: &[u8]) -> Result<Option<RunItem>, ClientError> {
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
                    self.start = RunFollowStart::After(cursor);
                    Ok(Some(RunItem::Event { event, cursor }))
                }
                Err(fault) => Ok(Some(self.disconnect(&format!("the server sent an invalid event: {fault}")))),
            },
            (Some("reset"), ..) => {
                self.start = RunFollowStart::First;
                Ok(Some(RunItem::Reset))
            }
            _ => Ok(None),
        }
    }
}
