use std::fs;
use std::io::Read;
use std::path::Path;

use super::frame::FrameMetadata;
use super::*;
use crate::model::{Channel, Line, Origin, TaskId, Timestamp};

fn line(n: u64) -> Line<'static> {
    let text = format!("line {n} of a log with a tail {}", "x".repeat((n % 90) as usize));
    Line {
        n,
        id: EntryId::new(1_000 + n, 0),
        timestamp: Timestamp::from_millis(n),
        channel: Channel::Stdout,
        line: text.into(),
        partial: false,
        lossy: false,
    }
}

fn filled(folder: &Path, lines: u64) -> (Archives, TaskId, Archive) {
    let archives = Archives::open(folder).unwrap();
    let id: TaskId = "build:1".parse().unwrap();
    let archive = archives.archive(&id, None).unwrap();
    for n in 1..=lines {
        archive.push(&line(n), Origin::Unnumbered).unwrap();
        if n % 3_000 == 0 {
            archive.sync().unwrap();
        }
    }
    archive.sync().unwrap();
    (archives, id, archive)
}

fn zstdcat(path: &Path) -> Vec<Line<'static>> {
    let mut text = String::new();
    zstd::stream::read::Decoder::new(File::open(path).unwrap()).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(|json| serde_json::from_str(json).unwrap()).collect()
}

#[test]
fn seal_of_a_short_log_syncs_the_folder_once() {
    let folder = tempfile::tempdir().unwrap();
    let archives = Archives::open(folder.path()).unwrap();
    let id: TaskId = "short".parse().unwrap();
    let archive = archives.archive(&id, None).unwrap();
    for n in 1..=20 {
        archive.push(&line(n), Origin::Unnumbered).unwrap();
    }
    let artifact = archive.seal(None).unwrap();
    assert_eq!(archive.folder.names.count(), 1);
    assert_eq!(archive.seal(None).unwrap(), artifact);
    assert_eq!(archives.bytes(), artifact.bytes);
    for archive in [&archive, &archives.archive(&id, None).unwrap()] {
        assert_eq!(archive.read(1, 100, usize::MAX).unwrap(), (1..=20).map(line).collect::<Vec<_>>());
    }
}

#[test]
fn sizes_of_sealed_archives_come_from_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let (_, id, archive) = filled(folder.path(), 2_000);
    let artifact = archive.seal(None).unwrap();
    fs::write(folder.path().join("growing.ndjson.zst.open"), "12345").unwrap();
    fs::write(folder.path().join("partial.ndjson.zst.open.new"), "123").unwrap();
    let archives = Archives::open(folder.path()).unwrap();
    let found = archives.scan().unwrap();
    let growing: TaskId = "growing".parse().unwrap();
    assert_eq!((found.sealed, found.growing), ([id.clone()].into(), [growing].into()));
    assert_eq!(archives.bytes(), 5, "the size of the sealed one was not read");
    archives.count_sealed(&id, Some(artifact.bytes));
    assert_eq!(archives.bytes(), 5 + artifact.bytes);
    archives.count_sealed(&id, None);
    assert_eq!(archives.bytes(), 5 + 2 * artifact.bytes, "without a record it is");
    assert!(!folder.path().join("partial.ndjson.zst.open.new").exists());
}

#[test]
fn every_line_is_readable_before_and_after_seal() {
    let folder = tempfile::tempdir().unwrap();
    let (archives, id, archive) = filled(folder.path(), 10_000);
    for archive in [&archive, &archives.archive(&id, None).unwrap()] {
        for from in [1, 2, 999, 3_000, 3_001, 9_999, 10_000] {
            assert_eq!(archive.read(from, 1, 1).unwrap(), [line(from)]);
        }
        assert!(archive.read(10_001, 10, 1000).unwrap().is_empty());
    }
    let artifact = archive.seal(None).unwrap();
    let reopened = archives.archive(&id, None).unwrap();
    assert!(reopened.is_sealed() && archive.is_sealed());
    assert_eq!(reopened.seal(None).unwrap(), artifact, "sealing twice is idempotent");
    for archive in [&archive, &reopened] {
        let all = archive.read(1, 20_000, usize::MAX).unwrap();
        assert!(all.iter().eq(&(1..=10_000).map(line).collect::<Vec<_>>()));
        assert_eq!(archive.read(5_000, 3, 1 << 20).unwrap(), [line(5_000), line(5_001), line(5_002)]);
    }
    assert_eq!(zstdcat(&archives.sealed_path(&id)).len(), 10_000);
}

