//! A stream adapter that replaces WebSocket messages over a size limit with a short marker.
//!
//! tungstenite closes the connection when a message exceeds its limit. This adapter, below it, parses the frame
//! headers: it discards the payload of a message over the limit, and inserts a short text message in its
//! place that [`is_marker`] recognizes. Other messages pass unchanged, and a message of any size needs no memory.
//!
//! ```text
//! in   [text 12]  [text 100000000 ........]              [text 30]
//! out  [text 12]  [text "\0tasktail: too large\0"]       [text 30]
//! ```
//! The first frame of a fragmented text message is changed to binary, since its text may be truncated
//! within a character, which in a text message would close the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The replacement for a message over the limit, or for the rest of one.
const MARKER: &[u8] = b"\0tasktail: too large\0";
/// The longest header of a frame: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;
// First byte of a frame: the opcodes of data frames, and the bit of a message's last frame.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const FINAL: u8 = 0x80;
/// If the caller's buffer is smaller, bytes are read into a separate one.
const BUFFER_BYTES_MIN: usize = 256;

/// Returns whether a message is, or ends in, the marker for an oversized one.
pub(in crate::server) fn is_marker(message: &[u8]) -> bool {
    message.ends_with(MARKER)
}

/// The adapter, which filters incoming messages. Written bytes pass through.
#[derive(Debug)]
pub(in crate::server) struct MessageSizeFilter<S> {
    inner: S,
    scanner: FrameScanner,
    /// Bytes ready for the caller that did not fit its buffer: at most one read, and a marker for each
    /// message in it.
    spill: Vec<u8>,
    spill_read: usize,
    received: Arc<AtomicU64>,
}

impl<S> MessageSizeFilter<S> {
    /// Returns a filter over `inner` for messages of at most `message_bytes_max`. `received` counts all incoming
    /// bytes, by which a peer in the middle of a large message is not considered silent.
    pub(in crate::server) fn new(inner: S, message_bytes_max: usize, received: Arc<AtomicU64>) -> Self {
        let message_bytes_max = u64::try_from(message_bytes_max).unwrap_or(u64::MAX);
        Self { inner, scanner: FrameScanner::new(message_bytes_max), spill: Vec::new(), spill_read: 0, received }
    }

    /// Moves spilled bytes to `out`. Returns whether there were any.
    fn drain_spill(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let rest = &self.spill[self.spill_read..];
        let count = rest.len().min(out.remaining());
        out.put_slice(&rest[..count]);
        self.spill_read += count;
        if self.spill_read == self.spill.len() {
            // Deallocated, so that an idle connection uses no memory.
            self.spill = Vec::new();
            self.spill_read = 0;
        }
        count > 0
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MessageSizeFilter<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 || this.drain_spill(out) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut own_buffer = [0; BUFFER_BYTES_MIN];
            let in_place = out.remaining() >= BUFFER_BYTES_MIN;
            let space = if in_place { out.initialize_unfilled() } else { &mut own_buffer[..] };
            let partial = this.scanner.restore_partial(space);
            let mut read = ReadBuf::new(&mut space[partial..]);
            match Pin::new(&mut this.inner).poll_read(cx, &mut read) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    this.scanner.save_partial(&space[..partial]);
                    return Poll::Pending;
                }
            }
            let count = read.filled().len();
            this.received.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            if count == 0 {
                // End of stream within a header: passed on, so that tungstenite reports it.
                this.spill.extend_from_slice(&space[..partial]);
                this.drain_spill(out);
                return Poll::Ready(Ok(()));
            }
            let passed = this.scanner.scan(&mut space[..partial + count], &mut this.spill);
            if in_place {
                out.advance(passed);
            } else {
                this.spill.splice(0..0, own_buffer[..passed].iter().copied());
            }
            if (in_place && passed > 0) || this.drain_spill(out) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MessageSizeFilter<S> {
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

/// The position of the scanner within a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ScanState {
    /// At the start of a header.
    Header,
    /// In a payload that passes, with its remaining bytes.
    Pass(u64),
    /// In a payload that is discarded, with its remaining bytes.
    Discard(u64),
}

/// The state of a fragmented message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FragmentState {
    /// No message is open.
    None,
    /// Payload bytes of the open message so far.
    Passed(u64),
    /// The rest of the open message is discarded.
    Dropped,
}

/// The treatment of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FrameAction {
    /// The frame passes unchanged.
    Pass,
    /// The frame is discarded.
    Drop,
    /// The frame is replaced by a final frame with this first byte and the marker.
    Replace(u8),
}

/// The scanner of frame headers and payloads, independent of I/O.
#[derive(Debug)]
struct FrameScanner {
    message_bytes_max: u64,
    state: ScanState,
    fragments: FragmentState,
    /// The start of an incomplete header.
    partial: [u8; HEADER_BYTES_MAX],
    partial_len: usize,
}

