//! The binary format of a spool: a pure codec without I/O.
//!
//! ```text
//! segment = "tasktail spool1\n"  record*
//! record  = length u32 | crc32 u32 (of kind and body) | kind u8 | body (length bytes)
//!   0 begin   first_seq u64                         the first record of a segment
//!   1 line    seq u64 | ms u64 | channel u8 | flags u8 | kind u8 | count u64 | text
//!   2 end     seq u64 | ms u64 | flags u8 | exit_code i32 | signal i32 | sum of the lines, as text
//!   3 acked   seq u64                               everything up to it is durable at the server
//! ```
//! Integers are little-endian. A flag bit marks a field as present, or as true. Line numbers only grow;
//! a hole in them is lines that were acked or never reached the spool. A segment ends at a truncated
//! record or at a checksum mismatch.

use crate::model::{Channel, LineChecksum, Timestamp};
use crate::worker::Exit;
use crate::worker::buffer::{BufferedLine, LineKind};
use crate::worker::lines::SplitLine;

/// Magic bytes of a segment: format and version.
pub(super) const MAGIC: &[u8; 16] = b"tasktail spool1\n";
/// Size of length, checksum and kind.
pub(super) const HEAD_BYTES: usize = 9;
/// Maximum bytes of a body; the text of a line is far smaller.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

/// Maximum line number, because numbers are JSON numbers too.
pub(super) const SEQ_MAX: u64 = 1 << 53;

const BEGIN: u8 = 0;
const LINE: u8 = 1;
const END: u8 = 2;
const ACKED: u8 = 3;

/// A record of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::worker) enum SpoolRecord {
    /// Start of a segment.
    Begin {
        /// Number of its first line.
        first_seq: u64,
    },
    /// Line and its number.
    Line(u64, BufferedLine),
    /// End of the task.
    End(RecordedEnd),
    /// Highest number that is durable at the server.
    Acked(u64),
}

/// The end of a task, as recorded in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct RecordedEnd {
    /// Number after that of the last line.
    pub(in crate::worker) seq: u64,
    /// Result of the task.
    pub(in crate::worker) exit: Exit,
    /// Time of the end.
    pub(in crate::worker) at: Timestamp,
    /// Checksum of all lines, if known.
    pub(in crate::worker) sum: Option<LineChecksum>,
}

/// The result of parsing one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextRecord {
    /// Record and its size in bytes.
    Record(SpoolRecord, usize),
    /// Truncated record, or no bytes.
    Incomplete,
    /// Invalid record.
    Corrupt,
}

/// Appends an encoded record to `out`.
pub(in crate::worker) fn encode(record: &SpoolRecord, out: &mut Vec<u8>) {
    match record {
        SpoolRecord::Begin { first_seq } => put(BEGIN, out, |out| out.extend(first_seq.to_le_bytes())),
        SpoolRecord::Line(seq, item) => encode_line(*seq, item, out),
        SpoolRecord::End(RecordedEnd { seq, exit, at, sum }) => put(END, out, |out| {
            let flags =
                u8::from(exit.code.is_some()) | u8::from(exit.signal.is_some()) << 1 | u8::from(exit.aborted) << 2;
            out.extend(seq.to_le_bytes());
            out.extend(at.as_millis().to_le_bytes());
            out.push(flags);
            out.extend(exit.code.unwrap_or(0).to_le_bytes());
            out.extend(exit.signal.unwrap_or(0).to_le_bytes());
            out.extend(sum.map(|sum| sum.to_string()).unwrap_or_default().into_bytes());
        }),
        SpoolRecord::Acked(seq) => put(ACKED, out, |out| out.extend(seq.to_le_bytes())),
    }
}

/// Appends an encoded line to `out`, without copying the line first.
pub(in crate::worker) fn encode_line(seq: u64, item: &BufferedLine, out: &mut Vec<u8>) {
    let (kind, count) = match item.kind {
        LineKind::Line => (0, 0),
        LineKind::Internal => (1, 0),
        LineKind::Gap(count) => (2, count),
    };
    put(LINE, out, |out| {
        out.extend(seq.to_le_bytes());
        out.extend(item.at.as_millis().to_le_bytes());
        out.push(item.channel as u8);
        out.push(u8::from(item.line.partial) | u8::from(item.line.lossy) << 1);
        out.push(kind);
        out.extend(u64::to_le_bytes(count));
        out.extend_from_slice(item.line.text.as_bytes());
    });
}

