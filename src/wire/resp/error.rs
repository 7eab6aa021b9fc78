//! Protocol errors, with the messages of Redis.

use std::fmt;

/// An error in the bytes of a client. The connection sends [`ProtocolError::reply_text`] as an error and
/// closes.
///
/// The messages are those of Redis; [`Display`](fmt::Display) omits `ERR `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The argument count is not a number or exceeds `args_max`.
    InvalidMultibulkLength,
    /// The length of an argument is not a number, negative, or exceeds `bulk_bytes_max`.
    InvalidBulkLength,
    /// An argument starts with this byte instead of `$`.
    ExpectedDollar(u8),
    /// CR LF is missing after a length or an argument (Valkey; Redis 7 skips any two bytes).
    InvalidCrlf,
    /// The line with the argument count exceeds `inline_bytes_max`.
    CountLineTooLong,
    /// The line with the length of an argument exceeds `inline_bytes_max`.
    BulkLineTooLong,
    /// A line without `*` exceeds `inline_bytes_max`.
    InlineTooLong,
    /// A quote of an inline request is not closed, or not followed by a blank.
    UnbalancedQuotes,
    /// The arguments together exceed `request_bytes_max`. Redis closes silently; this message is ours.
    RequestTooLong,
}

impl ProtocolError {
    /// Returns the bytes of the error reply between `-` and the line end: `ERR Protocol error: ..`.
    ///
    /// They are not a `String`, because the byte in [`ProtocolError::ExpectedDollar`] is echoed unchanged.
    pub fn reply_text(self) -> Vec<u8> {
        match self {
            Self::ExpectedDollar(byte @ 0x80..) => {
                [b"ERR Protocol error: expected '$', got '", &[byte][..], b"'"].concat()
            }
            _ => format!("ERR {self}").into_bytes(),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            Self::InvalidBulkLength => f.write_str("invalid bulk length"),
            Self::ExpectedDollar(b'\r' | b'\n') => f.write_str("expected '$', got ' '"),
            Self::ExpectedDollar(byte) => write!(f, "expected '$', got '{}'", char::from(*byte)),
            Self::InvalidCrlf => f.write_str("invalid CRLF in request"),
            Self::CountLineTooLong => f.write_str("too big mbulk count string"),
            Self::BulkLineTooLong => f.write_str("too big bulk count string"),
            Self::InlineTooLong => f.write_str("too big inline request"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            Self::RequestTooLong => f.write_str("too big request"),
        }
    }
}

impl std::error::Error for ProtocolError {}
