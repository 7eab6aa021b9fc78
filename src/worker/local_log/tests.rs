//! Tests the log as a whole: what is written is read, with the same numbers in every process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::reader::LineCount;
use super::*;
use crate::model::{Channel, GapMarker, LineText, Timestamp};
use crate::wire::worker::RetainLimits;
use crate::worker::Exit;

/// Collects a batch.
#[derive(Default)]
struct Batch {
    lines: Vec<(u64, Channel, String)>,
    lines_max: usize,
}

impl LineSink for Batch {
    fn line(&mut self, seq: u64, line: &LineText<'_>) {
        self.lines.push((seq, line.channel, line.text.clone().into_owned()));
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= self.lines_max
    }
}

pub(super) fn batch(reader: &mut LogReader, lines_max: usize) -> Vec<(u64, Channel, String)> {
    let mut batch = Batch { lines_max, ..Batch::default() };
    let first_seq = reader.next_batch(&mut batch).unwrap();
    assert_eq!(first_seq, batch.lines.first().map(|line| line.0));
    batch.lines
}

/// Reads and acknowledges everything.
pub(super) fn read_all(reader: &mut LogReader) -> Vec<(u64, Channel, String)> {
    let mut all = Vec::new();
    loop {
        let lines = batch(reader, 500);
        let Some(last) = lines.last() else { return all };
        reader.ack(last.0);
        all.extend(lines);
    }
}

fn texts(lines: &[(u64, Channel, String)], channel: Channel) -> Vec<&str> {
    lines.iter().filter(|line| line.1 == channel).map(|line| line.2.as_str()).collect()
}

pub(super) fn in_memory(bytes_max: u64, overflow: Overflow) -> Arc<LocalLog> {
    Arc::new(LocalLog::new(SegmentSource::Memory, bytes_max, overflow, Arc::new(|_| {})))
}

pub(super) fn in_folder(folder: &Path) -> Arc<LocalLog> {
    Arc::new(LocalLog::new(SegmentSource::Named(folder.to_owned()), 256 * 1024, Overflow::Skip, Arc::new(|_| {})))
}

pub(super) fn reader(log: &Arc<LocalLog>) -> LogReader {
    LogReader::new(Arc::clone(log), LogCursor::default())
}

fn end(exit: Exit) -> RecordedEnd {
    RecordedEnd { floor: 0, exit, message: "over".to_owned() }
}

pub(super) fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

#[test]
fn lines_keep_their_numbers_through_any_resume() {
    resume_at_random(false);
}

#[test]
fn acknowledged_lines_that_the_server_has_lost_are_read_again() {
    resume_at_random(true);
}

/// Reads a log through a connection that breaks at random. With a history, the server also loses acknowledged lines.
fn resume_at_random(with_history: bool) {
    let log = in_memory(1 << 20, Overflow::Skip);
    let text: String = (0..900).map(|n| format!("line {n} {}\n", "é".repeat(n % 50))).collect();
    let mut seed = 7u32;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at((1 + random(300)).min(rest.len()));
        log.push_output(Channel::Stdout, piece, at(1), false);
        log.push_output(Channel::Stderr, b"err\nor", at(2), false);
        rest = later;
    }
    log.push_end(&end(Exit::code(3)), at(3));
    let wanted = {
        let mut reader = reader(&log);
        let mut all = Vec::new();
        while let lines @ [_, ..] = batch(&mut reader, usize::MAX).as_slice() {
            all.extend_from_slice(lines);
        }
        let totals = reader.next_end().unwrap();
        assert_eq!((totals.seq, totals.exit), (all.len() as u64 + 1, Exit::code(3)));
        (all, totals)
    };
    let mut uplink = reader(&log);
    uplink.retain(with_history.then_some(RetainLimits { lines: u64::MAX, bytes: u64::MAX }));
    let mut received = Vec::new();
    // The server has a prefix of what was sent, whatever was acknowledged before.
    let mut rounds = 0;
    while received.len() < wanted.0.len() {
        rounds += 1;
        assert!(rounds < 100_000, "no progress after {} lines", received.len());
        for _ in 0..random(4) {
            let lines = batch(&mut uplink, 1 + random(60));
            for line in lines {
                if line.0 == received.len() as u64 + 1 {
                    received.push(line);
                }
            }
        }
        match random(3) {
            0 if with_history => uplink.ack(received.len() as u64),
            0 => uplink.ack(random(received.len() + 1) as u64),
            1 => {
                // Lines that were sent last are lost with the connection.
                let acked = if with_history { 0 } else { usize::try_from(uplink.acked_seq()).unwrap() };
                let loss = if with_history { random(300) } else { random(30) };
                let known = received.len() - loss.min(received.len() - acked);
                received.truncate(known);
                uplink.resume(known as u64);
            }
            _ => {}
        }
    }
    uplink.ack(received.len() as u64);
    assert!(batch(&mut uplink, 9).is_empty() && received == wanted.0);
    assert_eq!(uplink.next_end(), Some(wanted.1), "the checksum does not depend on what was sent again");
    assert!(!uplink.is_complete());
    uplink.ack(wanted.1.seq);
    assert!(uplink.is_complete() && uplink.next_end().is_none());
}