#[test]
fn partial_tail_is_truncated_to_last_complete_frame() {
    let folder = tempfile::tempdir().unwrap();
    let (archives, id, archive) = filled(folder.path(), 5_000);
    let path = archives.open_path(&id);
    let complete = fs::read(&path).unwrap();
    drop(archive);
    for cut in [1, 50, 500, 5_000] {
        fs::write(&path, &complete[..complete.len() - cut]).unwrap();
        let archive = archives.archive(&id, None).unwrap();
        let last = archive.last_line();
        assert!((3_000..5_000).contains(&last), "cut {cut}: {last}");
        assert_eq!(archive.read(last, 1, 1).unwrap(), [line(last)]);
        for n in last + 1..=5_000 {
            archive.push(&line(n), Origin::Unnumbered).unwrap();
        }
        archive.seal(None).unwrap();
        let lines = zstdcat(&archives.sealed_path(&id));
        assert!(lines.iter().map(|line| line.n).eq(1..=5_000));
        archives.remove(&id).unwrap();
    }
    let mut torn = complete.clone();
    let at = torn.len() - 40;
    torn[at] ^= 0xff;
    fs::write(&path, &torn).unwrap();
    assert!(archives.archive(&id, None).unwrap().last_line() < 5_000, "a torn frame is removed");
}

/// Between two syncs the disk may write any sectors of several frames and lose the others.
#[test]
fn unsynced_frames_are_truncated_to_first_torn_frame() {
    let folder = tempfile::tempdir().unwrap();
    let (archives, id, archive) = filled(folder.path(), 5_000);
    let path = archives.open_path(&id);
    let complete = fs::read(&path).unwrap();
    let headers = archive.frames.read().headers.clone();
    drop(archive);
    assert!(headers.len() >= 4);
    let second = headers[1];
    // A byte of the data, of the metadata, and of the header before its padding.
    let header = &complete[usize::try_from(second.offset).unwrap()..][..frame::HEADER_BYTES as usize];
    let header_end = second.offset + header.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for at in [second.data_offset() + 100, second.offset + u64::from(frame::HEADER_BYTES) + 12, header_end] {
        let mut torn = complete.clone();
        torn[usize::try_from(at).unwrap()] ^= 1;
        for (journal_from, last) in [
            // The journal has all lines, or those from that frame on.
            (Some(1), headers[0].last_line()),
            (Some(second.last_line()), headers[0].last_line()),
            // The frame was synced, so it is the only copy: it stays, and so do the frames after it.
            (Some(second.last_line() + 1), 5_000),
            (None, 5_000),
        ] {
            fs::write(&path, &torn).unwrap();
            let archive = archives.archive(&id, journal_from).unwrap();
            assert_eq!(archive.last_line(), last, "torn at {at}, journal from {journal_from:?}");
            // `verify` reports damage only if it is the only copy.
            fs::write(&path, &torn).unwrap();
            let check = Archives::check(&path, false, journal_from, &mut |_| ()).unwrap();
            assert_eq!((check.faults.is_empty(), check.last_line), (last < 5_000, last), "{:?}", check.faults);
        }
    }
}

#[test]
fn empty_log_can_be_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (archives, id, archive) = filled(folder.path(), 0);
    archive.seal(None).unwrap();
    assert!(archives.archive(&id, None).unwrap().read(1, 1, 1).unwrap().is_empty());
    assert!(zstdcat(&archives.sealed_path(&id)).is_empty());
}

/// A reader that trusted the header would search for line 2 in this frame forever.
#[test]
fn frame_with_fewer_lines_than_its_header_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let archives = Archives::open(folder.path()).unwrap();
    let raw = serde_json::to_string(&line(1)).unwrap() + "\n";
    let mut header = FrameHeader { first_line: 1, lines: 5, ..FrameHeader::default() };
    let bytes = frame::encode_frame(&mut header, &FrameMetadata::default(), raw.as_bytes(), 0).unwrap();
    std::fs::write(folder.path().join("t.ndjson.zst.open"), bytes).unwrap();
    let archive = archives.archive(&"t".parse().unwrap(), None).unwrap();
    assert_eq!(archive.last_line(), 5);
    assert_eq!(archive.read(1, 1, 1).unwrap().len(), 1);
    let error = archive.read(2, 10, 1_000).unwrap_err().to_string();
    assert!(error.contains("line 2 is not in its frame"), "{error}");
}
