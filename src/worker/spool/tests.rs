use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::folder::Left;
use super::record::{MAGIC, records};
use super::*;
use crate::model::{Channel, GapMarker, Timestamp};
use crate::worker::buffer::{Bounds, Buffer, Item};
use crate::worker::mask::Masks;
use crate::worker::session::Session;
use crate::worker::shared::Shared;
use crate::worker::{Exit, WorkerOptions};

fn session() -> Session {
    let options = WorkerOptions::new("http://127.0.0.1:1", "t".parse().unwrap());
    Session::new(&options, vec!["make".to_owned(), "-j8".to_owned()])
}

/// Records of lines with these numbers, as a buffer makes them.
fn lines(seqs: std::ops::Range<u64>) -> Vec<u8> {
    let mut buffer = Buffer::default();
    buffer.open_spool(u64::MAX);
    for n in 1..seqs.end {
        buffer.push_bytes(Channel::Stdout, format!("line {n}\n").as_bytes(), Timestamp::now());
    }
    let batch = buffer.spool_work(false).batch;
    let (all, _) = records(&[MAGIC.as_slice(), &batch.records].concat());
    let mut bytes = Vec::new();
    all.iter()
        .filter(|record| matches!(record, Record::Line(seq, _) if seqs.contains(seq)))
        .for_each(|record| encode(record, &mut bytes));
    bytes
}

fn texts(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.line.text.as_str()).collect()
}

fn wanted(seqs: std::ops::Range<u64>) -> Vec<String> {
    seqs.map(|n| format!("line {n}")).collect()
}

#[test]
fn what_was_written_is_there_for_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = Folder::create(dir.path(), session()).unwrap();
    folder.append(1, &lines(1..301), 0).unwrap();
    folder.append(301, &lines(301..401), 0).unwrap();
    folder.note_acked(120).unwrap();
    let path = folder.path().to_owned();
    assert!(matches!(Folder::open(&path), Err(SpoolError::Locked { .. })), "its worker lives");
    assert_eq!(count(dir.path()), 0);
    let whole = folder.session.clone();
    drop(folder);
    assert_eq!(count(dir.path()), 1);
    let mut folder = Folder::open(&path).unwrap().unwrap();
    assert_eq!(folder.session, whole);
    let left = Left { lines: 280, first_seq: 1, last_seq: 400, acked: 120, end: None, bytes: folder.bytes() };
    assert_eq!(folder.left().unwrap(), left);
    for (from, lines_max) in [(121, 50), (171, 1_000), (1, 30), (31, 30)] {
        let (first, items) = folder.read(from, lines_max, usize::MAX).unwrap();
        let to = 401.min(from + lines_max as u64);
        assert_eq!((first, texts(&items)), (from, wanted(from..to).iter().map(String::as_str).collect()));
    }
    assert!(folder.read(401, 10, 1_000).unwrap().1.is_empty());
    folder.remove().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(Folder::open(&path).unwrap().is_none());
}

#[test]
fn segments_go_once_the_server_has_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = Folder::create(dir.path(), session()).unwrap();
    // Each is over what a segment has before the next.
    let many = |from: u64| {
        (from..from + 20_000)
            .flat_map(|seq| {
                let mut bytes = Vec::new();
                let (all, _) = records(&[MAGIC.as_slice(), &lines(1..2)].concat());
                let Some(Record::Line(_, item)) = all.first() else { panic!() };
                let line = crate::worker::SplitLine { text: "x".repeat(1_000), ..item.line.clone() };
                encode_line(seq, &Item { line, ..item.clone() }, &mut bytes);
                bytes
            })
            .collect::<Vec<u8>>()
    };
    for from in [1, 20_001, 40_001] {
        folder.append(from, &many(from), 0).unwrap();
    }
    let all = folder.bytes();
    assert!(!folder.reclaim(19_999));
    assert!(folder.reclaim(40_000));
    assert!(folder.bytes() < all / 2, "{all} {}", folder.bytes());
    assert_eq!(folder.read(40_001, 3, usize::MAX).unwrap().1.len(), 3);
    let (first, items) = folder.read(5, 3, usize::MAX).unwrap();
    assert_eq!((first, items.len()), (40_001, 3), "what is gone is a hole");
    // All acked: the next line begins another segment, so that this one can go.
    folder.append(60_001, &many(60_001)[..2_000], 60_000).unwrap();
    assert!(folder.reclaim(60_000) && folder.bytes() < 10_000);
}

