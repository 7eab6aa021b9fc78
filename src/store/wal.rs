//! The write-ahead log: every commit is written here in one write, before sled applies it.
//!
//! ```text
//! DATA/journal/wal.0, wal.1     frames one after another; the two files are used in turn
//!
//! frame  length (u32)  CRC-32 (u32)  number (u64)  { tree (u8)  length (u32)  key  length (u32) + 1 or 0  value }*
//! ```
//!
//! Frames are numbered without gaps. A commit is written here first. Then sled applies it, with the number
//! of its frame as the last write. sled persists a prefix of its writes: after a kill the frames above the
//! number found in sled are replayed, which brings sled to the last frame. A file is overwritten from its
//! start once sled has all of it on disk. So a commit costs one write and one sync, it is atomic, and sled
//! writes to its own file at its own pace.
//!
//! A frame that was only partly written is ignored and overwritten by the next.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::batch::WriteBatch;
use super::folder::FILE_MODE;
use super::tree_id::TreeId;

/// Approximate bytes of one file; beyond that the log rotates to the other.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Zeros by which a file grows at once: syncing bytes inside the file is cheaper than extending it.
const GROW_BYTES: usize = 1024 * 1024;
/// Bytes of a frame's length, CRC and number.
const HEADER_BYTES: usize = 16;
/// Buffer capacity retained after a large frame.
const BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum length of a valid frame.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// A write as encoded in a frame; `None` deletes the key.
pub(super) struct WalWrite<'a> {
    pub(super) tree: TreeId,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

