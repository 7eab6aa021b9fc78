//! The journal as a list in memory: what every answer and every read must equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use tasktail::journal::{AppendAck, IdRange, Journal, JournalError, LineBatch, PageLimits, Stream, Trim};
use tasktail::model::{Channel, Entry, EntryBody, EntryId, GapMarker, GapReason, Line, LineText, Timestamp};

/// Entries of one block at most: how much an inexact trim may leave.
const BLOCK_ENTRIES_MAX: u64 = 100;
pub(crate) const SESSIONS: [&str; 3] = ["s0", "s1", "s2"];

/// One stream from its first entry on; a trim moves only the watermark.
#[derive(Debug, Default)]
pub(crate) struct Model {
    entries: Vec<(EntryId, EntryBody<'static>)>,
    first_line: u64,
    sessions: BTreeMap<&'static str, u64>,
    total_bytes: u64,
    total_skipped: u64,
    pub(crate) birth: u64,
    pub(crate) expires: Option<Timestamp>,
    /// It was written: a stream that is only named is not there after the next opening.
    pub(crate) stored: bool,
}

/// An entry on its way in.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) body: EntryBody<'static>,
    pub(crate) continuation: bool,
}

impl Model {
    pub(crate) fn new(birth: u64) -> Self {
        Self { first_line: 1, birth, ..Self::default() }
    }