#[test]
fn a_damaged_spool_gives_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = Folder::create(dir.path(), session()).unwrap();
    folder.append(1, &lines(1..101), 0).unwrap();
    let path = folder.path().to_owned();
    drop(folder);
    let segment = path.join(format!("{:020}.lines", 1));
    let whole = std::fs::read(&segment).unwrap();
    for cut in (0..whole.len()).step_by(7) {
        std::fs::write(&segment, &whole[..cut]).unwrap();
        let mut folder = Folder::open(&path).unwrap().unwrap();
        let left = folder.left().unwrap();
        let (_, items) = folder.read(1, usize::MAX, usize::MAX).unwrap();
        assert_eq!(texts(&items), wanted(1..left.last_seq + 1), "cut at {cut}");
        // 26 bytes of each line are its own.
        assert!(left.last_seq + 1 >= (cut as u64).saturating_sub(60) / 43, "cut at {cut}: {left:?}");
    }
    std::fs::write(&segment, b"something else").unwrap();
    let mut folder = Folder::open(&path).unwrap().unwrap();
    assert_eq!((folder.left().unwrap().lines, folder.read(1, 9, 9).unwrap().1.len()), (0, 0));
}

#[test]
fn a_hostile_spool_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = Folder::create(dir.path(), session()).unwrap().path().to_owned();
    let good = std::fs::read_to_string(path.join("start")).unwrap();
    for (from, to) in [("\"t\"", "\"../../etc\""), ("make", &"m".repeat(100_000)), ("\"task\"", "\"tusk\""), ("{", "[")]
    {
        std::fs::write(path.join("start"), good.replacen(from, to, 1)).unwrap();
        let error = Folder::open(&path).unwrap_err();
        assert!(matches!(error, SpoolError::Bad { .. }), "{from}: {error}");
        assert!(list(dir.path()).unwrap()[0].is_err());
    }
    std::fs::write(path.join("start"), &good).unwrap();
    std::fs::create_dir(path.join("00000000000000000009.lines")).unwrap();
    std::fs::write(path.join("18446744073709551615.lines"), MAGIC).unwrap();
    assert_eq!(list(dir.path()).unwrap().remove(0).unwrap().lines, 0);
    std::fs::remove_file(path.join("start")).unwrap();
    std::fs::create_dir(path.join("start")).unwrap();
    assert!(matches!(Folder::open(&path), Err(SpoolError::Bad { .. })));
}

#[test]
fn a_disk_that_takes_nothing_never_holds_the_output_up() {
    // The spool's thread does not run at all: it hangs in its first write.
    let shared = Shared::new(Masks::default());
    shared.open_spool(u64::MAX);
    let line = format!("{}\n", "x".repeat(999)).into_bytes();
    let chunk = line.repeat(250);
    for _ in 0..800 {
        shared.push_bytes(Channel::Stdout, &chunk, Timestamp::now());
    }
    shared.push_bytes(Channel::Stdout, b"last\n", Timestamp::now());
    shared.finish(Exit::code(0), None);
    let in_memory = shared.spool_work(false, std::time::Duration::ZERO, |_| true).batch.records.len();
    assert!(in_memory < 20 * 1024 * 1024, "{in_memory}");
    let delivery = shared.delivery();
    assert!(delivery.skipped_lines > 100_000, "{delivery:?}");
    assert_eq!(delivery.undelivered_lines, 200_001, "each is kept, or counted");
}

const ABORTED: Exit = Exit { code: None, signal: None, aborted: true };

