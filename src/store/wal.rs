//! The write-ahead log: what a commit changes, in one write, before sled gets to its own.
//!
//! ```text
//! DATA/journal/wal.0, wal.1     frames one after another, the two files by turns
//!
//! frame  length (u32)  CRC-32 (u32)  number (u64)  { tree (u8)  length (u32)  key  length (u32) + 1 or 0  value }*
//! ```
//!
//! Frames are numbered without a hole. A commit is written here first; then sled takes it in, with the
//! number of its frame as the last write. What sled keeps of its writes is always a prefix: after a kill
//! the frames above the number found there are done again, and then sled is where the last frame was.
//! A file is written anew once sled has everything of it on disk. So a commit costs one write and one
//! sync, all of it is there or nothing, and sled writes in its own time.
//!
//! A frame that could not be written whole is none: the next is written over it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::overlay::WriteBatch;

/// Bytes of one file, about: then the other is taken.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// A file grows by so many zeros at once: a sync of bytes that were there before is cheaper.
const GROW_BYTES: usize = 1024 * 1024;
/// Length, CRC and number.
const HEAD_BYTES: usize = 16;
/// Of what a large frame took in memory so much is kept for the next.
const BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A longer frame is not one of ours.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// Which tree of the store a write goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum TreeId {
    Blocks = 0,
    Streams = 1,
    Tasks = 2,
    Groups = 3,
    Meta = 4,
}

/// How many trees there are.
pub(super) const TREES: usize = 5;

impl TreeId {
    /// Every tree, in the order of their bytes.
    pub(super) const ALL: [TreeId; TREES] =
        [TreeId::Blocks, TreeId::Streams, TreeId::Tasks, TreeId::Groups, TreeId::Meta];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|place| *place as u8 == byte)
    }
}

/// A write as a frame has it; without a value the key goes.
pub(super) struct WalWrite<'a> {
    pub(super) place: TreeId,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

