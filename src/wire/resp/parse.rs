//! Requests of a Redis client, out of bytes that come as they please.

use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use smallvec::SmallVec;

use super::inline;

/// Room [`Parser::buffer`] makes for one read of the socket, in bytes.
pub const READ_BYTES: usize = 16 * 1024;

/// A larger block of memory is let go once little is left in it, in bytes.
const KEEP_BYTES: usize = 64 * 1024;

/// Too little room for a read, and little to move, in bytes.
const LITTLE_BYTES: usize = READ_BYTES / 4;

/// What one connection may ask for; beyond it a [`ProtocolError`] ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Arguments of a request, the command's name among them; at most 2^26 is heeded.
    pub args_max: usize,
    /// Bytes of one argument: Redis' `proto-max-bulk-len`.
    pub bulk_bytes_max: usize,
    /// Bytes of all arguments of a request together; at most 2^31 is heeded.
    pub request_bytes_max: usize,
    /// Bytes of an inline request, and of a line that announces a length.
    pub inline_bytes_max: usize,
}

impl RequestLimits {
    /// The default of `args_max`: Redis' of old, and enough for any pipeline helper.
    pub const ARGS_MAX: usize = 1024 * 1024;
    /// The default of `bulk_bytes_max`, 8 MiB.
    pub const BULK_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// The default of `request_bytes_max`, 16 MiB.
    pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// The default of `inline_bytes_max`, 64 KiB as in Redis.
    pub const INLINE_BYTES_MAX: usize = 64 * 1024;
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            args_max: Self::ARGS_MAX,
            bulk_bytes_max: Self::BULK_BYTES_MAX,
            request_bytes_max: Self::REQUEST_BYTES_MAX,
            inline_bytes_max: Self::INLINE_BYTES_MAX,
        }
    }
}

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
            Self::ExpectedDollar(byte) => [b"ERR Protocol error: expected '$', got '", &[byte][..], b"'"].concat(),
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

/// Where an argument is, in the bytes of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Both fit: [`Parser::new`] keeps a request under 4 GiB.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let fit = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: fit(start), end: fit(end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// An XADD with a few fields keeps its spans without a block of its own.
pub(super) type Spans = SmallVec<[Span; 16]>;

/// What a client asks: a command's name and its arguments, any bytes. Has at least one argument
/// when it comes from a [`Parser`].
///
/// Shares the memory of the connection's buffer: one that is kept (a transaction's queue) should be
/// a [`Request::detached`].
#[derive(Clone, Debug, Default)]
pub struct Request {
    bytes: Bytes,
    spans: Spans,
}

impl Request {
    /// A request of these arguments, with memory of its own.
    pub fn from_args(args: &[&[u8]]) -> Self {
        let bytes = args.concat();
        let mut end = 0;
        let span = |arg: &&[u8]| {
            let start = end;
            end += arg.len();
            Span::new(start, end)
        };
        Self { spans: args.iter().map(span).collect(), bytes: bytes.into() }
    }

    /// The number of arguments, the command's name among them.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a command's name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `i`, 0 being the command's name; `None` past the last one.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        self.spans.get(i).map(|span| &self.bytes[span.range()])
    }

    /// As [`Request::get`], empty past the last one: for callers that have looked at [`Request::len`].
    pub fn arg(&self, i: usize) -> &[u8] {
        self.get(i).unwrap_or_default()
    }

    /// As [`Request::arg`], sharing the request's memory instead of borrowing it.
    pub fn arg_bytes(&self, i: usize) -> Bytes {
        self.spans.get(i).map(|span| self.bytes.slice(span.range())).unwrap_or_default()
    }

    /// All arguments in order, the command's name first.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator + Clone {
        self.spans.iter().map(|span| &self.bytes[span.range()])
    }

    /// The memory it stands for, in bytes: what it weighs in a queue.
    pub fn bytes(&self) -> usize {
        let spilled = if self.spans.spilled() { self.spans.capacity() * size_of::<Span>() } else { 0 };
        size_of::<Self>() + self.bytes.len() + spilled
    }

    /// The same request in memory of its own, so that keeping it does not keep the connection's buffer.
    pub fn detached(&self) -> Self {
        Self::from_args(&self.args().collect::<Vec<_>>())
    }

    /// Whether it is a line of an HTTP request, as a web page can make a browser send to any port:
    /// Redis then closes the connection without a word, and so must the server.
    pub fn is_http(&self) -> bool {
        [&b"post"[..], b"host:"].iter().any(|name| self.arg(0).eq_ignore_ascii_case(name))
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.args().eq(other.args())
    }
}