fn put(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; HEAD_BYTES - 1]);
    out.push(kind);
    body(out);
    let length = u32::try_from(out.len() - at - HEAD_BYTES).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(out.get(at + HEAD_BYTES - 1..).unwrap_or_default());
    let head = [length.to_le_bytes(), sum.to_le_bytes()].concat();
    out.iter_mut().skip(at).zip(head).for_each(|(place, byte)| *place = byte);
}

/// Parses the first record of `bytes`.
pub(super) fn next(bytes: &[u8]) -> NextRecord {
    let Some((length, rest)) = bytes.split_first_chunk() else { return NextRecord::Incomplete };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > BODY_BYTES_MAX {
        return NextRecord::Corrupt;
    }
    let Some((sum, rest)) = rest.split_first_chunk() else { return NextRecord::Incomplete };
    let Some(kind_and_body) = rest.get(..length + 1) else { return NextRecord::Incomplete };
    if crc32fast::hash(kind_and_body) != u32::from_le_bytes(*sum) {
        return NextRecord::Corrupt;
    }
    let Some((kind, body)) = kind_and_body.split_first() else { return NextRecord::Corrupt };
    match decode(*kind, body) {
        Some(record) => NextRecord::Record(record, HEAD_BYTES + length),
        None => NextRecord::Corrupt,
    }
}

/// Returns the number of the first record in `records`, and the size of the leading whole records: at least
/// one, else at most `bytes_max` bytes. Accepts only lines and ends written by [`encode`].
pub(super) fn leading_records(records: &[u8], bytes_max: usize) -> Option<(u64, usize)> {
    let length_at = |at: usize| {
        let length = records.get(at..)?.first_chunk()?;
        Some(HEAD_BYTES + usize::try_from(u32::from_le_bytes(*length)).ok()?)
    };
    let seq = u64::from_le_bytes(*records.get(HEAD_BYTES..)?.first_chunk()?);
    let mut end = length_at(0)?;
    while let Some(length) = length_at(end).filter(|length| end + length <= bytes_max) {
        end += length;
    }
    Some((seq, end))
}

/// Returns all whole records of a segment, and their total size including the magic bytes.
pub(super) fn records(segment: &[u8]) -> (Vec<SpoolRecord>, usize) {
    let mut records = Vec::new();
    let Some(mut rest) = segment.strip_prefix(MAGIC) else { return (records, 0) };
    while let NextRecord::Record(record, bytes) = next(rest) {
        records.push(record);
        rest = rest.get(bytes..).unwrap_or_default();
    }
    (records, segment.len() - rest.len())
}

fn decode(kind: u8, body: &[u8]) -> Option<SpoolRecord> {
    let mut body = RecordBody(body);
    let record = match kind {
        BEGIN => SpoolRecord::Begin { first_seq: body.seq()? },
        LINE => return decode_line(body),
        END => {
            let (seq, at, [flags]) = (body.seq()?, body.u64()?, body.bytes()?);
            let (code, signal) = (i32::from_le_bytes(body.bytes()?), i32::from_le_bytes(body.bytes()?));
            let exit = Exit {
                code: (flags & 1 != 0).then_some(code),
                signal: (flags & 2 != 0).then_some(signal),
                aborted: flags & 4 != 0,
            };
            let sum = match std::str::from_utf8(std::mem::take(&mut body.0)).ok()? {
                "" => None,
                text => Some(text.parse().ok()?),
            };
            SpoolRecord::End(RecordedEnd { seq, exit, at: Timestamp::from_millis(at), sum })
        }
        ACKED => SpoolRecord::Acked(body.seq()?),
        _ => return None,
    };
    body.0.is_empty().then_some(record)
}

fn decode_line(mut body: RecordBody<'_>) -> Option<SpoolRecord> {
    let (seq, at) = (body.seq()?, body.u64()?);
    let [channel, flags, kind] = body.bytes()?;
    let count = body.u64()?;
    let kind = match kind {
        0 => LineKind::Line,
        1 => LineKind::Internal,
        2 => LineKind::Gap(count),
        _ => return None,
    };
    let text = std::str::from_utf8(body.0).ok().filter(|text| !text.contains('\0'))?;
    let line = SplitLine { text: text.to_owned(), partial: flags & 1 != 0, lossy: flags & 2 != 0, nuls: 0 };
    let channel = *Channel::ALL.get(usize::from(channel))?;
    Some(SpoolRecord::Line(seq, BufferedLine { line, channel, at: Timestamp::from_millis(at), kind }))
}

