//! An incremental parser for the requests of a Redis client.

use std::fmt;

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::error::ProtocolError;
use super::inline;
use super::request::{Request, Span, Spans};

/// Free space that [`Parser::buffer`] provides for one read of the socket, in bytes.
pub const READ_BYTES: usize = 16 * 1024;

/// A larger block of memory is freed once it is nearly empty, in bytes.
const KEEP_BYTES: usize = 64 * 1024;

/// Minimum free space for a read, and the most that is worth copying, in bytes.
const LITTLE_BYTES: usize = READ_BYTES / 4;

/// The limits of a request; exceeding one is a [`ProtocolError`], which ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Arguments of a request, including the command's name; capped at 2^26.
    pub args_max: usize,
    /// Bytes of one argument: Redis' `proto-max-bulk-len`.
    pub bulk_bytes_max: usize,
    /// Bytes of all arguments of a request together; capped at 2^31.
    pub request_bytes_max: usize,
    /// Bytes of an inline request, and of a line that contains a length.
    pub inline_bytes_max: usize,
}

impl RequestLimits {
    /// Default of `args_max`: that of older Redis versions, and enough for any pipeline helper.
    pub const ARGS_MAX: usize = 1024 * 1024;
    /// Default of `bulk_bytes_max`, 8 MiB.
    pub const BULK_BYTES_MAX: usize = 8 * 1024 * 1024;
    /// Default of `request_bytes_max`, 16 MiB.
    pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// Default of `inline_bytes_max`, 64 KiB as in Redis.
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

/// An incremental parser of requests; input may be split anywhere.
///
/// Read into [`Parser::buffer`], then call [`Parser::next`] until it returns `None`, and repeat. Used
/// like this it holds at most one request of the maximum size and one read, in a block of at most twice
/// that size. The length of an argument allocates nothing before its bytes arrive, and no byte of a
/// split request is scanned twice.
pub struct Parser {
    limits: RequestLimits,
    buffer: BytesMut,
    /// Largest capacity seen of the buffer's memory block.
    block_bytes: usize,
    pending: PartialRequest,
    failed: Option<ProtocolError>,
}

/// The progress of the request at the start of the buffer.
#[derive(Default)]
struct PartialRequest {
    spans: Spans,
    args_left: usize,
    /// Start of the next line, or of the bytes of the current argument.
    at: usize,
    /// Position up to which the line at `at` has no line end.
    searched: usize,
    /// Length of the argument whose bytes are awaited.
    bulk: Option<usize>,
    args_bytes: usize,
}

/// A line that contains a number, and its possible errors.
struct LengthPrefix {
    mark: u8,
    too_long: ProtocolError,
    invalid: ProtocolError,
}

const COUNT: LengthPrefix = LengthPrefix {
    mark: b'*',
    too_long: ProtocolError::CountLineTooLong,
    invalid: ProtocolError::InvalidMultibulkLength,
};
const LENGTH: LengthPrefix =
    LengthPrefix { mark: b'$', too_long: ProtocolError::BulkLineTooLong, invalid: ProtocolError::InvalidBulkLength };

impl Parser {
    /// Creates a parser for a new connection.
    pub fn new(limits: RequestLimits) -> Self {
        let limits = RequestLimits {
            args_max: limits.args_max.min(1 << 26),
            request_bytes_max: limits.request_bytes_max.min(1 << 31),
            ..limits
        };
        Self { limits, buffer: BytesMut::new(), block_bytes: 0, pending: PartialRequest::default(), failed: None }
    }

    /// Returns the buffer for the socket's bytes, with space for a read. Only append to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        // A large request was consumed: even an empty rest would keep its block allocated.
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