#[test]
fn only_the_excess_is_skipped_and_it_is_counted_in_its_place() {
    let log = in_memory(64 * 1024, Overflow::Skip);
    let mut uplink = reader(&log);
    log.push_output(Channel::Stderr, b"begun ", at(1), false);
    for n in 1..=100_000 {
        log.push_output(Channel::Stdout, format!("{n}\n").as_bytes(), at(2), false);
    }
    log.push_internal("told", at(3));
    log.push_output(Channel::Stderr, b"and ended\n", at(4), false);
    let skipped_before = log.skipped_lines();
    assert!(skipped_before > 0);
    let mut lines = read_all(&mut uplink);
    log.push_output(Channel::Stdout, b"after\n", at(5), false);
    log.push_end(&end(Exit::code(0)), at(6));
    lines.extend(read_all(&mut uplink));
    let stdout = texts(&lines, Channel::Stdout);
    assert_eq!(stdout.last(), Some(&"after"));
    let numbers: Vec<u64> = stdout.iter().filter_map(|text| text.parse().ok()).collect();
    let skipped = 100_000 - numbers.len() as u64;
    assert_eq!(log.skipped_lines(), skipped);
    let hole = numbers.windows(2).position(|pair| pair[0] + 1 != pair[1]).unwrap();
    assert_eq!((numbers[0], numbers[hole + 1] - numbers[hole] - 1), (1, skipped), "one hole");
    assert_eq!(numbers.last(), Some(&100_000), "the newest lines stay");
    assert!(numbers.len() - hole > 5_000 && hole > 1_000, "{hole} of {}", numbers.len());
    let marker = lines.iter().position(|line| GapMarker::parse(&line.2).is_some()).unwrap();
    assert_eq!(lines[marker].2, format!("[{skipped} messages skipped]"));
    assert_eq!(lines[marker + 1].2, numbers[hole + 1].to_string());
    assert_eq!(texts(&lines, Channel::Stderr), ["begun and ended"], "the other channel lost nothing");
    assert_eq!(texts(&lines, Channel::Internal), ["told", lines[marker].2.as_str(), "over"]);
}

#[test]
fn a_line_whose_end_is_skipped_is_skipped_entirely() {
    let log = in_memory(16 * 1024, Overflow::Skip);
    let mut uplink = reader(&log);
    log.push_output(Channel::Stdout, b"whole\nbeginning ", at(1), false);
    let long = "x".repeat(200_000);
    log.push_output(Channel::Stdout, format!("{long}\n{long}\nlast\n").as_bytes(), at(1), false);
    log.push_end(&end(Exit::code(0)), at(1));
    let lines = read_all(&mut uplink);
    assert_eq!(texts(&lines, Channel::Stdout), ["whole", "last"]);
    assert_eq!((log.skipped_lines(), lines[1].2.as_str()), (2, "[2 messages skipped]"));
}