    pub(crate) fn last_line(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn acked(&self, session: &str) -> u64 {
        self.sessions.get(session).copied().unwrap_or(0)
    }

    /// The line so many thousandths into the log; a little behind its end too.
    pub(crate) fn line_at(&self, mille: u64) -> u64 {
        (self.last_line() + 3) * mille / 1000
    }

    /// The id of that entry, or one near it that no entry has.
    pub(crate) fn id_at(&self, mille: u64, beside: bool) -> EntryId {
        let id = match self.line_at(mille).checked_sub(1).and_then(|at| self.entries.get(usize::try_from(at).ok()?)) {
            Some((id, _)) => *id,
            None if mille < 500 => EntryId::MIN,
            None => EntryId::MAX,
        };
        if beside { id.next().unwrap_or(id) } else { id }
    }

    /// Entries that are here, as the journal numbers them.
    fn here(&self) -> impl DoubleEndedIterator<Item = (u64, &(EntryId, EntryBody<'static>))> {
        let first = usize::try_from(self.first_line - 1).unwrap().min(self.entries.len());
        self.entries.iter().enumerate().skip(first).map(|(at, entry)| (at as u64 + 1, entry))
    }

    /// What the entries with a number in this session must become, and the session with them.
    fn take(&mut self, session: Option<(&'static str, u64)>, new: &[New]) -> Vec<EntryBody<'static>> {
        let mut wanted = Vec::new();
        let known = session.map_or(0, |(name, _)| self.acked(name));
        if let Some((_, first)) = session.filter(|(_, first)| *first > known + 1) {
            wanted.push(mark(first - known - 1));
        }
        let mut number = session.map_or(0, |(_, first)| first - 1);
        for entry in new {
            number += u64::from(!entry.continuation);
            if session.is_none() || number > known {
                wanted.push(entry.body.clone());
            }
        }
        if let Some((name, _)) = session {
            self.sessions.insert(name, known.max(number));
        }
        wanted
    }

    /// Appends to both and compares: the answer, the ids, the entries as they can be read.
    pub(crate) async fn append(
        &mut self,
        journal: &Journal,
        stream: &Arc<Stream>,
        session: Option<(&'static str, u64)>,
        new: &[New],
        trim: Option<Trim>,
    ) {
        let mut batch = session.map_or_else(LineBatch::new, |(name, first)| LineBatch::with_session(name, first));
        for entry in new {
            match &entry.body {
                EntryBody::Fields(fields) => batch.push_fields(fields.clone()),
                EntryBody::Line(line) if entry.continuation => batch.push_continuation(line),
                EntryBody::Line(line) => batch.push(line),
            }
        }
        let before = self.last_line();
        self.stored = true;
        let wanted = self.take(session, new);
        let done = journal.append(stream, batch, None).await.unwrap().await.unwrap();
        self.learn(journal, stream, &wanted, done);
        let (first, last) = if wanted.is_empty() { (0, 0) } else { (before + 1, before + wanted.len() as u64) };
        let acked_seq = session.map(|(name, _)| self.acked(name));
        let last_id = self.entries.last().map_or(EntryId::MIN, |(id, _)| *id);
        let expected = AppendAck { first_line: first, last_line: last, last_id, count: wanted.len() as u64, acked_seq };
        assert_eq!(done, expected);
        if let Some(trim) = trim {
            // The trim of an append has no answer of its own: an empty append carries it.
            journal.append(stream, LineBatch::new(), Some(trim)).await.unwrap().await.unwrap();
            self.note_trim(stream, trim);
        }
    }

    /// Ids are the journal's to give: they are read back, and must be new and in order.
    fn learn(&mut self, journal: &Journal, stream: &Stream, wanted: &[EntryBody<'static>], done: AppendAck) {
        let last = self.entries.last().map_or(EntryId::MIN, |(id, _)| *id);
        let range = IdRange { start: last.next().unwrap(), end: EntryId::MAX, count: usize::MAX, reverse: false };
        let found = journal.range(stream, range).unwrap();
        assert_eq!(found.len(), wanted.len(), "entries behind {last}");
        for (entry, wanted) in found.into_iter().zip(wanted) {
            assert_eq!(entry.n, self.last_line() + 1);
            assert!(self.entries.last().is_none_or(|(id, _)| *id < entry.id) && entry.id <= done.last_id);
            assert!(same_text(&entry.body, wanted), "{:?} is not {wanted:?}", entry.body);
            let (bytes, skipped) = weight(wanted);
            self.total_bytes += bytes;
            self.total_skipped += skipped;
            self.entries.push((entry.id, entry.body));
        }
    }

    pub(crate) async fn trim(&mut self, journal: &Journal, stream: &Arc<Stream>, trim: Trim) {
        let before = self.first_line;
        let gone = journal.trim(stream, trim).await.unwrap();
        self.note_trim(stream, trim);
        assert_eq!(gone, self.first_line - before);
    }

    /// An exact trim is where it must be; an inexact one keeps at least what was asked, and at most
    /// a part of one block more. Redis bounds its own the same way.
    fn note_trim(&mut self, stream: &Stream, trim: Trim) {
        let last = self.last_line();
        let below = |id: EntryId| self.entries.partition_point(|(at, _)| *at < id) as u64 + 1;
        let (asked, exact) = match trim {
            Trim::MaxLen(max) => ((last + 1).saturating_sub(max), true),
            Trim::AboutMaxLen(max, _) => ((last + 1).saturating_sub(max), false),
            Trim::MinId(id) => (below(id), true),
            Trim::AboutMinId(id, _) => (below(id), false),
            Trim::ThroughLine(line) => (line.min(last) + 1, true),
        };
        let asked = asked.max(self.first_line);
        let first = stream.tip().first_line;
        if exact {
            assert_eq!(first, asked, "{trim:?}");
        } else {
            assert!(self.first_line <= first && first <= asked, "{trim:?} went from {} to {first}", self.first_line);
            assert!(asked - first < BLOCK_ENTRIES_MAX, "{trim:?} left {} more than asked", asked - first);
        }
        self.first_line = first;
    }

    pub(crate) fn read(&self, journal: &Journal, stream: &Stream, from: u64, limits: PageLimits) {
        let page = journal.read(stream, from, limits).unwrap();
        assert_eq!((page.first_line, page.last_line), (self.first_line, self.last_line()));
        let mut wanted = self.here().filter(|(n, _)| *n >= from).map(|(n, entry)| line_of(n, entry)).peekable();
        assert_eq!(page.lines.is_empty(), wanted.peek().is_none(), "from {from}");
        assert!(page.lines.len() <= limits.lines.max(1));
        let bytes: usize = page.lines.iter().map(|line| line.line.len()).sum();
        assert!(page.lines.len() <= 1 || bytes <= limits.bytes, "{bytes} bytes, {limits:?}");
        for line in page.lines {
            assert_eq!(Some(line), wanted.next());
        }
    }

    pub(crate) fn range(&self, journal: &Journal, stream: &Stream, range: IdRange) {
        let inside = self.here().filter(|(_, (id, _))| *id >= range.start && *id <= range.end);
        let inside = inside.map(|(n, (id, body))| Entry { id: *id, n, body: body.clone() });
        let mut wanted: Vec<_> = inside.collect();
        if range.reverse {
            wanted.reverse();
        }
        wanted.truncate(range.count);
        assert!(journal.range(stream, range).unwrap() == wanted, "{range:?}");
    }

    /// Everything that can be seen of a stream, page by page.
    pub(crate) fn check(&self, journal: &Journal, stream: &Arc<Stream>) {
        self.check_end(stream);
        let mut next = 1;
        while next <= self.last_line() {
            self.read(journal, stream, next, PageLimits { lines: 70, bytes: 40_000 });
            next = journal.read(stream, next, PageLimits { lines: 70, bytes: 40_000 }).unwrap().lines.last().map_or(
                u64::MAX,
                |line| {
                    assert!(line.n >= next, "a page goes on");
                    line.n + 1
                },
            );
        }
        let all = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: usize::MAX, reverse: true };
        self.range(journal, stream, all);
    }

    /// What is known of the end of a stream without reading it.
    pub(crate) fn check_end(&self, stream: &Stream) {
        let tip = stream.tip();
        assert_eq!((tip.first_line, tip.last_line), (self.first_line, self.last_line()));
        assert_eq!(tip.len(), self.here().count() as u64);
        assert_eq!((tip.total_bytes, tip.total_skipped), (self.total_bytes, self.total_skipped));
        assert_eq!(tip.last_id, self.entries.last().map_or(EntryId::MIN, |(id, _)| *id));
        assert_eq!((stream.incarnation(), stream.expires()), (self.birth, self.expires));
        for session in SESSIONS {
            assert_eq!(stream.acked_seq(session), self.acked(session), "{session}");
        }
    }
}

/// A stream that was removed says so to whoever still holds it.
pub(crate) fn check_removed(journal: &Journal, stream: &Arc<Stream>) {
    assert!(stream.tip().removed);
    assert!(matches!(journal.read(stream, 1, PageLimits::default()), Err(JournalError::Removed)));
}

fn mark(count: u64) -> EntryBody<'static> {
    let text = GapMarker { reason: GapReason::LostInTransit, count }.to_string().into();
    EntryBody::Line(LineText { channel: Channel::Internal, text, ..LineText::default() })
}

/// The journal's own marks bear its time; everything else comes back as it went.
fn same_text(found: &EntryBody<'_>, wanted: &EntryBody<'_>) -> bool {
    match (found, wanted) {
        (EntryBody::Line(found), EntryBody::Line(wanted)) if wanted.timestamp == Timestamp::default() => {
            LineText { timestamp: wanted.timestamp, ..found.clone() } == *wanted
        }
        (found, wanted) => found == wanted,
    }
}

/// Bytes that an entry adds to the total, and lines it says were dropped.
fn weight(body: &EntryBody<'_>) -> (u64, u64) {
    match body {
        EntryBody::Fields(_) => (body.text_bytes(), 0),
        EntryBody::Line(line) => {
            let mark = GapMarker::parse(&line.text)
                .filter(|mark| line.channel == Channel::Internal && mark.reason == GapReason::Skipped);
            (line.text.len() as u64 + u64::from(!line.partial), mark.map_or(0, |mark| mark.count))
        }
    }
}

fn line_of(n: u64, (id, body): &(EntryId, EntryBody<'static>)) -> Line<'static> {
    let LineText { timestamp, channel, partial, lossy, text } = body.to_line(*id);
    Line { n, id: *id, timestamp, channel, line: text.into_owned().into(), partial, lossy }
}
