//! Requests of a Redis client: a command's name and its arguments.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// Bytes of a command's name shown in debug output; no command has a longer name.
const NAME_SHOWN_BYTES: usize = 32;

/// A request: a command's name and its arguments, arbitrary bytes. It has at least one argument if it
/// comes from a [`Parser`](super::Parser).
///
/// It shares the memory of the connection's buffer. Use [`Request::detached`] to keep one for longer, as
/// in a transaction's queue.
#[derive(Clone, Default)]
pub struct Request {
    bytes: Bytes,
    spans: Spans,
}

impl Request {
    /// Creates a request with arguments at `spans` of `bytes`.
    pub(super) fn new(bytes: Bytes, spans: Spans) -> Self {
        Self { bytes, spans }
    }

    /// Creates a request with a copy of these arguments.
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

    /// Returns the number of arguments, including the command's name.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Reports whether even the command's name is missing.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the argument at `i`, 0 being the command's name; `None` after the last one.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        self.spans.get(i).map(|span| &self.bytes[span.range()])
    }

    /// Returns the same as [`Request::get`], or an empty slice after the last one; for callers that have
    /// checked [`Request::len`].
    pub fn arg(&self, i: usize) -> &[u8] {
        self.get(i).unwrap_or_default()
    }

    /// Returns the same as [`Request::arg`], sharing the request's memory instead of borrowing it.
    pub fn arg_bytes(&self, i: usize) -> Bytes {
        self.spans.get(i).map(|span| self.bytes.slice(span.range())).unwrap_or_default()
    }

    /// Returns all arguments in order, the command's name first.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator + Clone {
        self.spans.iter().map(|span| &self.bytes[span.range()])
    }

    /// Returns its memory in bytes, for the limit of a queue.
    pub fn bytes(&self) -> usize {
        let spilled = if self.spans.spilled() { self.spans.capacity() * size_of::<Span>() } else { 0 };
        size_of::<Self>() + self.bytes.len() + spilled
    }

    /// Returns a copy in separate memory, which does not keep the connection's buffer alive.
    pub fn detached(&self) -> Self {
        Self::from_args(&self.args().collect::<Vec<_>>())
    }

    /// Reports whether it is a line of an HTTP request. A web page can make a browser send one to any port:
    /// Redis then closes the connection silently, and so must the server.
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

/// Shows only its name and size: an argument may be a token or a task's output.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.arg(0);
        let name = name.get(..NAME_SHOWN_BYTES).unwrap_or(name).escape_ascii();
        write!(f, "Request({name}, {} arguments, {} bytes)", self.len(), self.bytes())
    }
}

/// The position of an argument in the bytes of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Both values fit: `Parser::new` limits a request to less than 4 GiB.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let fit = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: fit(start), end: fit(end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Inline storage for the spans of an XADD with a few fields.
pub(super) type Spans = SmallVec<[Span; 16]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_returns_its_arguments_and_size() {
        let request = Request::from_args(&[b"XADD", b"", b"key"]);
        assert_eq!((request.len(), request.is_empty()), (3, false));
        assert_eq!((request.get(1), request.get(3), request.arg(3)), (Some(&b""[..]), None, &b""[..]));
        assert_eq!(request.args().skip(1).map(<[u8]>::len).collect::<Vec<_>>(), [0, 3]);
        assert_eq!((&request.arg_bytes(2)[..], request.arg_bytes(9).len()), (&b"key"[..], 0));
        let many = Request::from_args(&[&b"x"[..]; 1_000]);
        assert!(many.bytes() >= 1_000 + 1_000 * size_of::<Span>(), "spans beyond the first few weigh too");
        assert_eq!(many.detached(), many);
        assert!(Request::default().is_empty());
        let auth = format!("{:?}", Request::from_args(&[b"AUTH", b"secret"]));
        assert!(auth.starts_with("Request(AUTH, 2 arguments") && !auth.contains("secret"), "{auth}");
    }

    /// Redis and Valkey close silently on these, in either form.
    #[test]
    fn http_requests_are_detected() {
        for name in ["POST", "post", "Host:", "hOST:"] {
            assert!(Request::from_args(&[name.as_bytes(), b"/"]).is_http(), "{name}");
        }
        for name in ["GET", "Host", "PING"] {
            assert!(!Request::from_args(&[name.as_bytes()]).is_http(), "{name}");
        }
    }
}
