//! Batches of entries: encoded by the caller, numbered and packed into blocks by the writer.

use super::JournalError;
use crate::model::{Channel, ChannelSet, EntryBody, EntryFields, EntryId, GapMarker, GapReason, LineText};
use crate::store::block;

/// Entries to append together, in order. They share one reply and one position in the queue.
#[derive(Debug)]
pub struct LineBatch {
    pub(super) encoded: Vec<u8>,
    pub(super) items: Vec<BatchItem>,
    channels: ChannelSet,
    pub(super) session: Option<BatchSession>,
    /// The session ends with this batch: numbers missing before its first will never arrive.
    pub(super) ends_session: bool,
    /// The limit that the numbers before the first exceeded; `None` if they were lost in transit.
    pub(super) over_limit: Option<Box<str>>,
    /// The first encoding error; it rejects the whole batch.
    pub(super) failed: Option<JournalError>,
}

/// One entry of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchItem {
    /// End of its encoded body in the batch.
    pub(super) end: usize,
    /// Bytes of its text plus a newline.
    pub(super) text_bytes: u64,
    /// Lines that it reports as dropped by the worker.
    pub(super) skipped: u64,
    /// Whether it is a line of tasktail itself.
    pub(super) own: bool,
    pub(super) numbering: LineNumbering,
}

/// The relation of an entry to the sequence numbers of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineNumbering {
    /// A new line with the next number.
    Next,
    /// A further piece of the previous line, under the same number.
    Continuation,
    /// Not sent by the session. It is stored or dropped together with the previous line.
    Unnumbered,
}

/// The sequence numbers that a sender assigned to its lines.
#[derive(Clone, Debug)]
pub(super) struct BatchSession {
    pub(super) name: String,
    pub(super) first_seq: u64,
}

/// The result of appending a batch. Both line numbers are 0 if every entry was a duplicate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendAck {
    /// Line number of the first entry.
    pub first_line: u64,
    /// Line number of the last entry.
    pub last_line: u64,
    /// ID of the last entry.
    pub last_id: EntryId,
    /// Number of entries added, including a gap marker for lost lines.
    pub count: u64,
    /// Last durable sequence number of the session.
    pub acked_seq: Option<u64>,
}

impl Default for LineBatch {
    fn default() -> Self {
        Self {
            encoded: Vec::new(),
            items: Vec::new(),
            channels: ChannelSet::NONE,
            session: None,
            ends_session: false,
            over_limit: None,
            failed: None,
        }
    }
}

impl LineBatch {
    /// Creates an empty batch without a session: no entry is deduplicated.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty batch whose lines are numbered from `first_seq` (at least 1).
    ///
    /// Lines with a number that was appended before are dropped. A gap before the first number
    /// becomes one `internal` line with a gap marker.
    pub fn with_session(session: &str, first_seq: u64) -> Self {
        Self { session: Some(BatchSession { name: session.to_owned(), first_seq }), ..Self::default() }
    }

    /// Creates an empty batch that ends a session: numbers below `end_seq` that never arrived become
    /// one `internal` line with a gap marker. Appending it again has no effect.
    pub fn end_of_session(session: &str, end_seq: u64) -> Self {
        Self { ends_session: true, ..Self::with_session(session, end_seq) }
    }

    /// Creates an empty batch that reports dropped lines: unknown numbers below `next_seq` exceeded
    /// `limit` and become one `internal` line with a gap marker. Appending it again has no effect.
    pub fn over_limit(session: &str, next_seq: u64, limit: &str) -> Self {
        Self { over_limit: Some(limit.into()), ..Self::with_session(session, next_seq) }
    }

    /// Adds a line.
    pub fn push(&mut self, line: &LineText<'_>) {
        self.push_line(line, LineNumbering::Next);
    }

    /// Adds a further piece of the previous line, under the same sequence number.
    pub fn push_continuation(&mut self, line: &LineText<'_>) {
        self.push_line(line, LineNumbering::Continuation);
    }