/// The bytes of a commit's writes, under this number.
fn encode(changes: &WriteBatch, number: u64, frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEAD_BYTES, 0);
    for (place, key, value) in changes.iter() {
        frame.push(place as u8);
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
    let len = u32::try_from(frame.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    frame[8..HEAD_BYTES].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&frame[8..]);
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Keys and values are a few KiB, so a length always fits.
fn push_len(frame: &mut Vec<u8>, len: usize) {
    frame.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

/// Both files, and where the next frame goes.
#[derive(Debug)]
pub(super) struct Wal {
    files: [Arc<File>; 2],
    active: usize,
    /// Where the next frame goes in the active file.
    end: u64,
    /// Bytes that the active file has, zeros included.
    sizes: [u64; 2],
    /// The number of the next frame.
    next: u64,
    /// Where frames are put together.
    buffer: Vec<u8>,
}

impl Wal {
    /// Opens both files, and gives the frames above `known` in order: they are to be done again.
    pub(super) fn open(folder: &Path, known: u64, mut again: impl FnMut(WalWrite<'_>)) -> io::Result<(Self, u64)> {
        let open =
            |name: &str| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(name));
        let files = [Arc::new(open("wal.0")?), Arc::new(open("wal.1")?)];
        let sizes = [files[0].metadata()?.len(), files[1].metadata()?.len()];
        let mut found = read(&files[0], sizes[0], known)?;
        found.append(&mut read(&files[1], sizes[1], known)?);
        found.sort_by_key(|(number, _)| *number);
        let mut next = known + 1;
        for (number, frame) in &found {
            if *number != next {
                tracing::error!(
                    wanted = next,
                    found = number,
                    "the write-ahead log has a hole; what is behind it is left out"
                );
                break;
            }
            writes(frame, &mut again)?;
            next += 1;
        }
        let redone = next - known - 1;
        Ok((Self { files, active: 0, end: 0, sizes, next, buffer: Vec::new() }, redone))
    }

    /// The number of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Writes a frame: it survives a kill. Answers its number and how many bytes it has. After an error
    /// it is as if it had never been tried.
    pub(super) fn write(&mut self, changes: &WriteBatch) -> io::Result<(u64, u64)> {
        let number = self.next;
        encode(changes, number, &mut self.buffer);
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

    /// Makes the active file this long at least, with zeros. Where there is no room for all of them it
    /// is left to the frame.
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

    /// The file that frames go to: synced, they survive a power cut.
    pub(super) fn active(&self) -> &Arc<File> {
        &self.files[self.active]
    }

    /// Whether the other file is to be taken.
    pub(super) fn is_full(&self) -> bool {
        self.end >= FILE_BYTES
    }

    /// Goes on in the other file, from its beginning: sled has everything of it.
    pub(super) fn rotate(&mut self) {
        self.active = 1 - self.active;
        self.end = 0;
    }
}

/// The frames above `known` among those at the beginning of a file that follow one another; what is
/// behind these is older.
fn read(file: &File, size: u64, known: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut last = None;
    let mut at = 0;
    while at + HEAD_BYTES as u64 <= size {
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(&mut head, at)?;
        let (len, crc, number) = parse_head(&head);
        let follows = last.is_none_or(|last: u64| last + 1 == number);
        if len == 0 || len > FRAME_BYTES_MAX || !follows || at + (HEAD_BYTES + len) as u64 > size {
            break;
        }
        let mut whole = vec![0; 8 + len];
        file.read_exact_at(&mut whole, at + 8)?;
        if crc32fast::hash(&whole) != crc {
            break;
        }
        if number > known {
            frames.push((number, whole.split_off(8)));
        }
        last = Some(number);
        at += (HEAD_BYTES + len) as u64;
    }
    Ok(frames)
}

fn parse_head(head: &[u8; HEAD_BYTES]) -> (usize, u32, u64) {
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    (word(0) as usize, word(4), u64::from(word(8)) | u64::from(word(12)) << 32)
}

/// Calls `each` with the writes of a frame. Its CRC was right, so what cannot be read is a fault of ours.
fn writes(mut frame: &[u8], each: &mut impl FnMut(WalWrite<'_>)) -> io::Result<()> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a frame of the write-ahead log cannot be read");
    while let Some((place, rest)) = frame.split_first() {
        let place = TreeId::from_byte(*place).ok_or_else(damaged)?;
        let (key, rest) = split_len(rest, 0).ok_or_else(damaged)?;
        let len = rest.first_chunk::<4>().map(|len| u32::from_le_bytes(*len)).ok_or_else(damaged)?;
        let (value, rest) = match len {
            0 => (None, &rest[4..]),
            _ => split_len(rest, 1).map(|(value, rest)| (Some(value), rest)).ok_or_else(damaged)?,
        };
        each(WalWrite { place, key, value });
        frame = rest;
    }
    Ok(())
}

/// The bytes behind their length, which says `more` than there are.
fn split_len(bytes: &[u8], more: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked((u32::from_le_bytes(*len) as usize).checked_sub(more)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = Vec<(u8, Vec<u8>, Option<Vec<u8>>)>;

    fn frame(key: &[u8], value: Option<&[u8]>) -> WriteBatch {
        let mut changes = WriteBatch::default();
        changes.put(TreeId::Streams, key, value);
        changes.put(TreeId::Meta, b"", Some(b""));
        changes
    }

    fn open(folder: &Path, known: u64) -> (Wal, Found) {
        let mut found = Found::new();
        let (wal, _) = Wal::open(folder, known, |write| {
            found.push((write.place as u8, write.key.to_vec(), write.value.map(<[u8]>::to_vec)));
        })
        .unwrap();
        (wal, found)
    }

    #[test]
    fn frames_above_what_is_known_are_done_again_in_order_over_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, found) = open(folder.path(), 0);
        assert!(found.is_empty());
        wal.write(&frame(b"a", Some(b"1"))).unwrap();
        wal.write(&frame(b"b", None)).unwrap();
        wal.rotate();
        wal.write(&frame(b"c", Some(b""))).unwrap();
        let meta = (4, Vec::new(), Some(Vec::new()));
        let row = |key: &[u8], value: Option<&[u8]>| (1, key.to_vec(), value.map(<[u8]>::to_vec));
        let all =
            [row(b"a", Some(b"1")), meta.clone(), row(b"b", None), meta.clone(), row(b"c", Some(b"")), meta.clone()];
        let (wal, found) = open(folder.path(), 0);
        assert_eq!((found.as_slice(), wal.next()), (&all[..], 4));
        assert_eq!(open(folder.path(), 2).1, all[4..]);
        assert!(open(folder.path(), 3).1.is_empty());
        // Behind a hole nothing can be trusted.
        assert!(open(folder.path(), 9).1.is_empty());
    }

    #[test]
    fn a_torn_frame_and_what_is_left_of_an_older_turn_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = open(folder.path(), 0);
        for key in [b"a", b"b", b"c"] {
            wal.write(&frame(key, Some(b"x"))).unwrap();
        }
        let end = wal.end;
        let (mut wal, found) = open(folder.path(), 3);
        assert!(found.is_empty());
        wal.write(&frame(b"d", Some(b"x"))).unwrap();
        let (_, found) = open(folder.path(), 3);
        assert_eq!(found.len(), 2, "only the frame that is new");
        let file = OpenOptions::new().write(true).open(folder.path().join("wal.0")).unwrap();
        file.write_all_at(b"?", end / 3 - 2).unwrap();
        assert!(open(folder.path(), 3).1.is_empty());
    }
}
