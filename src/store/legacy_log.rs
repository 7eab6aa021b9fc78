//! The write-ahead log of format 4 and earlier: read once, by the first opening with segments.
//!
//! ```text
//! DATA/journal/wal.0, wal.1     frames one after another; the two files were used in turn
//!
//! frame  length (u32)  CRC-32 (u32)  number (u64)  { tree (u8)  length (u32)  key  length (u32) + 1 or 0  value }*
//! ```
//!
//! sled had the number of the last frame that it had applied. The frames above it are applied to sled as they are, with
//! the contents of their blocks. A frame that was only partly written is ignored.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::tree_id::TreeId;

/// Bytes of a frame's length, CRC and number.
const HEADER_BYTES: usize = 16;
/// Maximum length of a valid frame.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Names of the files.
const NAMES: [&str; 2] = ["wal.0", "wal.1"];

/// A write as encoded in a frame; `None` deletes the key.
pub(super) struct LegacyWrite<'a> {
    pub(super) tree: TreeId,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

/// Calls `replay` with the writes of the frames above `known`, in order. Returns the number of those frames.
pub(super) fn replay(folder: &Path, known: u64, mut replay: impl FnMut(LegacyWrite<'_>)) -> io::Result<u64> {
    let mut found = Vec::new();
    for name in NAMES {
        match File::open(folder.join(name)) {
            Ok(file) => {
                let size = file.metadata()?.len();
                found.append(&mut read_frames(&file, size, known)?);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
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
    Ok(next - known - 1)
}

/// Removes the files, once sled has durably applied every frame.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    for name in NAMES {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
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
fn decode(mut frame: &[u8], each: &mut impl FnMut(LegacyWrite<'_>)) -> io::Result<()> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "cannot decode a frame of the write-ahead log");
    while let Some((tree, rest)) = frame.split_first() {
        let tree = TreeId::from_byte(*tree).ok_or_else(damaged)?;
        let (key, rest) = split_len(rest, 0).ok_or_else(damaged)?;
        let len = rest.first_chunk::<4>().map(|len| u32::from_le_bytes(*len)).ok_or_else(damaged)?;
        let (value, rest) = match len {
            0 => (None, &rest[4..]),
            _ => split_len(rest, 1).map(|(value, rest)| (Some(value), rest)).ok_or_else(damaged)?,
        };
        each(LegacyWrite { tree, key, value });
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

    /// Returns a frame that sets a key of the tree `streams` to `x`.
    fn frame(number: u64, key: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES];
        frame.push(TreeId::Streams as u8);
        for (bytes, excess) in [(key, 0), (&b"x"[..], 1)] {
            let len = u32::try_from(bytes.len() + excess).unwrap();
            frame.extend_from_slice(&len.to_le_bytes());
            frame.extend_from_slice(bytes);
        }
        let len = u32::try_from(frame.len() - HEADER_BYTES).unwrap();
        frame[8..HEADER_BYTES].copy_from_slice(&number.to_le_bytes());
        let crc = crc32fast::hash(&frame[8..]);
        frame[..4].copy_from_slice(&len.to_le_bytes());
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        frame
    }

    fn found(folder: &Path, known: u64) -> ReplayedWrites {
        let mut found = ReplayedWrites::new();
        replay(folder, known, |write| {
            found.push((write.tree as u8, write.key.to_vec(), write.value.map(<[u8]>::to_vec)));
        })
        .unwrap();
        found
    }

    fn row(key: &[u8]) -> (u8, Vec<u8>, Option<Vec<u8>>) {
        (1, key.to_vec(), Some(b"x".to_vec()))
    }

    #[test]
    fn frames_are_replayed_in_order_from_both_files() {
        let folder = tempfile::tempdir().unwrap();
        assert!(found(folder.path(), 0).is_empty(), "there are no files");
        fs::write(folder.path().join("wal.1"), [frame(1, b"a"), frame(2, b"b"), vec![0; 100]].concat()).unwrap();
        // A frame of an earlier use of the file follows.
        fs::write(folder.path().join("wal.0"), [frame(3, b"c"), frame(2, b"old")].concat()).unwrap();
        assert_eq!(found(folder.path(), 0), [row(b"a"), row(b"b"), row(b"c")]);
        assert_eq!(found(folder.path(), 2), [row(b"c")]);
        assert!(found(folder.path(), 3).is_empty());
        assert!(found(folder.path(), 9).is_empty(), "expected nothing after a gap");
        remove(folder.path()).unwrap();
        assert!(found(folder.path(), 0).is_empty());
    }

    #[test]
    fn torn_frames_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let mut torn = frame(2, b"b");
        *torn.last_mut().unwrap() ^= 1;
        fs::write(folder.path().join("wal.0"), [frame(1, b"a"), torn, frame(3, b"c")].concat()).unwrap();
        assert_eq!(found(folder.path(), 0), [row(b"a")]);
    }
}
