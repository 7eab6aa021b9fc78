//! Writing a block.

use serde::Serialize;

use super::{BODY_BYTES_MAX, MAGIC, META_BYTES_MAX, flags_of, push_varint, zigzag};
use crate::model::{Channel, TaskId, Timestamp};

/// Level of the compression: the fastest, which a slow link does not notice.
const ZSTD_LEVEL: i32 = 1;

/// The encoding of a block's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockEncoding {
    /// Uncompressed: for a server on the same machine.
    #[default]
    Raw,
    /// One zstd frame: for a server behind a network.
    Zstd,
}

/// A writer of blocks, whose buffers are reused.
#[derive(Default)]
pub struct BlockEncoder {
    encoding: BlockEncoding,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    meta: Vec<u8>,
    text: Vec<u8>,
    lines: u64,
    last_ms: u64,
}

impl std::fmt::Debug for BlockEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockEncoder").field("encoding", &self.encoding).field("lines", &self.lines).finish()
    }
}

/// The header of a block. The reader has its own form, see [`super::LogBlock`].
#[derive(Serialize)]
struct OutgoingHeader<'a> {
    work_request_id: &'a str,
    first_seq: u64,
    count: u64,
    encoding: &'static str,
    text_bytes: usize,
}

impl BlockEncoder {
    /// Creates an encoder without lines.
    pub fn new(encoding: BlockEncoding) -> Self {
        Self { encoding, ..Self::default() }
    }

    /// Returns whether a line with a text of this length fits the message. A line of at most
    /// `line_bytes_max` fits an empty block.
    pub fn has_room(&self, text_bytes: usize) -> bool {
        // The header has a task id and four numbers; 1 KiB is more than it needs.
        self.bytes() + text_bytes + META_BYTES_MAX + 1024 <= BODY_BYTES_MAX
    }

    /// Adds a line.
    pub fn push(&mut self, channel: Channel, at: Timestamp, text: &str, partial: bool, lossy: bool) {
        push_varint(&mut self.meta, text.len() as u64);
        self.meta.push(flags_of(channel, partial, lossy));
        push_varint(&mut self.meta, zigzag(at.as_millis().wrapping_sub(self.last_ms).cast_signed()));
        self.last_ms = at.as_millis();
        self.text.extend_from_slice(text.as_bytes());
        self.lines += 1;
    }

    /// Returns the number of lines.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Returns the bytes of the body so far, before compression.
    pub fn bytes(&self) -> usize {
        self.meta.len() + self.text.len()
    }

    /// Returns the message with all lines, the first of which has the number `first_seq`, and clears the
    /// encoder.
    pub fn finish(&mut self, task: &TaskId, first_seq: u64) -> Vec<u8> {
        let text_bytes = self.text.len();
        self.meta.append(&mut self.text);
        let body = std::mem::take(&mut self.meta);
        let compressed = self.compress(&body);
        let encoding = if compressed.is_some() { "zstd" } else { "raw" };
        let header =
            OutgoingHeader { work_request_id: task.as_str(), first_seq, count: self.lines, encoding, text_bytes };
        // A struct of numbers and strings always serializes.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let sent = compressed.as_deref().unwrap_or(&body);
        let mut message = Vec::with_capacity(sent.len() + header.len() + 8);
        message.extend_from_slice(&MAGIC);
        push_varint(&mut message, header.len() as u64);
        message.extend_from_slice(&header);
        message.extend_from_slice(sent);
        self.meta = body;
        self.clear();
        message
    }

    /// Removes all lines.
    pub fn clear(&mut self) {
        self.meta.clear();
        self.text.clear();
        (self.lines, self.last_ms) = (0, 0);
    }

    /// Returns the compressed body, or `None` if it is to be sent raw.
    fn compress(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        if self.encoding == BlockEncoding::Raw {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        let compressed = self.compressor.as_mut()?.compress(body).ok()?;
        (compressed.len() < body.len()).then_some(compressed)
    }
}