    /// Returns the number of bytes received but not yet returned as a request.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the next request, or `None` if more bytes are needed. Empty lines and counts of 0 or less
    /// are skipped, as in Redis.
    ///
    /// # Errors
    /// The bytes are not a request or exceed the limits. This is final: every further call returns the same
    /// error.
    #[allow(clippy::should_implement_trait, reason = "`None` is not the end here, as it would be of an iterator")]
    pub fn next(&mut self) -> Result<Option<Request>, ProtocolError> {
        if let Some(error) = self.failed {
            self.buffer.clear();
            return Err(error);
        }
        self.advance().inspect_err(|error| {
            self.failed = Some(*error);
            self.buffer = BytesMut::new();
            self.pending = PartialRequest::default();
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
        Ok(Some(Request::new(bytes, pending.spans)))
    }

    /// Parses the argument count. Returns `false` if its line is incomplete.
    fn count(&mut self) -> Result<bool, ProtocolError> {
        let Some(count) = self.announced(&COUNT)? else { return Ok(false) };
        match usize::try_from(count) {
            Ok(count) if count > self.limits.args_max => return Err(COUNT.invalid),
            Ok(count @ 1..) => self.pending.args_left = count,
            _ => {
                self.buffer.advance(self.pending.at);
                self.pending = PartialRequest::default();
            }
        }
        Ok(true)
    }

    /// Parses arguments until all are present. Returns `false` if they are incomplete.
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

    /// Checks the length of an argument against the limits, and adds it to the total.
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

    /// Parses the line at `pending.at` and moves past it. Returns `None` if it is incomplete.
    fn announced(&mut self, what: &LengthPrefix) -> Result<Option<i64>, ProtocolError> {
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
        // The order of Redis and Valkey: the first byte, then the line end, then the number.
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

    /// Parses an inline request; it is empty if the line is blank. Returns `None` if the line is incomplete.
    fn line(&mut self) -> Result<Option<Request>, ProtocolError> {
        let found = memchr(b'\n', &self.buffer[self.pending.searched..]).map(|i| self.pending.searched + i);
        if found.unwrap_or(self.buffer.len()) > self.limits.inline_bytes_max {
            return Err(ProtocolError::InlineTooLong);
        }
        let Some(end) = found else {
            self.pending.searched = self.buffer.len();
            return Ok(None);
        };
        self.pending = PartialRequest::default();
        let line = &self.buffer[..end];
        let (text, spans) = inline::split(line.strip_suffix(b"\r").unwrap_or(line))?;
        self.buffer.advance(end + 1);
        Ok(Some(Request::new(text.into(), spans)))
    }
}

/// Omits the contents of the buffer, which may include a token.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parser({} bytes buffered, failed: {:?})", self.buffered(), self.failed)
    }
}

/// Parses the common case of a line: first byte, up to eight digits, CR LF. Returns the number and the
/// length; `None` for any other line, whether invalid or incomplete.
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

/// Parses a decimal integer like Redis: no sign but `-`, no leading zero, no blank, no `-0`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_prefix_allocates_nothing_before_its_bytes_arrive() {
        let mut parser = Parser::new(RequestLimits::default());
        parser.buffer().extend_from_slice(b"*1048576\r\n$8388608\r\nab");
        assert_eq!(parser.next(), Ok(None));
        assert!(parser.buffer().capacity() <= KEEP_BYTES, "{} bytes", parser.buffer().capacity());
        assert!(parser.pending.spans.capacity() <= 16);
    }

    #[test]
    fn large_buffer_is_freed_after_a_large_request() {
        let mut parser = Parser::new(RequestLimits::default());
        let large = vec![b'x'; 4 << 20];
        let wire = [b"*1\r\n$4194304\r\n", &large[..], b"\r\n*1\r\n$4\r\nPI"].concat();
        let mut requests = Vec::new();
        for piece in wire.chunks(10_000) {
            parser.buffer().extend_from_slice(piece);
            requests.extend(parser.next().ok().flatten());
        }
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].arg(0), large);
        assert!(parser.buffer().capacity() <= KEEP_BYTES, "{} bytes", parser.buffer().capacity());
        parser.buffer().extend_from_slice(b"NG\r\n");
        assert_eq!(parser.next(), Ok(Some(Request::from_args(&[b"PING"]))), "its rest is still there");
    }
}