impl Eq for Request {}

/// Requests out of a connection's bytes, whatever the pieces they come in.
///
/// Read into [`Parser::buffer`], then call [`Parser::next`] until it gives `None`, and again. Under
/// that use it holds at most one request of the limits' size and one read: a length that is
/// announced allocates nothing before its bytes are there. No byte is looked at twice for a request
/// that comes in pieces.
#[derive(Debug)]
pub struct Parser {
    limits: RequestLimits,
    buffer: BytesMut,
    /// The most room the block behind the buffer was seen to have.
    block_bytes: usize,
    pending: Pending,
    failed: Option<ProtocolError>,
}

/// How far the request at the start of the buffer has been read.
#[derive(Debug, Default)]
struct Pending {
    spans: Spans,
    args_left: usize,
    /// Where the next line, or the bytes of the argument announced, begin.
    at: usize,
    /// Up to where the line at `at` is known not to end.
    searched: usize,
    /// Length of the argument whose bytes are awaited.
    bulk: Option<usize>,
    args_bytes: usize,
}

/// A line that announces a number, and what can be wrong with it.
struct Announcement {
    mark: u8,
    too_long: ProtocolError,
    invalid: ProtocolError,
}

const COUNT: Announcement = Announcement {
    mark: b'*',
    too_long: ProtocolError::CountLineTooLong,
    invalid: ProtocolError::InvalidMultibulkLength,
};
const LENGTH: Announcement =
    Announcement { mark: b'$', too_long: ProtocolError::BulkLineTooLong, invalid: ProtocolError::InvalidBulkLength };

impl Parser {
    /// A parser at the start of a connection.
    pub fn new(limits: RequestLimits) -> Self {
        let limits = RequestLimits {
            args_max: limits.args_max.min(1 << 26),
            request_bytes_max: limits.request_bytes_max.min(1 << 31),
            ..limits
        };
        Self { limits, buffer: BytesMut::new(), block_bytes: 0, pending: Pending::default(), failed: None }
    }