/// A buffer, a disk and a server, each a step at a time.
struct World {
    buffer: Buffer,
    disk: BTreeMap<u64, Item>,
    disk_ends: BTreeSet<u64>,
    server: BTreeMap<u64, String>,
    end: Option<u64>,
    sent: u64,
    pushed: u64,
}

impl World {
    fn new(disk_bytes_max: u64) -> Self {
        let bounds = Bounds { lines_max: 8, bytes_max: 100_000, tail_bytes_max: 60, tail_lines_max: 3 };
        let mut buffer = Buffer::new(bounds);
        buffer.open_spool(disk_bytes_max);
        let (disk, disk_ends, server) = Default::default();
        Self { buffer, disk, disk_ends, server, end: None, sent: 0, pushed: 0 }
    }

    fn push(&mut self, lines: u64) {
        for _ in 0..lines {
            self.pushed += 1;
            let text = format!("line {}\n", self.pushed);
            self.buffer.push_bytes(Channel::Stdout, text.as_bytes(), Timestamp::default());
        }
    }

    /// What the spool's thread does.
    fn disk(&mut self) {
        let work = self.buffer.spool_work(false);
        let (all, valid) = records(&[MAGIC.as_slice(), &work.batch.records].concat());
        assert_eq!(valid, MAGIC.len() + work.batch.records.len());
        for record in all {
            match record {
                Record::Line(seq, item) => {
                    assert!(self.disk.insert(seq, item).is_none(), "number {seq} was given twice")
                }
                Record::End(end) => assert!(self.disk_ends.insert(end.seq)),
                other => panic!("{other:?}"),
            }
        }
        if let Some((from, to)) = work.wanted {
            let (lines_max, _) = self.buffer.room();
            let items: Vec<Item> = (from..=to).map_while(|seq| self.disk.get(&seq).cloned()).take(lines_max).collect();
            assert!(!items.is_empty() && self.buffer.refill(from, items), "what was spilled is on disk");
        }
        self.disk.retain(|seq, _| *seq > work.acked);
        let bytes: usize = self.disk.values().map(|item| item.line.text.len() + 36).sum();
        self.buffer.spool_has(0, bytes as u64);
    }

    fn send(&mut self, lines_max: usize) {
        if let Some(batch) = self.buffer.take(lines_max, usize::MAX, |_| 1) {
            for (seq, item) in (batch.first_seq..).zip(batch.items) {
                let text = self.server.entry(seq).or_insert_with(|| item.line.text.clone());
                assert_eq!(*text, item.line.text, "number {seq} was given twice");
                self.sent = seq;
            }
        } else if let Some((seq, ..)) = self.buffer.take_end() {
            self.end = Some(seq);
        }
    }

    fn act(&mut self, what: u8, much: u64) {
        match what {
            0 | 1 => self.push(much),
            2 => self.disk(),
            3 => self.send(usize::try_from(much).unwrap()),
            4 => {
                self.buffer.ack(self.sent.saturating_sub(much / 4));
            }
            _ => self.buffer.resume(self.sent.saturating_sub(much / 2)),
        }
    }

    /// A sender takes over what is on the disk.
    fn take_over(&mut self) {
        let last_line = self.disk.last_key_value().map_or(0, |(seq, _)| *seq);
        let acked = self.disk.first_key_value().map_or(0, |(seq, _)| seq - 1);
        let end =
            self.disk_ends.last().map(|seq| SaidEnd { seq: *seq, exit: ABORTED, at: Timestamp::default(), sum: None });
        let last_seq = end.map_or(last_line, |end| last_line.max(end.seq - 1));
        self.buffer = World::new(0).buffer;
        self.buffer.take_over(acked, last_seq, self.disk.len() as u64, end);
        if end.is_none() {
            self.buffer.finish_left(ABORTED, "killed".to_owned(), Timestamp::default());
        }
        self.buffer.push_own("reconnected".to_owned(), Timestamp::default());
        self.buffer.resume(self.end.unwrap_or(self.sent));
    }