#[test]
fn with_wait_the_writer_waits_for_room_and_nothing_is_missing() {
    let log = in_memory(64 * 1024, Overflow::Wait);
    let writer = Arc::clone(&log);
    let text: String = (1..=50_000).map(|n| format!("{n}\n")).collect();
    let wanted: Vec<String> = text.lines().map(str::to_owned).collect();
    let thread = std::thread::spawn(move || {
        text.as_bytes().chunks(10_000).for_each(|piece| writer.push_output(Channel::Stdout, piece, at(1), true));
        writer.push_end(&end(Exit::code(0)), at(2));
    });
    let mut uplink = reader(&log);
    let mut lines = Vec::new();
    let began = Instant::now();
    while uplink.next_end().is_none() {
        lines.extend(read_all(&mut uplink));
        assert!(log.end() - log.state.lock().released <= 64 * 1024 && began.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    thread.join().unwrap();
    assert!(texts(&lines, Channel::Stdout) == wanted && log.skipped_lines() == 0);
}

#[test]
fn a_writer_that_waits_is_released_by_the_end_of_the_command() {
    let log = in_memory(16 * 1024, Overflow::Wait);
    let writer = Arc::clone(&log);
    let thread = std::thread::spawn(move || {
        writer.push_output(Channel::Stdout, "line\n".repeat(10_000).as_bytes(), at(1), true)
    });
    while log.end() == 0 {
        std::thread::yield_now();
    }
    log.end_waits();
    thread.join().unwrap();
    assert_eq!(read_all(&mut reader(&log)).len(), 10_000);
}

#[test]
fn space_is_returned_when_the_server_has_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(folder.path());
    let mut uplink = reader(&log);
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    for round in 0..20 {
        (0..200).for_each(|n| log.push_output(Channel::Stdout, format!("{round} {n:0200}\n").as_bytes(), at(1), false));
        assert_eq!(read_all(&mut uplink).len(), 200, "round {round}");
        let confirmed = log.take_confirmed().unwrap();
        log.sync_segments(|| Ok(())).unwrap();
        log.release_to(&confirmed);
        assert!(files() <= 3, "{}", files());
    }
    assert_eq!(log.skipped_lines(), 0);
}

#[test]
fn another_process_continues_with_the_same_lines_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(folder.path());
    for n in 0..2_000 {
        let text = format!("line {n:040}\nrest");
        let (now, later) = text.split_at(text.len() - 4 + n % 3);
        log.push_output(Channel::Stdout, now.as_bytes(), at(n as u64), false);
        log.push_output(Channel::Stderr, later.as_bytes(), at(n as u64), false);
    }
    log.push_end(&end(Exit::signal(9)), at(9_999));
    let mut uplink = reader(&log);
    batch(&mut uplink, 700);
    batch(&mut uplink, 100);
    uplink.ack(750);
    let confirmed = log.take_confirmed().unwrap();
    log.release_to(&confirmed);
    let stored = serde_json::to_vec(&confirmed).unwrap();
    let mut left = batch(&mut uplink, 50);
    left.extend(read_all(&mut uplink));
    let totals = uplink.next_end();

    let reopened = Arc::new(restore(folder.path(), true, Arc::new(|_| {})).unwrap());
    let cursor: LogCursor = serde_json::from_slice(&stored).unwrap();
    assert!(cursor.is_in(reopened.space()) && !LogCursor::default().is_in(reopened.space()));
    let count = cursor.count_rest(&reopened).unwrap();
    let mut uplink = LogReader::new(Arc::clone(&reopened), cursor);
    uplink.resume(800);
    assert_eq!(read_all(&mut uplink), left);
    assert_eq!(uplink.next_end(), totals);
    let own = 1;
    assert_eq!(count, LineCount { lines: left.len() as u64 + 100 - own, skipped: 0, end: Some(Exit::signal(9)) });
}

