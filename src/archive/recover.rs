//! Finding the complete frames of a growing archive after a kill or a power cut.

use std::fs::File;
use std::io;

use super::checker::Checker;
use super::frame::{self, FrameHeader};

/// Returns the headers of all complete frames of a file, and the offset where they end.
///
/// Anything after them is a partial frame left by a kill, or was torn by a power cut: frames written
/// between two syncs reach the disk in any order and in parts. The journal still has their lines, so each
/// frame that ends at line `unsynced_from` or later must be intact to be included. Without that line, only
/// an unreadable last frame is excluded: damage before it may be in the only copy.
pub(super) fn recover_frames(file: &File, unsynced_from: Option<u64>) -> io::Result<(Vec<FrameHeader>, u64)> {
    let size = file.metadata()?.len();
    let mut headers = Vec::new();
    let mut offset = 0;
    while let Some(header) = frame::read_header(file, offset, size)?.filter(|header| header.follows(headers.last())) {
        offset = header.end();
        headers.push(header);
    }
    let synced =
        unsynced_from.map_or(headers.len(), |line| headers.partition_point(|header| header.last_line() < line));
    let torn = (synced..headers.len())
        .find(|&index| !is_intact(file, index.checked_sub(1).map(|before| &headers[before]), headers[index]));
    headers.truncate(torn.unwrap_or(headers.len()));
    while headers.pop_if(|last| frame::decompress(file, last).is_err()).is_some() {}
    let end = headers.last().map_or(0, FrameHeader::end);
    Ok((headers, end))
}

/// Reports whether a frame has no faults that can be detected from the frame itself.
pub(super) fn is_intact(file: &File, before: Option<&FrameHeader>, header: FrameHeader) -> bool {
    let mut checker = Checker::after_line(before.map_or(0, FrameHeader::last_line));
    checker.frame(file, header);
    checker.found.faults.is_empty()
}
