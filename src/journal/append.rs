//! Entries on their way in: encoded where they arrive, numbered and packed by the writer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Timeout;

use super::queue::{Command, QueuePermit};
use super::{Journal, JournalError, Stream, Trim};
use crate::model::{Channel, EntryBody, EntryFields, EntryId, GapMarker, GapReason, LineText};
use crate::store::block;

/// Entries to be appended together, in order. They share one reply and one place in the queue.
#[derive(Debug, Default)]
pub struct LineBatch {
    pub(super) encoded: Vec<u8>,
    pub(super) items: Vec<Item>,
    pub(super) session: Option<Session>,
    /// The session ends here: what is missing before its first number never comes.
    pub(super) closes: bool,
    /// The numbers before the first were over a limit, in these words; else they were lost on the way.
    pub(super) over: Option<Box<str>>,
    /// Why an entry could not be encoded; the whole batch is then refused.
    pub(super) failed: Option<JournalError>,
}

/// One entry of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Where its encoded body ends.
    pub(super) end: usize,
    /// Bytes of its text and a newline.
    pub(super) text_bytes: u64,
    /// Lines that it says were dropped by the worker.
    pub(super) skipped: u64,
    pub(super) number: Number,
}

/// What an entry of a numbered batch is to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// It takes the next number.
    Next,
    /// It is a further piece of the line before, under the same number.
    Same,
    /// It is none of the sender's. It comes and goes with the one before.
    None,
}

/// The numbers that a sender gave its lines.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) first_seq: u64,
}

/// What became of a batch. The line numbers are 0 if every entry was there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendAck {
    /// Line number of the first entry.
    pub first_line: u64,
    /// Line number of the last entry.
    pub last_line: u64,
    /// Id of the last entry.
    pub last_id: EntryId,
    /// Entries added, a line that stands for lost ones included.
    pub count: u64,
    /// The session's last durable number.
    pub acked_seq: Option<u64>,
}

/// The writer's word on a batch.
type AppendReceiver = oneshot::Receiver<Result<AppendAck, JournalError>>;

/// Resolves when the batch is as durable as the journal promises.
#[derive(Debug)]
pub struct CommitTicket {
    /// Boxed: a timer must not be moved.
    answer: Pin<Box<Timeout<AppendReceiver>>>,
    timeout: Duration,
}

impl Future for CommitTicket {
    type Output = Result<AppendAck, JournalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.as_mut().poll(cx).map(|reply| match reply {
            Ok(reply) => reply.unwrap_or(Err(JournalError::Closed)),
            Err(_) => Err(JournalError::Unconfirmed(self.timeout)),
        })
    }
}

impl LineBatch {
    /// No entries yet, and no numbers: every entry is taken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Numbered entries, the first of them `first_seq` (from 1). Those whose number was taken
    /// before are dropped; a hole before the first becomes one `internal` line that says so.
    pub fn with_session(session: &str, first_seq: u64) -> Self {
        Self { session: Some(Session { name: session.to_owned(), first_seq }), ..Self::default() }
    }

    /// No entries, and nothing follows in this session: numbers below `end_seq` that never came become
    /// one `internal` line that says so. Appended again it does nothing.
    pub fn end_of_session(session: &str, end_seq: u64) -> Self {
        Self { closes: true, ..Self::with_session(session, end_seq) }
    }

    /// No entries: the numbers below `next_seq` that are not known yet were over a limit, and become one
    /// `internal` line that says so. Appended again it does nothing.
    pub fn over_limit(session: &str, next_seq: u64, limit: &str) -> Self {
        Self { over: Some(limit.into()), ..Self::with_session(session, next_seq) }
    }

    /// Adds a line.
    pub fn push(&mut self, line: &LineText<'_>) {
        self.push_line(line, Number::Next);
    }

    /// Adds a line that is the rest of the one before: it takes no number of its own.
    pub fn push_continuation(&mut self, line: &LineText<'_>) {
        self.push_line(line, Number::Same);
    }

    /// Adds a line that the sender did not send, about the one before: it is dropped with that.
    pub fn push_annotation(&mut self, line: &LineText<'_>) {
        self.push_line(line, Number::None);
    }

