//! Replies to a Redis client, encoded for the connection's protocol version.

use std::fmt::{Display, Write};

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::EntryId;

/// A version of the protocol; a connection starts with the first and switches by `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Since Redis 2.0.
    #[default]
    Resp2,
    /// Since Redis 6.0: adds maps, sets, booleans, doubles and a null type.
    Resp3,
}

impl Protocol {
    /// Returns the version for the argument 2 or 3 of `HELLO`; `None` for any other (Redis: `NOPROTO`).
    pub fn from_version(version: i64) -> Option<Self> {
        match version {
            2 => Some(Self::Resp2),
            3 => Some(Self::Resp3),
            _ => None,
        }
    }

    /// Returns 2 or 3, as reported by `HELLO`.
    pub fn version(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// The encoded replies of a connection that are not sent yet, in order.
///
/// A collection is its header, followed by its items: [`Reply::array`] of 2 needs two replies after it,
/// [`Reply::map`] of 2 needs four. This is not checked.
#[derive(Debug, Default)]
pub struct Reply {
    out: BytesMut,
    protocol: Protocol,
    bytes_max: Option<usize>,
}

impl Reply {
    /// Creates an empty buffer for this version.
    pub fn new(protocol: Protocol) -> Self {
        Self { out: BytesMut::new(), protocol, bytes_max: None }
    }

    /// Creates an empty buffer with a size limit; see [`Reply::is_full`].
    pub fn limited(protocol: Protocol, bytes_max: usize) -> Self {
        Self { bytes_max: Some(bytes_max), ..Self::new(protocol) }
    }

    /// Returns an empty buffer with the same version and limit, and newly allocated memory.
    pub fn emptied(&self) -> Self {
        Self { out: BytesMut::new(), ..*self }
    }

    /// Returns the limit if it is exceeded. A command with a long reply checks it and aborts.
    pub fn is_full(&self) -> Option<usize> {
        self.bytes_max.filter(|max| self.out.len() > *max)
    }

    /// Returns the version used for the next reply.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Sets the version for the next reply; the reply to `HELLO` already uses the new one.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Appends a simple string such as `OK`.
    pub fn simple(&mut self, text: &str) {
        self.text_line(b'+', text.as_bytes());
    }

    /// Appends an error with its full `text`, such as `ERR syntax error`. It may contain any bytes, since it
    /// can quote an argument; CR and LF become spaces, as in Redis.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.text_line(b'-', text.as_ref());
    }

    /// Appends an integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// Appends an unsigned number like Redis: as the signed integer with the same 64 bits.
    pub fn unsigned(&mut self, value: u64) {
        self.integer(value.cast_signed());
    }

    /// Appends a bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 32);
        self.header(b'$', bytes.len());
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    /// Appends an entry id as a bulk string, `ms-seq`.
    pub fn id(&mut self, id: EntryId) {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (ms, seq) = (ms.format(id.ms), seq.format(id.seq));
        self.out.reserve(64);
        self.header(b'$', ms.len() + 1 + seq.len());
        self.out.put_slice(ms.as_bytes());
        self.out.put_u8(b'-');
        self.out.put_slice(seq.as_bytes());
        self.out.put_slice(b"\r\n");
    }

    /// Appends the displayed `value` as a bulk string; an empty one if formatting fails.
    pub fn bulk_display(&mut self, value: impl Display) {
        let at = self.out.len();
        if write!(self.out, "{value}").is_err() {
            self.out.truncate(at);
        }
        let length = self.out.len() - at;
        self.out.put_slice(b"\r\n");
        self.header_at(at, b'$', length);
    }

    /// Appends a null in place of a string: `$-1`, in RESP3 `_`.
    pub fn null(&mut self) {
        self.out.put_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Appends a null in place of an array: `*-1`, in RESP3 `_`.
    pub fn null_array(&mut self) {
        self.out.put_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Appends the header of an array; its `len` items follow.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// Inserts the header of an array of `len` items before the bytes written since [`Reply::len`] was
    /// `at`, for items that are counted while they are written. It moves these bytes.
    pub fn array_at(&mut self, at: usize, len: usize) {
        self.header_at(at, b'*', len);
    }

    /// Appends the header of a map; `pairs` keys, each with its value, follow. RESP2: an array of twice as
    /// many.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', pairs * 2),
            Protocol::Resp3 => self.header(b'%', pairs),
        }
    }

    /// Inserts the header of a map of `pairs` pairs before the bytes written since [`Reply::len`] was `at`;
    /// see [`Reply::array_at`].
    pub fn map_at(&mut self, at: usize, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header_at(at, b'*', pairs * 2),
            Protocol::Resp3 => self.header_at(at, b'%', pairs),
        }
    }

    /// Appends the header of a set; its `len` members follow. RESP2: an array.
    pub fn set(&mut self, len: usize) {
        self.header(if self.protocol == Protocol::Resp3 { b'~' } else { b'*' }, len);
    }

    /// Appends the header of a push message; its `len` items follow. RESP2: an array.
    pub fn push(&mut self, len: usize) {
        self.header(if self.protocol == Protocol::Resp3 { b'>' } else { b'*' }, len);
    }

    /// Appends a boolean. RESP2: the integer 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        self.out.put_slice(match (self.protocol, value) {
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
        });
    }

    /// Appends a floating-point number in its shortest form. RESP2: a bulk string.
    pub fn double(&mut self, value: f64) {
        match self.protocol {
            Protocol::Resp2 => self.bulk_display(Double(value)),
            Protocol::Resp3 => {
                let at = self.out.len();
                if write!(self.out, ",{}\r\n", Double(value)).is_err() {
                    self.out.truncate(at);
                }
            }
        }
    }

    /// Appends text for people, such as that of `INFO`. RESP2: a bulk string.
    pub fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.out.reserve(text.len() + 32);
                self.header(b'=', text.len() + 4);
                self.out.put_slice(b"txt:");
                self.out.put_slice(text.as_bytes());
                self.out.put_slice(b"\r\n");
            }
        }
    }

    /// Appends bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// Returns the number of buffered bytes.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Reports whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Removes the bytes written since [`Reply::len`] was `len`: undoes a partial reply.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Returns the buffered bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Removes and returns the buffered bytes; the version stays.
    pub fn drain(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// Converts the buffer into its bytes.
    pub fn into_bytes(self) -> Bytes {
        self.out.freeze()
    }

    fn header(&mut self, mark: u8, value: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.out.reserve(32);
        self.out.put_u8(mark);
        self.out.put_slice(digits.format(value).as_bytes());
        self.out.put_slice(b"\r\n");
    }

    /// Inserts a header before the bytes written since `at`.
    fn header_at(&mut self, at: usize, mark: u8, value: usize) {
        let end = self.out.len();
        self.header(mark, value);
        let length = self.out.len() - end;
        self.out[at.min(end)..].rotate_right(length);
    }

    fn text_line(&mut self, mark: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.put_u8(mark);
        let start = self.out.len();
        self.out.put_slice(text);
        for byte in &mut self.out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.put_slice(b"\r\n");
    }
}

/// A number that displays like in Valkey; Redis 7 prints all 17 digits.
struct Double(f64);

impl Display for Double {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.0.abs();
        if self.0.is_nan() {
            f.write_str("nan")
        } else if size == 0.0 || size.is_infinite() || (1e-5..1e20).contains(&size) {
            write!(f, "{}", self.0)
        } else if size < 1.0 {
            write!(f, "{:e}", self.0)
        } else {
            write!(f, "{}", format!("{:e}", self.0).replace('e', "e+"))
        }
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
