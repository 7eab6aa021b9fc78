//! Replies to a Redis client: values to bytes, in the protocol the connection has agreed on.

use std::fmt::{Display, Write};

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::EntryId;

/// The two protocols; a connection begins with the first and changes by `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Since Redis 2.0.
    #[default]
    Resp2,
    /// Since Redis 6.0: maps, sets, booleans, doubles and one null of their own.
    Resp3,
}

impl Protocol {
    /// The protocol `HELLO` calls 2 or 3; `None` for any other (Redis: `NOPROTO`).
    pub fn from_version(version: i64) -> Option<Self> {
        match version {
            2 => Some(Self::Resp2),
            3 => Some(Self::Resp3),
            _ => None,
        }
    }

    /// 2 or 3, as `HELLO` reports it.
    pub fn version(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// The replies of a connection that wait to be sent, in order.
///
/// A collection is its header, then its items: [`Reply::array`] of 2 wants two replies after it,
/// [`Reply::map`] of 2 wants four. Nobody checks that they come.
#[derive(Debug, Default)]
pub struct Reply {
    out: BytesMut,
    protocol: Protocol,
    bytes_max: Option<usize>,
}

impl Reply {
    /// Nothing yet, in that protocol.
    pub fn new(protocol: Protocol) -> Self {
        Self { out: BytesMut::new(), protocol, bytes_max: None }
    }

    /// The same for a connection that is to hold so many bytes; see [`Reply::is_full`].
    pub fn limited(protocol: Protocol, bytes_max: usize) -> Self {
        Self { bytes_max: Some(bytes_max), ..Self::new(protocol) }
    }

    /// Nothing yet, for the same connection, and no memory of what was there.
    pub fn emptied(&self) -> Self {
        Self { out: BytesMut::new(), ..*self }
    }

    /// How many bytes are more than it should hold, if they are held. Whoever writes something long
    /// looks, and gives up.
    pub fn is_full(&self) -> Option<usize> {
        self.bytes_max.filter(|max| self.out.len() > *max)
    }

    /// The protocol of what is written next.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol of what is written next; `HELLO` answers in the new one already.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// A status such as `OK`.
    pub fn simple(&mut self, text: &str) {
        self.text_line(b'+', text.as_bytes());
    }

    /// An error; `text` is all of it, `ERR syntax error`. Any bytes, as an argument may be quoted in
    /// it; CR and LF become spaces, as in Redis.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.text_line(b'-', text.as_ref());
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// An unsigned number the way Redis replies one: as a signed integer of the same 64 bits.
    pub fn unsigned(&mut self, value: u64) {
        self.integer(value.cast_signed());
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 32);
        self.header(b'$', bytes.len());
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    /// An entry's id as a bulk string, `ms-seq`.
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

    /// What `value` prints as, as a bulk string; empty if it fails to print.
    pub fn bulk_display(&mut self, value: impl Display) {
        let at = self.out.len();
        if write!(self.out, "{value}").is_err() {
            self.out.truncate(at);
        }
        let length = self.out.len() - at;
        self.out.put_slice(b"\r\n");
        self.header_at(at, b'$', length);
    }

    /// Nothing, where a string could be: `$-1`, in RESP3 `_`.
    pub fn null(&mut self) {
        self.out.put_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array could be: `*-1`, in RESP3 `_`.
    pub fn null_array(&mut self) {
        self.out.put_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// An array; its `len` items follow.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// An array whose `len` items are those written since [`Reply::len`] was `at`: for items that are
    /// counted only as they come. Moves them by a few bytes.
    pub fn array_at(&mut self, at: usize, len: usize) {
        self.header_at(at, b'*', len);
    }

    /// A map; `pairs` keys, each with its value, follow. In RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', pairs * 2),
            Protocol::Resp3 => self.header(b'%', pairs),
        }
    }

    /// A map whose `pairs` keys and values are those written since [`Reply::len`] was `at`; see
    /// [`Reply::array_at`].
    pub fn map_at(&mut self, at: usize, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header_at(at, b'*', pairs * 2),
            Protocol::Resp3 => self.header_at(at, b'%', pairs),
        }
    }

    /// A set; its `len` members follow. In RESP2 an array.
    pub fn set(&mut self, len: usize) {
        self.header(if self.protocol == Protocol::Resp3 { b'~' } else { b'*' }, len);
    }

    /// A message nobody asked for; its `len` items follow. In RESP2 an array.
    pub fn push(&mut self, len: usize) {
        self.header(if self.protocol == Protocol::Resp3 { b'>' } else { b'*' }, len);
    }

    /// Yes or no. In RESP2 the integer 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        self.out.put_slice(match (self.protocol, value) {
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
        });
    }

    /// A floating-point number, with the fewest digits that read back as it. In RESP2 a bulk string.
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

    /// Plain text for a person, as `INFO` gives it. In RESP2 a bulk string.
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

    /// Bytes that are replies already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// Bytes written and not taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Forgets what was written since [`Reply::len`] was `len`: undoes a reply half written.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// What was written and not taken.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Takes what was written; the protocol stays.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// What was written, at the end of its use.
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

    /// Puts a header before what was written since `at`.
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

/// A number as Valkey prints it, where Redis 7 gives all 17 digits.
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