/// The unparsed rest of a body.
struct RecordBody<'a>(&'a [u8]);

impl RecordBody<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn seq(&mut self) -> Option<u64> {
        self.u64().filter(|seq| (1..=SEQ_MAX).contains(seq))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = SpoolRecord> {
        let kind = prop_oneof![Just(LineKind::Line), Just(LineKind::Internal), any::<u64>().prop_map(LineKind::Gap)];
        let seq = || 1..=SEQ_MAX;
        let line = (seq(), any::<u64>(), 0usize..3, any::<(bool, bool)>(), kind, "[^\0]{0,40}");
        let line = line.prop_map(|(seq, at, channel, (partial, lossy), kind, text)| {
            let line = SplitLine { text, partial, lossy, nuls: 0 };
            SpoolRecord::Line(
                seq,
                BufferedLine { line, channel: Channel::ALL[channel], at: Timestamp::from_millis(at), kind },
            )
        });
        let end =
            (seq(), any::<(Option<i32>, Option<i32>, bool, u64)>()).prop_map(|(seq, (code, signal, aborted, at))| {
                let sum = aborted.then(|| format!("xxh3-128-sum:{at:032x}").parse().unwrap());
                SpoolRecord::End(RecordedEnd {
                    seq,
                    exit: Exit { code, signal, aborted },
                    at: Timestamp::from_millis(at),
                    sum,
                })
            });
        let begin = seq().prop_map(|first_seq| SpoolRecord::Begin { first_seq });
        prop_oneof![begin, line, end, seq().prop_map(SpoolRecord::Acked)]
    }

    fn segment(records: &[SpoolRecord]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        records.iter().for_each(|record| encode(record, &mut bytes));
        bytes
    }

    proptest! {
        #[test]
        fn records_round_trip(all in prop::collection::vec(record(), 0..12)) {
            let bytes = segment(&all);
            prop_assert_eq!(records(&bytes), (all, bytes.len()));
        }

        #[test]
        fn pieces_are_whole_records(all in prop::collection::vec(record(), 1..12), max in 0usize..200) {
            let all: Vec<SpoolRecord> = all.into_iter().filter(|record| matches!(record, SpoolRecord::Line(..) | SpoolRecord::End(_))).collect();
            let bytes = segment(&all);
            let (mut rest, mut seqs, mut pieces) = (&bytes[MAGIC.len()..], Vec::new(), MAGIC.to_vec());
            while let Some((seq, end)) = leading_records(rest, max) {
                let (read, valid) = records(&[MAGIC.as_slice(), &rest[..end]].concat());
                prop_assert_eq!(valid, MAGIC.len() + end);
                prop_assert!(end <= max || read.len() == 1);
                let first = match &read[0] {
                    SpoolRecord::Line(first, _) => *first,
                    SpoolRecord::End(end) => end.seq,
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(first, seq);
                seqs.push(seq);
                pieces.extend_from_slice(&rest[..end]);
                rest = &rest[end..];
            }
            prop_assert_eq!(pieces, bytes);
        }

        #[test]
        fn a_segment_cut_anywhere_is_a_prefix(all in prop::collection::vec(record(), 1..12), cut in any::<prop::sample::Index>()) {
            let bytes = segment(&all);
            let cut = cut.index(bytes.len());
            let (read, valid) = records(&bytes[..cut]);
            prop_assert!(valid <= cut && all.starts_with(&read));
            prop_assert!(read.len() < all.len());
        }

        #[test]
        fn a_flipped_bit_keeps_earlier_records(all in prop::collection::vec(record(), 1..12), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = segment(&all);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (read, _) = records(&bytes);
            prop_assert!(all.starts_with(&read) && read.len() < all.len());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (_, valid) = records(&[MAGIC.as_slice(), &bytes].concat());
            prop_assert!(valid <= MAGIC.len() + bytes.len());
        }
    }
}