/// Encodes a commit as the frame of this number.
fn encode(batch: &WriteBatch, number: u64, frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
    for (tree, key, value) in batch.iter() {
        frame.push(tree as u8);
        push_len(frame, key.len());
        frame.extend_from_slice(key);
        match value {
            Some(value) => {
                push_len(frame, value.len() + 1);
                frame.extend_from_slice(value);
            }
            None => push_len(frame, 0),
        }
    }
    let len = u32::try_from(frame.len() - HEADER_BYTES).unwrap_or(u32::MAX);
    frame[8..HEADER_BYTES].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&frame[8..]);
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Appends a length. Keys and values are a few KiB, so it always fits.
fn push_len(frame: &mut Vec<u8>, len: usize) {
    frame.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

/// The two files of the log.
#[derive(Debug)]
pub(super) struct Wal {
    files: [Arc<File>; 2],
    active: usize,
    /// Offset of the next frame in the active file.
    end: u64,
    /// Sizes of the files, with their trailing zeros.
    sizes: [u64; 2],
    /// Number of the next frame.
    next: u64,
    /// Buffer in which frames are encoded.
    buffer: Vec<u8>,
}

impl Wal {
    /// Opens both files and calls `replay` with the writes of the frames above `known`, in order. Returns
    /// the log and the number of those frames.
    pub(super) fn open(folder: &Path, known: u64, mut replay: impl FnMut(WalWrite<'_>)) -> io::Result<(Self, u64)> {
        let open_file = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(folder.join(name))
        };
        let files = [Arc::new(open_file("wal.0")?), Arc::new(open_file("wal.1")?)];
        let sizes = [files[0].metadata()?.len(), files[1].metadata()?.len()];
        let mut found = read_frames(&files[0], sizes[0], known)?;
        found.append(&mut read_frames(&files[1], sizes[1], known)?);
        found.sort_by_key(|(number, _)| *number);
        let mut next = known + 1;
        for (number, frame) in &found {
            if *number != next {
                tracing::error!(
                    expected = next,
                    found = number,
                    "gap in the write-ahead log; ignoring the frames after it"
                );
                break;
            }
            decode(frame, &mut replay)?;
            next += 1;
        }
        let replayed = next - known - 1;
        Ok((Self { files, active: 0, end: 0, sizes, next, buffer: Vec::new() }, replayed))
    }

    /// Returns the number of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Appends a frame, which then survives a kill. Returns its number and its bytes. On an error the log
    /// is unchanged.
    pub(super) fn append(&mut self, batch: &WriteBatch) -> io::Result<(u64, u64)> {
        let number = self.next;
        encode(batch, number, &mut self.buffer);
        let bytes = self.buffer.len() as u64;
        let end = self.end + bytes;
        self.grow(end)?;
        self.files[self.active].write_all_at(&self.buffer, self.end)?;
        self.sizes[self.active] = self.sizes[self.active].max(end);
        self.end = end;
        self.next += 1;
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        Ok((number, bytes))
    }

    /// Extends the active file with zeros until it has at least `end` bytes. On a full disk this stops
    /// early without an error: the frame itself may still fit.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        while self.sizes[self.active] < end {
            let at = self.sizes[self.active];
            match self.files[self.active].write_all_at(&[0; GROW_BYTES], at) {
                Ok(()) => self.sizes[self.active] = at + GROW_BYTES as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the file that frames are appended to. Once it is synced they survive a power cut.
    pub(super) fn active(&self) -> &Arc<File> {
        &self.files[self.active]
    }

    /// Reports whether the log should rotate to the other file.
    pub(super) fn is_full(&self) -> bool {
        self.end >= FILE_BYTES
    }

    /// Switches to the start of the other file. sled must have everything of that file on disk.
    pub(super) fn rotate(&mut self) {
        self.active = 1 - self.active;
        self.end = 0;
    }
}

/// Returns the frames above `known` from the consecutive frames at the start of a file. Anything after
/// those is left from an earlier use of the file.
fn read_frames(file: &File, size: u64, known: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut last = None;
    let mut at = 0;
    while at + HEADER_BYTES as u64 <= size {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, at)?;
        let (len, crc, number) = parse_header(&header);
        let follows = last.is_none_or(|last: u64| last + 1 == number);
        if len == 0 || len > FRAME_BYTES_MAX || !follows || at + (HEADER_BYTES + len) as u64 > size {
            break;
        }
        // Number and body: the bytes that the CRC covers.
        let mut checked = vec![0; 8 + len];
        file.read_exact_at(&mut checked, at + 8)?;
        if crc32fast::hash(&checked) != crc {
            break;
        }
        if number > known {
            frames.push((number, checked.split_off(8)));
        }
        last = Some(number);
        at += (HEADER_BYTES + len) as u64;
    }
    Ok(frames)
}

/// Returns length, CRC and number.
fn parse_header(header: &[u8; HEADER_BYTES]) -> (usize, u32, u64) {
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    (word(0) as usize, word(4), u64::from(word(8)) | u64::from(word(12)) << 32)
}

/// Calls `each` with the writes of a frame. Its CRC was valid, so an error here is a bug in the encoder.
fn decode(mut frame: &[u8], each: &mut impl FnMut(WalWrite<'_>)) -> io::Result<()> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "cannot decode a frame of the write-ahead log");
    while let Some((tree, rest)) = frame.split_first() {
        let tree = TreeId::from_byte(*tree).ok_or_else(damaged)?;
        let (key, rest) = split_len(rest, 0).ok_or_else(damaged)?;
        let len = rest.first_chunk::<4>().map(|len| u32::from_le_bytes(*len)).ok_or_else(damaged)?;
        let (value, rest) = match len {
            0 => (None, &rest[4..]),
            _ => split_len(rest, 1).map(|(value, rest)| (Some(value), rest)).ok_or_else(damaged)?,
        };
        each(WalWrite { tree, key, value });
        frame = rest;
    }
    Ok(())
}

/// Splits off the bytes after a length prefix; the prefix is `excess` larger than their number.
fn split_len(bytes: &[u8], excess: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked((u32::from_le_bytes(*len) as usize).checked_sub(excess)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    type ReplayedWrites = Vec<(u8, Vec<u8>, Option<Vec<u8>>)>;

    fn batch(key: &[u8], value: Option<&[u8]>) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.put(TreeId::Streams, key, value);
        batch.put(TreeId::Meta, b"", Some(b""));
        batch
    }

    fn open(folder: &Path, known: u64) -> (Wal, ReplayedWrites) {
        let mut found = ReplayedWrites::new();
        let (wal, _) = Wal::open(folder, known, |write| {
            found.push((write.tree as u8, write.key.to_vec(), write.value.map(<[u8]>::to_vec)));
        })
        .unwrap();
        (wal, found)
    }

    #[test]
    fn replay_reads_unknown_frames_in_order_from_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, found) = open(folder.path(), 0);
        assert!(found.is_empty());
        wal.append(&batch(b"a", Some(b"1"))).unwrap();
        wal.append(&batch(b"b", None)).unwrap();
        wal.rotate();
        wal.append(&batch(b"c", Some(b""))).unwrap();
        let meta = (4, Vec::new(), Some(Vec::new()));
        let row = |key: &[u8], value: Option<&[u8]>| (1, key.to_vec(), value.map(<[u8]>::to_vec));
        let all =
            [row(b"a", Some(b"1")), meta.clone(), row(b"b", None), meta.clone(), row(b"c", Some(b"")), meta.clone()];
        let (wal, found) = open(folder.path(), 0);
        assert_eq!((found.as_slice(), wal.next()), (&all[..], 4));
        assert_eq!(open(folder.path(), 2).1, all[4..]);
        assert!(open(folder.path(), 3).1.is_empty());
        // Nothing after a gap can be trusted.
        assert!(open(folder.path(), 9).1.is_empty());
    }

    #[test]
    fn replay_ignores_torn_and_stale_frames() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = open(folder.path(), 0);
        for key in [b"a", b"b", b"c"] {
            wal.append(&batch(key, Some(b"x"))).unwrap();
        }
        let end = wal.end;
        let (mut wal, found) = open(folder.path(), 3);
        assert!(found.is_empty());
        wal.append(&batch(b"d", Some(b"x"))).unwrap();
        let (_, found) = open(folder.path(), 3);
        assert_eq!(found.len(), 2, "only the new frame");
        let file = OpenOptions::new().write(true).open(folder.path().join("wal.0")).unwrap();
        file.write_all_at(b"?", end / 3 - 2).unwrap();
        assert!(open(folder.path(), 3).1.is_empty());
    }
}