    /// To the end, with everything well again; gives the server's lines.
    fn finish(mut self) -> Vec<String> {
        self.buffer.finish(Exit::code(0), Some("bye".to_owned()), Timestamp::default());
        self.buffer.resume(0);
        for _ in 0..100_000 {
            self.disk();
            self.send(5);
            self.buffer.ack(self.end.unwrap_or(self.sent));
            if self.buffer.is_complete() {
                break;
            }
        }
        assert!(self.buffer.is_complete());
        assert_eq!((self.buffer.unconfirmed_lines(), self.buffer.acked_seq()), (0, self.sent));
        assert!(self.server.keys().copied().eq(1..=self.sent), "numbers without a hole");
        assert_eq!(self.end, Some(self.sent + 1));
        assert_eq!(self.disk_ends.into_iter().collect::<Vec<_>>(), [self.sent + 1]);
        self.server.into_values().collect()
    }
}

#[test]
fn the_end_of_a_killed_worker_is_told_once() {
    // The worker may have sent less than it had written, or more; the sender is killed anywhere.
    for (written, sent) in [(3, 0), (3, 2), (3, 3), (3, 4), (3, 9), (20, 2), (0, 5)] {
        for killed_after in 0..10 {
            let mut world = World::new(0);
            for record in records(&[MAGIC.as_slice(), &lines(1..written + 1)].concat()).0 {
                let Record::Line(seq, item) = record else { panic!("{record:?}") };
                world.disk.insert(seq, item);
            }
            world.server = (1..).zip(wanted(1..sent + 1)).collect();
            world.sent = sent;
            for steps in [killed_after, 100] {
                world.take_over();
                for _ in 0..steps {
                    if world.buffer.is_complete() {
                        break;
                    }
                    world.disk();
                    world.send(5);
                    world.buffer.ack(world.end.unwrap_or(world.sent));
                }
            }
            let last = written.max(sent);
            let all: Vec<String> = wanted(1..last + 1).into_iter().chain(["killed".to_owned()]).collect();
            let case = format!("{written} written, {sent} sent, killed after {killed_after}");
            assert!(world.buffer.is_complete(), "{case}");
            assert_eq!(world.server.into_values().collect::<Vec<_>>(), all, "{case}");
            assert_eq!(world.end, Some(last + 2), "{case}");
        }
    }
}

proptest! {
    #[test]
    fn with_a_spool_nothing_is_skipped(acts in prop::collection::vec((0u8..6, 1u64..20), 0..80)) {
        let mut world = World::new(u64::MAX);
        acts.into_iter().for_each(|(what, much)| world.act(what, much));
        let mut all = wanted(1..world.pushed + 1);
        all.push("bye".to_owned());
        prop_assert_eq!(world.finish(), all);
    }

    #[test]
    fn a_full_spool_is_a_mark_in_its_place(acts in prop::collection::vec((0u8..6, 1u64..20), 0..80), bytes_max in 0u64..1_500) {
        let mut world = World::new(bytes_max);
        acts.into_iter().for_each(|(what, much)| world.act(what, much));
        let pushed = world.pushed;
        let server = world.finish();
        let mut next = 1;
        for text in &server[..server.len() - 1] {
            match GapMarker::parse(text) {
                Some(mark) => next += mark.count,
                None => {
                    prop_assert_eq!(text, &format!("line {next}"));
                    next += 1;
                }
            }
        }
        prop_assert_eq!(next, pushed + 1);
        prop_assert!(pushed == 0 || server[server.len() - 2] == format!("line {pushed}"), "the last line is never skipped");
    }
}

#[test]
fn a_kept_session_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = Folder::create(dir.path(), session()).unwrap();
    folder.append(1, &lines(1..4), 0).unwrap();
    drop(folder);
    let found = list(dir.path()).unwrap().remove(0).unwrap();
    assert_eq!((found.session.task.as_str(), found.lines, found.ended), ("t", 3, false));
    assert!(list(&dir.path().join("nowhere")).unwrap().is_empty());
    let options = SpoolOptions::new(dir.path());
    assert_eq!(options.bytes_max, 4 << 30);
    drop(Arc::new(options));
}
