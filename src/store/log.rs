//! The log of commits: the segment that is being written, and replaying the last commits.
//!
//! Frames are numbered without gaps across segments. A commit is one frame. sled receives the commits later (see
//! `checkpoint`), with the number of the last frame as the last write. After a kill the frames above the number found
//! in sled are replayed. A frame that was only partly written is cut off by the next opening.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::batch::WriteBatch;
use super::frame::{FrameEncoder, FrameReader, FrameWrite};
use super::position::BlockPosition;
use super::segments::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, Segments};

/// Zeros by which a segment grows at once: syncing bytes inside a file is cheaper than extending it.
const GROW_BYTES: usize = 1024 * 1024;
/// Frames from this length on extend the file themselves: zeros would double what is written.
const GROW_FRAME_BYTES_MAX: usize = 16 * 1024;
/// Number of shorter frames one after another after which the file grows by zeros.
const GROW_FRAMES_MIN: u32 = 8;

/// The log of commits.
#[derive(Debug)]
pub(super) struct CommitLog {
    segments: Arc<Segments>,
    active: Option<ActiveSegment>,
    /// Number of the next frame.
    next: u64,
    /// Bytes of a segment after which the next is begun.
    segment_bytes: u64,
    encoder: FrameEncoder,
}

/// The segment to which frames are appended.
#[derive(Debug)]
struct ActiveSegment {
    header: SegmentHeader,
    file: Arc<File>,
    /// Offset of the next frame.
    end: u64,
    /// Size of the file, with its trailing zeros.
    size: u64,
    /// Size up to which zeros are added.
    usual_size: u64,
    /// Number of short frames since the last long one.
    short_frames: u32,
}

/// A frame that was appended.
#[derive(Debug)]
pub(super) struct AppendedFrame {
    /// Length of the frame.
    pub(super) bytes: u64,
    /// Positions of its blocks, in order.
    pub(super) positions: Vec<BlockPosition>,
}

impl CommitLog {
    /// Opens the log and calls `replay` with the writes of the frames above `known`, in order. Returns the log and the
    /// number of those frames, which are durable. `logs` are the segments of the log, in order.
    pub(super) fn open(
        segments: Arc<Segments>,
        logs: &[SegmentHeader],
        known: u64,
        segment_bytes: u64,
        mut replay: impl FnMut(FrameWrite<'_>),
    ) -> io::Result<(Self, u64)> {
        let mut next = known + 1;
        for (at, header) in logs.iter().enumerate() {
            match logs.get(at + 1) {
                Some(after) if after.first_frame <= next => continue,
                Some(_) => next = replay_segment(&segments, header, next, &mut replay)?.0,
                None => {
                    let end;
                    (next, end) = replay_segment(&segments, header, next, &mut replay)?;
                    cut(&segments, header.number, end)?;
                }
            }
        }
        let log = Self { segments, active: None, next, segment_bytes, encoder: FrameEncoder::default() };
        Ok((log, next - known - 1))
    }

    /// Returns the number of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Appends a commit as one frame, which then survives a kill. On an error the log is unchanged.
    pub(super) fn append(&mut self, batch: &WriteBatch) -> io::Result<AppendedFrame> {
        self.encoder.clear();
        self.encoder.push_batch(batch).map_err(io::Error::other)?;
        if self.active.as_ref().is_none_or(|active| active.end >= self.segment_bytes) {
            self.begin_segment()?;
        }
        let Some(active) = self.active.as_mut() else { return Err(io::Error::other("no segment is open")) };
        let (frame, blocks) = self.encoder.finish(active.header.salt, self.next);
        active.write(frame)?;
        let start = active.end - frame.len() as u64;
        let segment = active.header.number;
        let positions = blocks.iter().map(|block| BlockPosition {
            segment,
            offset: start + block.offset as u64,
            bytes: block.bytes,
            crc: block.crc,
        });
        let appended = AppendedFrame { bytes: frame.len() as u64, positions: positions.collect() };
        self.segments.set_bytes(segment, active.size);
        self.next += 1;
        Ok(appended)
    }

    /// Begins the next segment. If that fails, for example because too many files are open, the last one is used on.
    fn begin_segment(&mut self) -> io::Result<()> {
        let made = match self.segments.create(SegmentKind::Log, self.next) {
            Ok(made) => made,
            Err(error) if self.active.is_some() => {
                tracing::debug!(%error, "cannot begin the next segment of the journal; will retry");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        // Frames that go on in the last segment would not be looked for there if another followed it.
        self.seal().inspect_err(|_| {
            self.segments.remove(made.header.number).ok();
        })?;
        let (start, usual_size) = (SEGMENT_HEADER_BYTES as u64, self.segment_bytes);
        let (header, file) = (made.header, made.file);
        self.active = Some(ActiveSegment { header, file, end: start, size: start, usual_size, short_frames: 0 });
        Ok(())
    }

    /// Returns the file that frames are appended to; `None` if the last frame is in a sealed segment, and thus durable.
    pub(super) fn active_file(&self) -> Option<Arc<File>> {
        self.active.as_ref().map(|active| active.file.clone())
    }

    /// Ends the segment that is being written, and makes it durable. The next frame begins another.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        if let Some(active) = &self.active {
            active.file.set_len(active.end)?;
            // Not a reason to retry: the system may have dropped what it could not write.
            active.file.sync_all().map_err(io::Error::other)?;
            self.segments.set_sealed(active.header.number, active.end, self.next - 1);
            self.active = None;
        }
        Ok(())
    }
}

impl ActiveSegment {
    /// Writes a frame at the end.
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.end + frame.len() as u64;
        self.short_frames = if frame.len() < GROW_FRAME_BYTES_MAX { self.short_frames.saturating_add(1) } else { 0 };
        if self.short_frames >= GROW_FRAMES_MIN {
            self.grow(end)?;
        }
        if let Err(error) = self.file.write_all_at(frame, self.end) {
            // What was written of it must not be found behind a shorter frame in its place.
            if self.file.set_len(self.end).is_ok() {
                self.size = self.end;
            }
            return Err(error);
        }
        (self.end, self.size) = (end, self.size.max(end));
        Ok(())
    }

