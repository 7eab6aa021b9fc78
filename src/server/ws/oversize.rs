//! A socket on which a WebSocket message that is too large arrives as a tiny one.
//!
//! tungstenite ends the connection at a message over its limit. Here the frames' headers are
//! followed under it: the payload of a message over the limit is read and thrown away, and a short
//! text message [`is_marker`] recognises stands in its place. Messages before and after are untouched, and
//! a message of any size costs no memory.
//!
//! ```text
//! in   [text 12]  [text 100000000 ........]              [text 30]
//! out  [text 12]  [text "\0tasktail: too large\0"]       [text 30]
//! ```
//! The first frame of a fragmented text message is turned into a binary one: its text may be cut
//! in the middle of a character, which in a text message would end the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What stands in the place of (or at the end of) a message that was too large.
const MARKER: &[u8] = b"\0tasktail: too large\0";
/// The longest header of a frame: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;
// First bytes of frames: the opcodes of data, and the bit of a message's last frame.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const FINAL: u8 = 0x80;
/// Below this much room, bytes are read beside the caller's buffer.
const ROOM_BYTES_MIN: usize = 256;

/// Whether a message's bytes are (or end in) the stand-in for one that was too large.
pub(in crate::server) fn is_marker(message: &[u8]) -> bool {
    message.ends_with(MARKER)
}

/// The adapter. Writing goes straight through.
#[derive(Debug)]
pub(in crate::server) struct Oversize<S> {
    inner: S,
    walk: Walk,
    /// Bytes that are ready but did not fit: at most one read and a stand-in for each message in it.
    spill: Vec<u8>,
    spilled: usize,
    received: Arc<AtomicU64>,
}

impl<S> Oversize<S> {
    /// Over `inner`, for messages of at most `message_bytes_max`. All bytes that come in are
    /// counted in `received`: a peer in the middle of a large message is not silent.
    pub(in crate::server) fn new(inner: S, message_bytes_max: usize, received: Arc<AtomicU64>) -> Self {
        let message_bytes_max = u64::try_from(message_bytes_max).unwrap_or(u64::MAX);
        Self { inner, walk: Walk::new(message_bytes_max), spill: Vec::new(), spilled: 0, received }
    }

    fn give_spill(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let rest = &self.spill[self.spilled..];
        let count = rest.len().min(out.remaining());
        out.put_slice(&rest[..count]);
        self.spilled += count;
        if self.spilled == self.spill.len() {
            // Given back: an idle connection holds nothing.
            self.spill = Vec::new();
            self.spilled = 0;
        }
        count > 0
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Oversize<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 || this.give_spill(out) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut beside = [0; ROOM_BYTES_MIN];
            let roomy = out.remaining() >= ROOM_BYTES_MIN;
            let space = if roomy { out.initialize_unfilled() } else { &mut beside[..] };
            let held = this.walk.take_held(space);
            let mut read = ReadBuf::new(&mut space[held..]);
            match Pin::new(&mut this.inner).poll_read(cx, &mut read) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    this.walk.hold(&space[..held]);
                    return Poll::Pending;
                }
            }
            let count = read.filled().len();
            this.received.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            if count == 0 {
                // The end in the middle of a header: tungstenite says what that means.
                this.spill.extend_from_slice(&space[..held]);
                this.give_spill(out);
                return Poll::Ready(Ok(()));
            }
            let kept = this.walk.pass(&mut space[..held + count], &mut this.spill);
            if roomy {
                out.advance(kept);
            } else {
                this.spill.splice(0..0, beside[..kept].iter().copied());
            }
            if (roomy && kept > 0) || this.give_spill(out) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Oversize<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Where the walk over the bytes stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Within {
    Header,
    Pass(u64),
    Swallow(u64),
}

/// The message that the frames belong to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fragments {
    /// No message is open.
    None,
    /// So many bytes of an open message went through.
    Passed(u64),
    /// The rest of the open message is thrown away.
    Dropped,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Pass,
    Drop,
    /// A final frame with this first byte and the marker goes in its place.
    Replace(u8),
}

/// The walk over headers and payloads; knows no sockets.
#[derive(Debug)]
struct Walk {
    message_bytes_max: u64,
    within: Within,
    fragments: Fragments,
    /// The beginning of a header whose rest has not come.
    held: [u8; HEADER_BYTES_MAX],
    held_len: usize,
}