    /// Adds a line about the previous one that the sender did not send. It is dropped if the
    /// previous line is a duplicate.
    pub fn push_annotation(&mut self, line: &LineText<'_>) {
        self.push_line(line, LineNumbering::Unnumbered);
    }

    /// Adds an entry with arbitrary fields.
    pub fn push_fields(&mut self, fields: EntryFields<'_>) {
        self.push_body(&EntryBody::Fields(fields), 0, LineNumbering::Next);
    }

    fn push_body(&mut self, body: &EntryBody<'_>, skipped: u64, numbering: LineNumbering) {
        match block::encode_body(&mut self.encoded, body) {
            Ok(()) => {
                let (end, text_bytes, own) = (self.encoded.len(), body.text_bytes(), body.is_own());
                self.items.push(BatchItem { end, text_bytes, skipped, own, numbering });
            }
            Err(error) => self.failed = Some(error.into()),
        }
    }

    fn push_line(&mut self, line: &LineText<'_>, numbering: LineNumbering) {
        let skipped = match line.channel {
            Channel::Internal => GapMarker::parse(&line.text)
                .filter(|mark| matches!(mark.reason, GapReason::Skipped | GapReason::Quota))
                .map_or(0, |mark| mark.count),
            _ => 0,
        };
        self.channels.insert(line.channel);
        let borrowed = LineText { text: line.text.as_ref().into(), ..*line };
        self.push_body(&EntryBody::Line(borrowed), skipped, numbering);
    }

    /// Returns the channels of the lines.
    pub fn channels(&self) -> ChannelSet {
        self.channels
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Reports whether the batch has no entries.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the entries, each with its relation to the numbers of the session and the number of lines that it
    /// reports as dropped.
    pub fn entries(&self) -> impl Iterator<Item = Result<(EntryBody<'_>, LineNumbering, u64), JournalError>> {
        self.items.iter().scan(0, |start, item| {
            let body = &self.encoded[*start..item.end];
            *start = item.end;
            let decoded = block::decode_body(body).map_err(JournalError::from);
            Some(decoded.map(|body| (body, item.numbering, item.skipped)))
        })
    }

    /// Returns the session and the number of its first line, if the lines are numbered.
    pub fn session(&self) -> Option<(&str, u64)> {
        self.session.as_ref().map(|session| (session.name.as_str(), session.first_seq))
    }

    /// Reports whether the session ends with this batch.
    pub fn ends_session(&self) -> bool {
        self.ends_session
    }

    /// Returns the limit that the numbers before the first exceeded.
    pub fn exceeded_limit(&self) -> Option<&str> {
        self.over_limit.as_deref()
    }

    /// Returns the session and the number of the last line, if the lines are numbered.
    pub fn last_seq(&self) -> Option<(&str, u64)> {
        let session = self.session.as_ref()?;
        let numbered = self.items.iter().filter(|item| item.numbering == LineNumbering::Next).count() as u64;
        Some((&session.name, (session.first_seq + numbered).saturating_sub(1)))
    }

    /// Returns the text bytes of each line including its continuations, in order.
    pub fn lines(&self) -> impl Iterator<Item = u64> {
        let mut items = self.items.iter().peekable();
        std::iter::from_fn(move || {
            let mut bytes = items.next()?.text_bytes;
            while let Some(more) = items.next_if(|item| item.numbering != LineNumbering::Next) {
                bytes += more.text_bytes;
            }
            Some(bytes)
        })
    }

    /// Shortens the batch to its first `lines` lines, including their continuations.
    pub fn truncate(&mut self, lines: usize) {
        let starts = self.items.iter().enumerate().filter(|(_, item)| item.numbering == LineNumbering::Next);
        let end = starts.map(|(at, _)| at).nth(lines).unwrap_or(self.items.len());
        self.items.truncate(end);
        self.encoded.truncate(self.items.last().map_or(0, |item| item.end));
    }

    /// Returns the entries in their stored encoding, which contains the texts verbatim.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Returns the bytes that the batch occupies in the queue.
    pub fn bytes(&self) -> usize {
        self.encoded.len() + self.items.len() * size_of::<BatchItem>()
    }
}
