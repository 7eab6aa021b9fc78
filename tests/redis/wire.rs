//! A raw RESP2 and RESP3 client: it gives the exact bytes of each reply.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply that has not come after this long will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

/// What came instead of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The server closed the connection.
    Closed,
    /// Nothing came in time.
    Silent,
}

/// A reply frame, without loss: [`Frame::bytes`] gives what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// `+ - : _ , # (`: one line.
    Line(u8, Vec<u8>),
    /// `$ = !`: counted bytes, or null.
    Blob(u8, Option<Vec<u8>>),
    /// `* ~ > %`: counted frames (a map's keys and values in turn), or null.
    Many(u8, Option<Vec<Frame>>),
    /// `|`: attributes, and the frame they stand before.
    Attributed(Vec<Frame>, Box<Frame>),
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a command; a failure shows when the reply is read.
    pub(crate) fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
            request.extend_from_slice(arg.as_ref());
            request.extend_from_slice(b"\r\n");
        }
        self.send_raw(&request);
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// The next reply.
    pub(crate) fn reply(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some((frame, used)) = Frame::parse(&self.buffer) {
                self.buffer.drain(..used);
                return Ok(frame);
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Lost::Closed),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Lost::Silent);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Lost::Closed),
            }
        }
    }

    /// Whether a whole reply is there, without waiting for one; a closed connection has one too.
    pub(crate) fn has_reply(&mut self) -> bool {
        // A read timeout would cost a tick of the kernel's clock each time.
        self.stream.set_nonblocking(true).unwrap();
        let looked = self.reply();
        self.stream.set_nonblocking(false).unwrap();
        match looked {
            Ok(frame) => {
                self.buffer.splice(..0, frame.bytes());
                true
            }
            Err(lost) => lost == Lost::Closed,
        }
    }

    /// A command and its reply.
    pub(crate) fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Frame, Lost> {
        self.send(args);
        self.reply()
    }
}

impl Frame {
    /// The frame at the start and its length, or nothing while it is not whole.
    ///
    /// # Panics
    /// When the bytes are no RESP.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let (kind, head, mut at) = (bytes[0], &bytes[1..end], end + 2);
        let count = || -> i64 {
            let text = std::str::from_utf8(head).ok();
            text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no count: {}", escape(bytes)))
        };
        let frame = match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Self::Line(kind, head.to_vec()),
            b'$' | b'=' | b'!' => match usize::try_from(count()) {
                Err(_) => Self::Blob(kind, None),
                Ok(len) => {
                    let text = bytes.get(at..at + len + 2)?;
                    assert!(text.ends_with(b"\r\n"), "a counted reply does not end: {}", escape(bytes));
                    at += len + 2;
                    Self::Blob(kind, Some(text[..len].to_vec()))
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match usize::try_from(count()) {
                Err(_) => Self::Many(kind, None),
                Ok(len) => {
                    let len = if matches!(kind, b'%' | b'|') { len * 2 } else { len };
                    let mut inner = Vec::new();
                    for _ in 0..len + usize::from(kind == b'|') {
                        let (frame, used) = Self::parse(&bytes[at..])?;
                        inner.push(frame);
                        at += used;
                    }
                    match kind {
                        b'|' => {
                            let follows = inner.pop().expect("a frame follows attributes");
                            Self::Attributed(inner, Box::new(follows))
                        }
                        _ => Self::Many(kind, Some(inner)),
                    }
                }
            },
            _ => panic!("not RESP: {}", escape(bytes)),
        };
        Some((frame, at))
    }

    /// The frame's bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut head = |kind: u8, text: &[u8]| {
            out.push(kind);
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        };
        match self {
            Self::Line(kind, text) => head(*kind, text),
            Self::Blob(kind, None) | Self::Many(kind, None) => head(*kind, b"-1"),
            Self::Blob(kind, Some(text)) => {
                head(*kind, text.len().to_string().as_bytes());
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Self::Many(kind, Some(inner)) => {
                let count = if *kind == b'%' { inner.len() / 2 } else { inner.len() };
                head(*kind, count.to_string().as_bytes());
                inner.iter().for_each(|frame| frame.write(out));
            }
            Self::Attributed(inner, follows) => {
                head(b'|', (inner.len() / 2).to_string().as_bytes());
                inner.iter().for_each(|frame| frame.write(out));
                follows.write(out);
            }
        }
    }

    /// The text of a line or of counted bytes.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Line(_, text) | Self::Blob(_, Some(text)) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.bytes()))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "(the connection was closed)",
            Self::Silent => "(no reply)",
        })
    }
}

/// Bytes as a person reads them: what is not plain ASCII escaped, long ones cut in the middle.
pub(crate) fn escape(bytes: &[u8]) -> String {
    const SHOWN: usize = 3_000;
    if bytes.len() > SHOWN {
        let (start, end) = (&bytes[..SHOWN / 2], &bytes[bytes.len() - SHOWN / 2..]);
        return format!("{}[..{} bytes..]{}", start.escape_ascii(), bytes.len() - SHOWN, end.escape_ascii());
    }
    bytes.escape_ascii().to_string().replace("\\'", "'")
}

#[test]
fn every_kind_of_frame_round_trips() {
    let bytes: &[u8] = b"*9\r\n+OK\r\n-ERR x\r\n:-1\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n\
        |1\r\n+k\r\n(12345678901234567890\r\n%2\r\n+a\r\n=7\r\ntxt:abc\r\n+b\r\n~1\r\n!3\r\nERR\r\n>1\r\n+p\r\n";
    let mut at = 0;
    let mut frames = Vec::new();
    while at < bytes.len() {
        for cut in at..bytes.len() {
            assert!(Frame::parse(&bytes[at..cut]).is_none_or(|(_, used)| at + used <= cut), "cut at {cut}");
        }
        let (frame, used) = Frame::parse(&bytes[at..]).unwrap();
        assert_eq!(escape(&frame.bytes()), escape(&bytes[at..at + used]));
        frames.push(frame);
        at += used;
    }
    assert_eq!(frames.len(), 3, "an array, a map behind attributes, a push");
}