    /// Adds an entry of any fields.
    pub fn push_fields(&mut self, fields: EntryFields<'_>) {
        self.push_body(&EntryBody::Fields(fields), 0, Number::Next);
    }

    fn push_body(&mut self, body: &EntryBody<'_>, skipped: u64, number: Number) {
        match block::encode_body(&mut self.encoded, body) {
            Ok(()) => {
                let text_bytes = body.text_bytes();
                self.items.push(Item { end: self.encoded.len(), text_bytes, skipped, number });
            }
            Err(error) => self.failed = Some(error.into()),
        }
    }

    fn push_line(&mut self, line: &LineText<'_>, number: Number) {
        let skipped = match line.channel {
            Channel::Internal => GapMarker::parse(&line.text)
                .filter(|mark| matches!(mark.reason, GapReason::Skipped | GapReason::Quota))
                .map_or(0, |mark| mark.count),
            _ => 0,
        };
        let borrowed = LineText { text: line.text.as_ref().into(), ..*line };
        self.push_body(&EntryBody::Line(borrowed), skipped, number);
    }

    /// Entries inside.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The session, and the number of the last entry, if the entries are numbered.
    pub fn last_seq(&self) -> Option<(&str, u64)> {
        let session = self.session.as_ref()?;
        let numbered = self.items.iter().filter(|item| item.number == Number::Next).count() as u64;
        Some((&session.name, (session.first_seq + numbered).saturating_sub(1)))
    }

    /// Bytes of each line's text with those of its continuations, in order.
    pub fn lines(&self) -> impl Iterator<Item = u64> {
        let mut items = self.items.iter().peekable();
        std::iter::from_fn(move || {
            let mut bytes = items.next()?.text_bytes;
            while let Some(more) = items.next_if(|item| item.number != Number::Next) {
                bytes += more.text_bytes;
            }
            Some(bytes)
        })
    }

    /// Keeps the first so many lines, with their continuations.
    pub fn truncate(&mut self, lines: usize) {
        let starts = self.items.iter().enumerate().filter(|(_, item)| item.number == Number::Next);
        let end = starts.map(|(at, _)| at).nth(lines).unwrap_or(self.items.len());
        self.items.truncate(end);
        self.encoded.truncate(self.items.last().map_or(0, |item| item.end));
    }

    /// The entries as they are stored: texts stand in it as they are.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Bytes it takes in the queue.
    pub fn bytes(&self) -> usize {
        self.encoded.len() + self.items.len() * size_of::<Item>()
    }
}

impl Journal {
    /// Queues a batch, after a wait for room in the queue (bounded by bytes). Batches queued one
    /// after another keep their order. `trim` is applied right after, as XADD's MAXLEN is.
    pub async fn append(
        &self,
        stream: &Arc<Stream>,
        batch: LineBatch,
        trim: Option<Trim>,
    ) -> Result<CommitTicket, JournalError> {
        let room = self.reserve(batch.bytes()).await?;
        Ok(self.append_reserved(stream, batch, trim, room))
    }

    /// Waits until the queue has room for so many bytes and takes it. Room that is dropped unused
    /// is given back.
    pub async fn reserve(&self, bytes: usize) -> Result<QueuePermit, JournalError> {
        self.inner.queue.reserve(bytes).await
    }

    /// Queues a batch that is small, such as a mark, without a wait for room.
    pub fn append_small(&self, stream: &Arc<Stream>, batch: LineBatch) -> Result<CommitTicket, JournalError> {
        let room = self.inner.queue.no_room()?;
        Ok(self.append_reserved(stream, batch, None, room))
    }

    /// Queues a batch for which room was made.
    pub fn append_reserved(
        &self,
        stream: &Arc<Stream>,
        batch: LineBatch,
        trim: Option<Trim>,
        room: QueuePermit,
    ) -> CommitTicket {
        let (reply, ticket) = oneshot::channel();
        self.inner.queue.send(Command::Append { stream: stream.clone(), batch, trim, room, reply });
        let timeout = self.commit_timeout();
        CommitTicket { answer: Box::pin(tokio::time::timeout(timeout, ticket)), timeout }
    }
}
