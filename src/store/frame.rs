//! Frames: the unit in which segments are written.
//!
//! ```text
//! frame  length (u32)  CRC-32 (u32)  number (u64)  { tree (u8)  length (u32)  key  length (u32) + 1 or 0  value }*
//! ```
//!
//! The CRC covers the number and the body, and starts with the segment's salt: what is left in a file from elsewhere is
//! never taken for a frame. The byte of a tree is that of [`TreeId`], or [`POSITION`] for a block that was copied to
//! another segment: its value is the new position.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};

use crc32fast::Hasher;

use super::StoreError;
use super::batch::{RowWrite, WriteBatch};
use super::position::BlockPosition;
use super::tree_id::TreeId;

/// Bytes of a frame's length, CRC and number.
pub(super) const HEADER_BYTES: usize = 16;
/// Maximum length of a valid frame.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Buffer capacity retained after a large frame.
const BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes read from a file at once.
const READ_BYTES: usize = 256 * 1024;
/// The byte in place of a tree's for the new position of a block.
const POSITION: u8 = 5;

/// A block in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameBlock {
    /// Offset of the contents in the frame.
    pub(super) offset: usize,
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

/// Encodes frames in a buffer.
#[derive(Debug, Default)]
pub(super) struct FrameEncoder {
    bytes: Vec<u8>,
    /// The blocks of the frame, in order.
    blocks: Vec<FrameBlock>,
}