    /// Where the socket's bytes go: append to it and take nothing from it. It has room for a read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        // A large request is over: even an empty rest would keep its block alive.
        if self.block_bytes > KEEP_BYTES && self.buffer.len() < LITTLE_BYTES {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.block_bytes = 0;
        }
        if self.buffer.capacity() - self.buffer.len() < LITTLE_BYTES {
            self.buffer.reserve(READ_BYTES);
        }
        self.block_bytes = self.block_bytes.max(self.buffer.capacity());
        &mut self.buffer
    }

    /// Bytes that came and are not yet given out as a request.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next request, or `None` when more bytes are needed. Empty lines and counts of 0 or less
    /// are passed over, as in Redis.
    ///
    /// # Errors
    /// Where the bytes are no request or beyond the limits. There is no way on from there: the same
    /// error comes again, whatever is put in.
    #[allow(clippy::should_implement_trait, reason = "`None` is not the end here, as it would be of an iterator")]
    pub fn next(&mut self) -> Result<Option<Request>, ProtocolError> {
        if let Some(error) = self.failed {
            self.buffer.clear();
            return Err(error);
        }
        self.advance().inspect_err(|error| {
            self.failed = Some(*error);
            self.buffer = BytesMut::new();
            self.pending = Pending::default();
        })
    }

    fn advance(&mut self) -> Result<Option<Request>, ProtocolError> {
        while self.pending.args_left == 0 {
            let ready = match self.buffer.first() {
                None => return Ok(None),
                Some(b'*') => self.count()?,
                Some(_) => match self.line()? {
                    Some(request) if request.is_empty() => true,
                    other => return Ok(other),
                },
            };
            if !ready {
                return Ok(None);
            }
        }
        if !self.arguments()? {
            return Ok(None);
        }
        let pending = std::mem::take(&mut self.pending);
        let bytes = self.buffer.split_to(pending.at).freeze();
        Ok(Some(Request { bytes, spans: pending.spans }))
    }

    /// Reads the count of arguments. `false`: its line is not all there.
    fn count(&mut self) -> Result<bool, ProtocolError> {
        let Some(count) = self.announced(&COUNT)? else { return Ok(false) };
        match usize::try_from(count) {
            Ok(count) if count > self.limits.args_max => return Err(COUNT.invalid),
            Ok(count @ 1..) => self.pending.args_left = count,
            _ => {
                self.buffer.advance(self.pending.at);
                self.pending = Pending::default();
            }
        }
        Ok(true)
    }

    /// Reads arguments until all are there. `false`: they are not.
    fn arguments(&mut self) -> Result<bool, ProtocolError> {
        while self.pending.args_left > 0 {
            let length = match self.pending.bulk {
                Some(length) => length,
                None => {
                    let Some(length) = self.announced(&LENGTH)? else { return Ok(false) };
                    self.allowed(length)?
                }
            };
            let pending = &mut self.pending;
            let end = pending.at + length;
            match self.buffer.get(end..end + 2) {
                None => {
                    pending.bulk = Some(length);
                    return Ok(false);
                }
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::InvalidCrlf),
            }
            pending.spans.push(Span::new(pending.at, end));
            pending.bulk = None;
            pending.at = end + 2;
            pending.args_left -= 1;
        }
        Ok(true)
    }

    /// Checks the length of an argument against the limits, and counts it.
    fn allowed(&mut self, length: i64) -> Result<usize, ProtocolError> {
        let length = usize::try_from(length).map_err(|_| LENGTH.invalid)?;
        if length > self.limits.bulk_bytes_max {
            return Err(LENGTH.invalid);
        }
        self.pending.args_bytes = self.pending.args_bytes.saturating_add(length);
        if self.pending.args_bytes > self.limits.request_bytes_max {
            return Err(ProtocolError::RequestTooLong);
        }
        Ok(length)
    }

    /// Reads the line at `pending.at` and moves past it. `None`: it is not all there.
    fn announced(&mut self, what: &Announcement) -> Result<Option<i64>, ProtocolError> {
        let pending = &mut self.pending;
        let line = &self.buffer[pending.at..];
        if let Some((value, taken)) = short(line, what.mark) {
            pending.at += taken;
            return Ok(Some(value));
        }
        let searched = pending.searched.saturating_sub(pending.at);
        let found = memchr(b'\r', &line[searched..]).map(|i| searched + i);
        if found.unwrap_or(line.len()) > self.limits.inline_bytes_max {
            return Err(what.too_long);
        }
        pending.searched = pending.at + found.unwrap_or(line.len());
        let Some((end, after)) = found.and_then(|end| Some((end, line.get(end + 1)?))) else { return Ok(None) };
        // This order, as both oracles have it: the mark, then the line end, then the number.
        match line.first() {
            Some(mark) if *mark == what.mark => {}
            other => return Err(ProtocolError::ExpectedDollar(other.copied().unwrap_or_default())),
        }
        if *after != b'\n' {
            return Err(ProtocolError::InvalidCrlf);
        }
        let value = number(&line[1..end]).ok_or(what.invalid)?;
        pending.at += end + 2;
        Ok(Some(value))
    }

    /// Reads an inline request, one without arguments if the line is blank. `None`: it is not all there.
    fn line(&mut self) -> Result<Option<Request>, ProtocolError> {
        let found = memchr(b'\n', &self.buffer[self.pending.searched..]).map(|i| self.pending.searched + i);
        if found.unwrap_or(self.buffer.len()) > self.limits.inline_bytes_max {
            return Err(ProtocolError::InlineTooLong);
        }
        let Some(end) = found else {
            self.pending.searched = self.buffer.len();
            return Ok(None);
        };
        self.pending = Pending::default();
        let line = &self.buffer[..end];
        let (text, spans) = inline::split(line.strip_suffix(b"\r").unwrap_or(line))?;
        self.buffer.advance(end + 1);
        Ok(Some(Request { bytes: text.into(), spans }))
    }
}

/// The way of nearly every line: mark, up to eight digits, CR LF. Gives the number and the bytes
/// taken; `None` for any other line, be it wrong or not all there.
#[inline]
fn short(line: &[u8], mark: u8) -> Option<(i64, usize)> {
    let (first, digits) = line.split_first()?;
    let mut value = 0;
    for (i, byte) in digits.iter().take(9).enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
            b'\r' if i > 0 && digits.get(i + 1) == Some(&b'\n') => {
                let leading = i > 1 && digits.first() == Some(&b'0');
                return (*first == mark && !leading).then_some((value, i + 3));
            }
            _ => return None,
        }
    }
    None
}

/// A decimal integer as Redis reads one: no sign but `-`, no leading zero, no blank, no `-0`.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        b"0" => text == b"0",
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
