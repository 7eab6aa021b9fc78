//! What can be wrong with a client's bytes, in Redis' words.

use std::fmt;

/// Bytes that are no request. The connection sends [`ProtocolError::reply_text`] as an error and closes.
///
/// The texts are Redis' own, as its [`Display`](fmt::Display) without `ERR `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The count of arguments is no number or beyond `args_max`.
    InvalidMultibulkLength,
    /// An argument's length is no number, negative or beyond `bulk_bytes_max`.
    InvalidBulkLength,
    /// An argument begins with this byte instead of `$`.
    ExpectedDollar(u8),
    /// A length or an argument is not followed by CR LF (Valkey; Redis 7 skips two bytes, whatever they are).
    InvalidCrlf,
    /// The line with the count of arguments is beyond `inline_bytes_max`.
    CountLineTooLong,
    /// The line with an argument's length is beyond `inline_bytes_max`.
    BulkLineTooLong,
    /// A line without `*` is beyond `inline_bytes_max`.
    InlineTooLong,
    /// A quote of an inline request is not closed, or not followed by a blank.
    UnbalancedQuotes,
    /// The arguments together are beyond `request_bytes_max`. Redis closes without a word; the words are ours.
    RequestTooLong,
}

impl ProtocolError {
    /// The bytes of the error reply between `-` and the line end: `ERR Protocol error: ..`.
    ///
    /// Not a `String`, as the byte in [`ProtocolError::ExpectedDollar`] goes back as it came.
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