impl Walk {
    fn new(message_bytes_max: u64) -> Self {
        let held = [0; HEADER_BYTES_MAX];
        Self { message_bytes_max, within: Within::Header, fragments: Fragments::None, held, held_len: 0 }
    }

    fn take_held(&mut self, space: &mut [u8]) -> usize {
        let len = std::mem::take(&mut self.held_len);
        space[..len].copy_from_slice(&self.held[..len]);
        len
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held[..bytes.len()].copy_from_slice(bytes);
        self.held_len = bytes.len();
    }

    /// Walks over `bytes`, moves what stays to their front and answers how much that is. What
    /// comes after a stand-in goes to `spill` instead.
    fn pass(&mut self, bytes: &mut [u8], spill: &mut Vec<u8>) -> usize {
        let (mut at, mut kept, mut spilling) = (0, 0, false);
        while at < bytes.len() {
            let there = bytes.len() - at;
            let (count, stays) = match self.within {
                Within::Pass(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(there);
                    self.within = after(left, count, Within::Pass);
                    (count, true)
                }
                Within::Swallow(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(there);
                    self.within = after(left, count, Within::Swallow);
                    (count, false)
                }
                Within::Header => match Header::parse(&bytes[at..]) {
                    None => {
                        self.hold(&bytes[at..]);
                        break;
                    }
                    Some(header) => {
                        let verdict = self.judge(&header, &mut bytes[at]);
                        if let Verdict::Replace(first_byte) = verdict {
                            spill.extend_from_slice(&[first_byte, 0x80 | marker_len(), 0, 0, 0, 0]);
                            spill.extend_from_slice(MARKER);
                            spilling = true;
                        }
                        let stays = verdict == Verdict::Pass;
                        self.within = match (header.payload, stays) {
                            (0, _) => Within::Header,
                            (payload, true) => Within::Pass(payload),
                            (payload, false) => Within::Swallow(payload),
                        };
                        (header.len, stays)
                    }
                },
            };
            if stays && spilling {
                spill.extend_from_slice(&bytes[at..at + count]);
            } else if stays {
                if kept != at {
                    bytes.copy_within(at..at + count, kept);
                }
                kept += count;
            }
            at += count;
        }
        kept
    }

    /// What becomes of a frame.
    fn judge(&mut self, header: &Header, first_byte: &mut u8) -> Verdict {
        // Control frames, and what breaks the protocol, is tungstenite's to judge.
        if header.opcode > BINARY || !header.masked {
            return Verdict::Pass;
        }
        let before = match (header.opcode, self.fragments) {
            (CONTINUATION, Fragments::Dropped) => {
                if header.fin {
                    self.fragments = Fragments::None;
                }
                return Verdict::Drop;
            }
            (CONTINUATION, Fragments::Passed(before)) => before,
            _ => 0,
        };
        let bytes = before.saturating_add(header.payload);
        if bytes > self.message_bytes_max {
            self.fragments = if header.fin { Fragments::None } else { Fragments::Dropped };
            return Verdict::Replace(FINAL | if header.opcode == CONTINUATION { CONTINUATION } else { TEXT });
        }
        if !header.fin && header.opcode == TEXT {
            *first_byte = (*first_byte & 0xf0) | BINARY;
        }
        self.fragments = if header.fin { Fragments::None } else { Fragments::Passed(bytes) };
        Verdict::Pass
    }
}

fn after(left: u64, count: usize, more: fn(u64) -> Within) -> Within {
    match left - u64::try_from(count).unwrap_or(left) {
        0 => Within::Header,
        left => more(left),
    }
}

const fn marker_len() -> u8 {
    const { assert!(MARKER.len() < 126) };
    #[expect(clippy::cast_possible_truncation, reason = "asserted to be below 126")]
    let len = MARKER.len() as u8;
    len
}

/// A frame's header, as far as it matters here (RFC 6455, 5.2).
#[derive(Debug)]
struct Header {
    fin: bool,
    opcode: u8,
    masked: bool,
    payload: u64,
    /// Bytes of the header itself.
    len: usize,
}

impl Header {
    /// `None` if more bytes are needed.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let extra = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let len = 2 + extra + if masked { 4 } else { 0 };
        if bytes.len() < len {
            return None;
        }
        let payload = match extra {
            0 => u64::from(second & 0x7f),
            _ => bytes[2..2 + extra].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        };
        Some(Self { fin: first & 0x80 != 0, opcode: first & 0x0f, masked, payload, len })
    }
}

#[cfg(test)]
mod tests;