#[test]
fn a_torn_tail_is_cut_and_damage_is_reported_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(folder.path());
    (0..500).for_each(|n| log.push_output(Channel::Stdout, format!("{n:0100}\n").as_bytes(), at(1), false));
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 1);
    // The last record is incomplete, and a bit of the first segment has changed.
    let last = std::fs::read(&files[files.len() - 1]).unwrap();
    std::fs::write(&files[files.len() - 1], &last[..last.len() - 3]).unwrap();
    let mut first = std::fs::read(&files[0]).unwrap();
    let record = (first.len() - 16) / 500;
    let changed = first.len() - 60;
    first[changed] ^= 1;
    std::fs::write(&files[0], first).unwrap();
    assert!(record > 0);

    let reopened = Arc::new(restore(folder.path(), true, Arc::new(|_| {})).unwrap());
    let mut uplink = reader(&reopened);
    reopened.push_end(&RecordedEnd { floor: 600, exit: Exit::default(), message: "killed".to_owned() }, at(2));
    let lines = read_all(&mut uplink);
    let stdout = texts(&lines, Channel::Stdout);
    assert_eq!(stdout.len(), 498, "one line is damaged, one is torn");
    assert_eq!(stdout[497], format!("{:0100}", 498));
    let internal = texts(&lines, Channel::Internal);
    assert!(internal.len() == 2 && internal[0].contains("damaged") && internal[1] == "killed", "{internal:?}");
    let totals = uplink.next_end().unwrap();
    assert_eq!((totals.seq, totals.sum), (602, None), "the end follows what the server has");
}

#[test]
fn output_survives_in_memory_while_no_file_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let notes = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let noted = Arc::clone(&notes);
    let note: NoteFn = Arc::new(move |text: &str| noted.lock().push(text.to_owned()));
    let log = Arc::new(LocalLog::new(SegmentSource::Named(missing.clone()), 1 << 30, Overflow::Skip, note));
    let text: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
    text.as_bytes().chunks(5_000).for_each(|piece| log.push_output(Channel::Stdout, piece, at(1), false));
    log.push_end(&end(Exit::code(4)), at(2));
    let first = notes.lock().first().cloned().unwrap();
    assert!(first.starts_with("cannot write the local log in") && first.contains("skipped"), "{first}");
    assert_eq!(notes.lock().iter().filter(|note| note.starts_with("cannot write")).count(), 1);

    // There is room again at the end, for all of it.
    std::fs::create_dir(&missing).unwrap();
    assert!(log.save_memory(|| {}));
    let reopened = Arc::new(restore(&missing, true, Arc::new(|_| {})).unwrap());
    let lines = read_all(&mut reader(&reopened));
    let kept = texts(&lines, Channel::Stdout);
    let skipped = 400_000 - kept.len() as u64;
    assert!(skipped > 0 && kept.len() > 50_000 && kept.last() == Some(&"400000"));
    assert!(texts(&lines, Channel::Internal).contains(&format!("[{skipped} messages skipped]").as_str()));
}

#[test]
fn without_room_at_the_end_the_count_and_the_result_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(folder.path());
    (0..100).for_each(|n| log.push_output(Channel::Stdout, format!("{n}\n").as_bytes(), at(1), false));
    // A folder in place of the next file: it cannot be created, as on a full disk.
    let next = super::segment::segment_path(folder.path(), log.end());
    std::fs::create_dir(&next).unwrap();
    log.state.lock().write_failed_for_test();
    (100..300).for_each(|n| log.push_output(Channel::Stdout, format!("{n}\n").as_bytes(), at(1), false));
    log.push_end(&end(Exit::code(4)), at(2));
    let mut freed = false;
    assert!(!log.save_memory(|| freed = true) && freed);
    std::fs::remove_dir(&next).unwrap();
    let reopened = Arc::new(restore(folder.path(), true, Arc::new(|_| {})).unwrap());
    let mut uplink = reader(&reopened);
    let lines = read_all(&mut uplink);
    assert_eq!(texts(&lines, Channel::Stdout).len(), 100);
    assert_eq!(texts(&lines, Channel::Internal), ["[200 messages skipped]", "over"]);
    assert_eq!(uplink.next_end().unwrap().exit, Exit::code(4));
}