impl FrameScanner {
    /// Returns a scanner at the start of a stream.
    fn new(message_bytes_max: u64) -> Self {
        let partial = [0; HEADER_BYTES_MAX];
        let (state, fragments) = (ScanState::Header, FragmentState::None);
        Self { message_bytes_max, state, fragments, partial, partial_len: 0 }
    }

    /// Moves the saved part of a header to `space`. Returns its length.
    fn restore_partial(&mut self, space: &mut [u8]) -> usize {
        let len = std::mem::take(&mut self.partial_len);
        space[..len].copy_from_slice(&self.partial[..len]);
        len
    }

    /// Saves the start of an incomplete header.
    fn save_partial(&mut self, bytes: &[u8]) {
        self.partial[..bytes.len()].copy_from_slice(bytes);
        self.partial_len = bytes.len();
    }

    /// Scans `bytes`, compacts those that pass to the front, and returns their number. Markers, and bytes
    /// that pass after the first marker, are appended to `spill` instead.
    fn scan(&mut self, bytes: &mut [u8], spill: &mut Vec<u8>) -> usize {
        let (mut at, mut passed, mut spilling) = (0, 0, false);
        while at < bytes.len() {
            let available = bytes.len() - at;
            let (count, pass) = match self.state {
                ScanState::Pass(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
                    self.state = advance(left, count, ScanState::Pass);
                    (count, true)
                }
                ScanState::Discard(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
                    self.state = advance(left, count, ScanState::Discard);
                    (count, false)
                }
                ScanState::Header => match WsFrameHeader::parse(&bytes[at..]) {
                    None => {
                        self.save_partial(&bytes[at..]);
                        break;
                    }
                    Some(header) => {
                        let action = self.classify(&header, &mut bytes[at]);
                        if let FrameAction::Replace(first_byte) = action {
                            spill.extend_from_slice(&[first_byte, 0x80 | marker_len(), 0, 0, 0, 0]);
                            spill.extend_from_slice(MARKER);
                            spilling = true;
                        }
                        let pass = action == FrameAction::Pass;
                        self.state = match (header.payload, pass) {
                            (0, _) => ScanState::Header,
                            (payload, true) => ScanState::Pass(payload),
                            (payload, false) => ScanState::Discard(payload),
                        };
                        (header.len, pass)
                    }
                },
            };
            if pass && spilling {
                spill.extend_from_slice(&bytes[at..at + count]);
            } else if pass {
                if passed != at {
                    bytes.copy_within(at..at + count, passed);
                }
                passed += count;
            }
            at += count;
        }
        passed
    }

    /// Decides the treatment of a frame, and changes the opcode of a fragmented text message.
    fn classify(&mut self, header: &WsFrameHeader, first_byte: &mut u8) -> FrameAction {
        // Control frames and protocol violations are left to tungstenite.
        if header.opcode > BINARY || !header.masked {
            return FrameAction::Pass;
        }
        let before = match (header.opcode, self.fragments) {
            (CONTINUATION, FragmentState::Dropped) => {
                if header.fin {
                    self.fragments = FragmentState::None;
                }
                return FrameAction::Drop;
            }
            (CONTINUATION, FragmentState::Passed(before)) => before,
            _ => 0,
        };
        let bytes = before.saturating_add(header.payload);
        if bytes > self.message_bytes_max {
            self.fragments = if header.fin { FragmentState::None } else { FragmentState::Dropped };
            return FrameAction::Replace(FINAL | if header.opcode == CONTINUATION { CONTINUATION } else { TEXT });
        }
        if !header.fin && header.opcode == TEXT {
            *first_byte = (*first_byte & 0xf0) | BINARY;
        }
        self.fragments = if header.fin { FragmentState::None } else { FragmentState::Passed(bytes) };
        FrameAction::Pass
    }
}

/// Returns the state after `count` of `left` payload bytes.
fn advance(left: u64, count: usize, more: fn(u64) -> ScanState) -> ScanState {
    match left - u64::try_from(count).unwrap_or(left) {
        0 => ScanState::Header,
        left => more(left),
    }
}

/// Returns the length of the marker for a frame header.
const fn marker_len() -> u8 {
    const { assert!(MARKER.len() < 126) };
    #[expect(clippy::cast_possible_truncation, reason = "asserted to be below 126")]
    let len = MARKER.len() as u8;
    len
}

/// The parts of a frame header that are needed here (RFC 6455, 5.2).
#[derive(Debug)]
struct WsFrameHeader {
    fin: bool,
    opcode: u8,
    masked: bool,
    payload: u64,
    /// Bytes of the header itself.
    len: usize,
}

impl WsFrameHeader {
    /// Parses a header. Returns `None` if it is incomplete.
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
