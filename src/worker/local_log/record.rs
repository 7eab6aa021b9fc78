//! The records of a local log: a pure codec without I/O.
//!
//! ```text
//! segment = magic (only in a named file)  record*
//! record  = length u32 | crc32 u32 | kind u8 | ms u64 | body (length bytes)
//!   0..2 output    of this channel, cut anywhere
//!   3    internal  text of one line of the worker itself
//!   4    skipped   3 times u64: lines of each channel that are missing here
//!   5    end       floor u64 | flags u8 | exit_code i32 | signal i32 | text of a last internal line
//! ```
//! Integers are little-endian. The CRC covers everything after it; it is zero in a file without a name, which
//! no other process can read. A segment ends at a truncated record or at a wrong CRC.

use crate::model::{Channel, Timestamp};
use crate::worker::Exit;

/// Magic bytes of a named segment: format and version.
pub(super) const MAGIC: &[u8; 16] = b"tasktail spool2\n";
/// Size of everything before the body.
pub(super) const HEAD_BYTES: usize = 17;
/// Maximum bytes of a body; larger output becomes several records.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

/// Maximum line number, because numbers are JSON numbers too.
pub(super) const SEQ_MAX: u64 = 1 << 53;
const INTERNAL: u8 = 3;
const SKIPPED: u8 = 4;
const END: u8 = 5;

/// The content of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum LogRecordKind {
    /// Output of a channel.
    Output(Channel),
    /// A line of the worker itself.
    Internal,
    /// A count of lines that are missing.
    Skipped,
    /// The end of the task.
    End,
}

impl LogRecordKind {
    const fn code(self) -> u8 {
        match self {
            LogRecordKind::Output(channel) => channel as u8,
            LogRecordKind::Internal => INTERNAL,
            LogRecordKind::Skipped => SKIPPED,
            LogRecordKind::End => END,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            INTERNAL => Some(LogRecordKind::Internal),
            SKIPPED => Some(LogRecordKind::Skipped),
            END => Some(LogRecordKind::End),
            channel => Channel::ALL.into_iter().find(|c| *c as u8 == channel).map(LogRecordKind::Output),
        }
    }
}

/// A record, borrowed from the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogRecord<'a> {
    pub(super) kind: LogRecordKind,
    pub(super) at: Timestamp,
    pub(super) body: &'a [u8],
}

/// The result of parsing one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextRecord<'a> {
    /// The record; its size is that of its body and [`HEAD_BYTES`].
    Record(LogRecord<'a>),
    /// A truncated record, or no bytes.
    Incomplete,
    /// An invalid record.
    Corrupt,
}

/// The end of a task in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::worker) struct RecordedEnd {
    /// The server has lines up to this number, which the log may lack after a power cut.
    pub(in crate::worker) floor: u64,
    /// Result of the task.
    pub(in crate::worker) exit: Exit,
    /// Internal line before the end, unless empty.
    pub(in crate::worker) message: String,
}

/// Returns the bytes before a record's body.
pub(super) fn head(kind: LogRecordKind, at: Timestamp, body: &[u8], checked: bool) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (length, rest) = head.split_at_mut(4);
    length.copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    let (sum, rest) = rest.split_at_mut(4);
    let (code, time) = rest.split_at_mut(1);
    code.fill(kind.code());
    time.copy_from_slice(&at.as_millis().to_le_bytes());
    if checked {
        sum.copy_from_slice(&crc(rest, body).to_le_bytes());
    }
    head
}

fn crc(kind_and_time: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(kind_and_time);
    crc.update(body);
    crc.finalize()
}

/// Parses the first record of `bytes`.
pub(super) fn next(bytes: &[u8], checked: bool) -> NextRecord<'_> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return NextRecord::Incomplete };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > BODY_BYTES_MAX {
        return NextRecord::Corrupt;
    }
    let Some((sum, rest)) = rest.split_first_chunk() else { return NextRecord::Incomplete };
    let Some((kind_and_time, rest)) = rest.split_first_chunk::<9>() else { return NextRecord::Incomplete };
    let Some(body) = rest.get(..length) else { return NextRecord::Incomplete };
    let [code, time @ ..] = *kind_and_time;
    let Some(kind) = LogRecordKind::from_code(code) else { return NextRecord::Corrupt };
    if checked && crc(kind_and_time, body) != u32::from_le_bytes(*sum) {
        return NextRecord::Corrupt;
    }
    NextRecord::Record(LogRecord { kind, at: Timestamp::from_millis(u64::from_le_bytes(time)), body })
}