    /// Extends the file with zeros until it has at least `end` bytes. On a full disk this stops early without an error:
    /// the frame itself may still fit.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        while self.size < end {
            let bytes = GROW_BYTES.min(usize::try_from(self.usual_size.max(end) - self.size).unwrap_or(GROW_BYTES));
            match self.file.write_all_at(&[0; GROW_BYTES][..bytes], self.size) {
                Ok(()) => self.size += bytes as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Replays the frames of a segment from number `next` on. Returns the number after the last frame, and the offset
/// behind it.
fn replay_segment(
    segments: &Segments,
    header: &SegmentHeader,
    mut next: u64,
    replay: &mut impl FnMut(FrameWrite<'_>),
) -> io::Result<(u64, u64)> {
    let Some(file) = segments.file(header.number)? else { return Ok((next, 0)) };
    // sled must not have a commit that a power cut can still remove from the log.
    file.sync_all()?;
    let mut reader = FrameReader::new(&file, header.salt, SEGMENT_HEADER_BYTES as u64)?;
    while let Some(frame) = reader.read()? {
        if frame.number > next {
            tracing::error!(expected = next, found = frame.number, "gap in the log of commits; ignoring what follows");
            break;
        }
        if frame.number == next {
            frame.each_write(header.number, &mut *replay)?;
            next += 1;
        }
    }
    // Frames that are ignored, because others are missing, remain.
    while reader.read()?.is_some() {}
    Ok((next, reader.end()))
}

/// Cuts what follows the last whole frame off the newest segment. A segment without a frame is removed.
fn cut(segments: &Segments, number: u64, end: u64) -> io::Result<()> {
    if end <= SEGMENT_HEADER_BYTES as u64 {
        return segments.remove(number);
    }
    let file = File::options().write(true).open(segments.path(number))?;
    if file.metadata()?.len() > end {
        file.set_len(end)?;
        file.sync_all()?;
    }
    segments.set_sealed(number, end, 0);
    Ok(())
}