impl FrameEncoder {
    /// Removes the last frame.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_BYTES_MAX);
        self.bytes.resize(HEADER_BYTES, 0);
        self.blocks.clear();
    }

    /// Adds the writes of a commit.
    pub(super) fn push_batch(&mut self, batch: &WriteBatch) -> Result<(), StoreError> {
        for (tree, key, write) in batch.iter() {
            match write {
                RowWrite::Delete => self.push(tree as u8, key, None),
                RowWrite::Value(value) => self.push(tree as u8, key, Some(value)),
                RowWrite::Contents { bytes, .. } => self.push_block(key, bytes),
                RowWrite::Position { at, .. } => self.push(POSITION, key, Some(&at.encode()?)),
            }
        }
        Ok(())
    }

    /// Adds a block.
    pub(super) fn push_block(&mut self, key: &[u8], contents: &[u8]) {
        self.push(TreeId::Blocks as u8, key, Some(contents));
        let bytes = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        self.blocks.push(FrameBlock {
            offset: self.bytes.len() - contents.len(),
            bytes,
            crc: crc32fast::hash(contents),
        });
    }

    fn push(&mut self, tree: u8, key: &[u8], value: Option<&[u8]>) {
        self.bytes.push(tree);
        self.push_len(key.len());
        self.bytes.extend_from_slice(key);
        match value {
            Some(value) => {
                self.push_len(value.len() + 1);
                self.bytes.extend_from_slice(value);
            }
            None => self.push_len(0),
        }
    }

    /// Appends a length. Keys and values are far below 4 GiB, so it always fits.
    fn push_len(&mut self, len: usize) {
        self.bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// Ends the frame of this number. Returns its bytes and its blocks.
    pub(super) fn finish(&mut self, salt: u32, number: u64) -> (&[u8], &[FrameBlock]) {
        let len = u32::try_from(self.bytes.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        self.bytes[8..HEADER_BYTES].copy_from_slice(&number.to_le_bytes());
        let crc = crc_of(salt, &self.bytes[8..]);
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        (&self.bytes, &self.blocks)
    }

    /// Returns the bytes of the frame so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

fn crc_of(salt: u32, checked: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(checked);
    hasher.finalize()
}

/// A frame of a file.
pub(super) struct LogFrame {
    pub(super) number: u64,
    /// Offset of its first byte in the file.
    at: u64,
    /// The number and the body: the bytes that the CRC covers.
    checked: Vec<u8>,
}

/// A write of a frame.
pub(super) struct FrameWrite<'a> {
    pub(super) tree: TreeId,
    pub(super) key: &'a [u8],
    pub(super) write: RowWrite,
    /// The contents, if it is a block.
    pub(super) contents: Option<&'a [u8]>,
}

impl LogFrame {
    /// Returns the offset behind the frame.
    fn end(&self) -> u64 {
        self.at + 8 + self.checked.len() as u64
    }

    /// Calls `each` with the writes; `segment` is the number of the frame's segment. The CRC was valid, so an error is a
    /// bug in the encoder.
    pub(super) fn each_write(&self, segment: u64, mut each: impl FnMut(FrameWrite<'_>)) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "cannot decode a frame of a segment");
        let mut rest = &self.checked[8..];
        while let Some((tree, after)) = rest.split_first() {
            let (key, after) = split_len(after, 0).ok_or_else(damaged)?;
            let len = after.first_chunk::<4>().map(|len| u32::from_le_bytes(*len)).ok_or_else(damaged)?;
            let (value, after) = match len {
                0 => (None, &after[4..]),
                _ => split_len(after, 1).map(|(value, after)| (Some(value), after)).ok_or_else(damaged)?,
            };
            // From the end of the value to the end of the frame.
            let value_end = self.end() - after.len() as u64;
            rest = after;
            let is_position = *tree == POSITION;
            let tree = if is_position { TreeId::Blocks } else { TreeId::from_byte(*tree).ok_or_else(damaged)? };
            let contents = value.filter(|_| tree == TreeId::Blocks && !is_position);
            let write = match contents {
                None => RowWrite::of(value),
                Some(contents) => {
                    let bytes = u32::try_from(contents.len()).map_err(|_| damaged())?;
                    let offset = value_end - u64::from(bytes);
                    let at = BlockPosition { segment, offset, bytes, crc: crc32fast::hash(contents) };
                    RowWrite::Position { at, is_new: false }
                }
            };
            each(FrameWrite { tree, key, write, contents });
        }
        Ok(())
    }
}

/// Splits off the bytes after a length prefix; the prefix is `excess` larger than their number.
fn split_len(bytes: &[u8], excess: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked((u32::from_le_bytes(*len) as usize).checked_sub(excess)?)
}

/// Reads the consecutive frames of a file.
pub(super) struct FrameReader<'a> {
    file: BufReader<&'a File>,
    salt: u32,
    at: u64,
    size: u64,
    last: Option<u64>,
}

impl<'a> FrameReader<'a> {
    /// Starts at an offset of a file.
    pub(super) fn new(mut file: &'a File, salt: u32, at: u64) -> io::Result<Self> {
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { file: BufReader::with_capacity(READ_BYTES, file), salt, at, size, last: None })
    }

    /// Returns the offset behind the last frame.
    pub(super) fn end(&self) -> u64 {
        self.at
    }

    /// Returns the next frame; `None` if there is none, or it was only partly written.
    pub(super) fn read(&mut self) -> io::Result<Option<LogFrame>> {
        if self.at + HEADER_BYTES as u64 > self.size {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact(&mut header)?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (len, crc, number) = (word(0) as usize, word(4), u64::from(word(8)) | u64::from(word(12)) << 32);
        let follows = self.last.is_none_or(|last| last.checked_add(1) == Some(number));
        let end = self.at + (HEADER_BYTES + len) as u64;
        if len == 0 || len > FRAME_BYTES_MAX || !follows || end > self.size {
            return Ok(None);
        }
        let mut checked = vec![0; 8 + len];
        checked[..8].copy_from_slice(&header[8..]);
        self.file.read_exact(&mut checked[8..])?;
        if crc_of(self.salt, &checked) != crc {
            return Ok(None);
        }
        let frame = LogFrame { number, at: self.at, checked };
        self.last = Some(number);
        self.at = end;
        Ok(Some(frame))
    }
}