/// Returns the body of a skipped record.
pub(super) fn skipped_body(counts: [u64; 3]) -> Vec<u8> {
    counts.iter().flat_map(|count| count.to_le_bytes()).collect()
}

/// Parses the body of a skipped record; a count that is missing is zero.
pub(super) fn skipped_counts(mut body: &[u8]) -> [u64; 3] {
    [(); 3].map(|()| take_u64(&mut body).unwrap_or(0))
}

/// Returns the body of an end record.
pub(super) fn end_body(end: &RecordedEnd) -> Vec<u8> {
    let RecordedEnd { floor, exit, message } = end;
    let flags = u8::from(exit.code.is_some()) | u8::from(exit.signal.is_some()) << 1 | u8::from(exit.aborted) << 2;
    let mut body = floor.to_le_bytes().to_vec();
    body.push(flags);
    body.extend(exit.code.unwrap_or(0).to_le_bytes());
    body.extend(exit.signal.unwrap_or(0).to_le_bytes());
    body.extend_from_slice(
        message.get(..message.floor_char_boundary(BODY_BYTES_MAX / 8)).unwrap_or_default().as_bytes(),
    );
    body
}

/// Parses the body of an end record; `None` if it is invalid.
pub(super) fn parse_end(mut body: &[u8]) -> Option<RecordedEnd> {
    let floor = take_u64(&mut body).filter(|floor| *floor < SEQ_MAX)?;
    let (flags, rest) = body.split_first()?;
    let (code, rest) = rest.split_first_chunk()?;
    let (signal, rest) = rest.split_first_chunk()?;
    let exit = Exit {
        code: (flags & 1 != 0).then_some(i32::from_le_bytes(*code)),
        signal: (flags & 2 != 0).then_some(i32::from_le_bytes(*signal)),
        aborted: flags & 4 != 0,
    };
    Some(RecordedEnd { floor, exit, message: String::from_utf8_lossy(rest).into_owned() })
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

/// Returns the length of the whole records at the beginning of `bytes`, and the number of lines in them.
pub(super) fn scan(mut bytes: &[u8], checked: bool) -> (u64, usize) {
    let (mut lines, mut valid) = (0, 0);
    while let NextRecord::Record(record) = next(bytes, checked) {
        lines += match record.kind {
            LogRecordKind::Output(_) => memchr::memchr_iter(b'\n', record.body).count() as u64,
            LogRecordKind::Internal | LogRecordKind::Skipped => 1,
            LogRecordKind::End => 0,
        };
        let size = HEAD_BYTES + record.body.len();
        valid += size;
        bytes = bytes.get(size..).unwrap_or_default();
    }
    (lines, valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(kind: LogRecordKind, ms: u64, body: &[u8]) -> Vec<u8> {
        [&head(kind, Timestamp::from_millis(ms), body, true)[..], body].concat()
    }

    #[test]
    fn records_round_trip() {
        let kinds = [LogRecordKind::Internal, LogRecordKind::Skipped, LogRecordKind::End];
        for kind in Channel::ALL.map(LogRecordKind::Output).into_iter().chain(kinds) {
            for body in [&b""[..], b"text", &[0xff; 70_000]] {
                let bytes = encode(kind, 77, body);
                let wanted = LogRecord { kind, at: Timestamp::from_millis(77), body };
                assert_eq!(next(&bytes, true), NextRecord::Record(wanted));
                assert_eq!(next(&bytes[..bytes.len() - 1], true), NextRecord::Incomplete);
            }
        }
        let exits = [Exit::code(-7), Exit::signal(9), Exit { aborted: true, ..Exit::default() }];
        for exit in exits {
            let end = RecordedEnd { floor: 8, exit, message: "é over".into() };
            assert_eq!(parse_end(&end_body(&end)), Some(end));
        }
        assert_eq!(skipped_counts(&skipped_body([1, 0, u64::MAX])), [1, 0, u64::MAX]);
    }

    #[test]
    fn a_changed_bit_ends_the_segment() {
        let first = encode(LogRecordKind::Output(Channel::Stdout), 1, b"a\nb\nrest");
        let both = [first.clone(), encode(LogRecordKind::Internal, 2, b"told")].concat();
        assert_eq!(scan(&both, true), (3, both.len()));
        for at in 0..first.len() {
            let mut wrong = both.clone();
            wrong[at] ^= 4;
            assert_eq!(scan(&wrong, true), (0, 0), "bit of byte {at}");
        }
        for length in first.len()..both.len() {
            assert_eq!(scan(&both[..length], true), (2, first.len()));
        }
    }
}
