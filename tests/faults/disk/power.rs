//! The power goes: what was acked is there, whatever of the rest the disk has kept.
//!
//! A server runs under `shim.c`, which records all that is done to its folder; then the folder is made
//! anew as the disk might have it after a cut at some moment (`rebuild`), and the real server opens it.
//! `TASKTAIL_POWER_CUTS` makes it longer, `TASKTAIL_SEED` repeats one.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::disk::machine::shim;
use crate::disk::rebuild::{Disk, Op, read_log};
use crate::disk::server::{Server, command};
use crate::wire::{Client, Frame};

const CUTS_DEFAULT: u64 = 50;
/// Small segments, so that they are often begun, checkpointed, copied and removed.
const FLAGS: [&str; 4] = ["--live-window-lines", "300", "--journal-segment-bytes", "64KiB"];

/// A small generator.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a client knows, and how far the record was when it knew it.
struct Known {
    at: u64,
    fact: Fact,
}

#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// So many lines of a task are acked.
    Lines(String, u64),
    Ended(String),
    Removing(String),
    Removed(String),
    /// So many entries of the plain key are there, and of the task's key.
    Entries(u64),
    Deleting,
    Deleted,
}

/// What must be there at a cut.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) lines: BTreeMap<String, u64>,
    pub(crate) ended: Vec<String>,
    removing: Vec<String>,
    removed: Vec<String>,
    entries: u64,
    deleting: bool,
    deleted: bool,
}

impl Wanted {
    fn learn(&mut self, fact: &Fact) {
        match fact.clone() {
            Fact::Lines(task, count) => drop(self.lines.insert(task, count)),
            Fact::Ended(task) => self.ended.push(task),
            Fact::Removing(task) => self.removing.push(task),
            Fact::Removed(task) => self.removed.push(task),
            Fact::Entries(count) => self.entries = count,
            Fact::Deleting => self.deleting = true,
            Fact::Deleted => self.deleted = true,
        }
    }
}

pub(crate) struct Recorder {
    log: PathBuf,
    known: Vec<Known>,
}

impl Recorder {
    pub(crate) fn knows(&mut self, fact: Fact) {
        let at = std::fs::metadata(&self.log).unwrap().len();
        self.known.push(Known { at, fact });
    }
}

/// Does a little of everything, for as long as it takes.
fn work(server: &Server, recorder: &mut Recorder, dice: &mut Dice) {
    let mut redis = Client::connect(server.redis).unwrap();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let (mut entries, mut removals) = (0, 0);
    for round in 0..170u64 {
        // A name is not used again once its task was removed.
        let task = format!("t{}-{removals}", dice.roll(3));
        let count = counts.entry(task.clone()).or_default();
        let many = if dice.roll(4) == 0 { 8_000 } else { 60 };
        let more = 1 + dice.roll(many);
        let text: String = (*count + 1..=*count + more).map(|n| format!("{n}\n")).collect();
        let answer = server.append(&task, &text);
        if answer.status == 200 {
            *count += more;
            recorder.knows(Fact::Lines(task.clone(), *count));
        } else {
            assert_eq!(answer.code(), "task_ended", "{}", answer.body);
        }
        for _ in 0..dice.roll(8) {
            entries += 1;
            let id = format!("{entries}-1");
            for key in ["plain", "task:logs:key"] {
                let said = redis.ask(&["XADD", key, &id, "line", &entries.to_string()]).unwrap().to_string();
                assert!(said.contains(&id), "{said}");
            }
        }
        recorder.knows(Fact::Entries(entries));
        match dice.roll(12) {
            0 if *count > 0 && server.end(&task).status == 200 => recorder.knows(Fact::Ended(task)),
            1 => {
                recorder.knows(Fact::Removing(task.clone()));
                assert!([204, 404].contains(&server.remove(&task).status));
                recorder.knows(Fact::Removed(task.clone()));
                removals += 1;
                counts.clear();
            }
            _ => {}
        }
        if round == 120 {
            assert!(redis.ask(&["XADD", "short", "1-1", "f", "v"]).unwrap().to_string().contains("1-1"));
            recorder.knows(Fact::Deleting);
            assert!(redis.ask(&["DEL", "short"]).unwrap().to_string().contains(":1"));
            recorder.knows(Fact::Deleted);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Where the record is just before a sync of a growing archive: several frames are on their way to the
/// disk then, and with the sync their lines leave the journal.
pub(crate) fn before_archive_syncs(ops: &[(u64, Op)]) -> Vec<u64> {
    let (mut archives, mut found, mut last) = (HashSet::new(), Vec::new(), 0);
    for (end, op) in ops {
        match op {
            Op::Create { ino, name } if name.ends_with(".open") => drop(archives.insert(*ino)),
            Op::Create { ino, .. } => drop(archives.remove(ino)),
            Op::Sync { ino } if archives.contains(ino) => found.push(last),
            _ => {}
        }
        last = *end;
    }
    found
}

/// Records what `work` makes a server do, and lets `check` look at the folder after each of some cuts. One cut in
/// four is at one of the `worst` moments.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a cut that was too much is to be repeated")]
pub(crate) fn cut(
    flags: &[&str],
    worst: impl FnOnce(&[(u64, Op)]) -> Vec<u64>,
    work: impl FnOnce(&Server, &mut Recorder, &mut Dice),
    check: impl Fn(&Path, &Wanted) + std::panic::RefUnwindSafe,
) {
    let seed = setting("TASKTAIL_SEED").unwrap_or(u64::from(std::process::id()));
    let cuts = setting("TASKTAIL_POWER_CUTS").unwrap_or(CUTS_DEFAULT);
    println!("seed {seed}: TASKTAIL_SEED={seed} chooses the same cuts");
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let disk_folder = folder.path().join("disk");
    std::fs::create_dir(&disk_folder).unwrap();
    let mut recorder = Recorder { log: folder.path().join("record"), known: Vec::new() };
    let mut serve = command(&disk_folder.join("data"), flags);
    serve.env("LD_PRELOAD", shim()).env("SHIM_FOLDER", &disk_folder).env("SHIM_LOG", &recorder.log);
    let server = Server::spawn(serve);
    work(&server, &mut recorder, &mut dice);
    server.kill();

    let ops = read_log(&recorder.log);
    let end = ops.last().unwrap().0;
    let worst = worst(&ops);
    let mut at: Vec<u64> = (0..cuts).map(|_| dice.roll(end + 1)).collect();
    for at in at.iter_mut().step_by(4).filter(|_| !worst.is_empty()) {
        *at = worst[usize::try_from(dice.roll(worst.len() as u64)).unwrap()];
    }
    at.sort_unstable();
    let mut disk = Disk::new(std::fs::metadata(&disk_folder).unwrap().ino());
    let (mut ops, mut known) = (ops.iter().peekable(), recorder.known.iter().peekable());
    let mut wanted = Wanted::default();
    for (cut, at) in at.into_iter().enumerate() {
        while let Some((_, op)) = ops.next_if(|(end, _)| *end <= at) {
            disk.apply(op);
        }
        while let Some(known) = known.next_if(|known| known.at <= at) {
            wanted.learn(&known.fact);
        }
        let target = folder.path().join(format!("cut-{cut}"));
        disk.rebuild(&mut dice, &target);
        let said = format!("seed {seed}, cut {cut} at {at} of {end}");
        println!("{said}");
        if let Err(fault) = std::panic::catch_unwind(|| check(&target.join("data"), &wanted)) {
            eprintln!("{said}: kept in {}", folder.keep().display());
            std::panic::resume_unwind(fault);
        }
        std::fs::remove_dir_all(&target).unwrap();
    }
    println!("{cuts} cuts of {} changes, {} facts", read_log(&recorder.log).len(), recorder.known.len());
}

#[test]
fn acknowledged_lines_survive_a_power_cut() {
    cut(&FLAGS, before_archive_syncs, work, check);
}

/// A line that no other is like, so that an archive of them is not small.
fn noise(n: u64) -> String {
    let dice = &mut Dice(n);
    let words: Vec<String> = (0..6).map(|_| format!("{:08x}", dice.roll(1 << 31))).collect();
    format!("{n} {}", words.join(""))
}

#[test]
fn a_log_with_a_lost_middle_survives_a_power_cut() {
    const LINES: u64 = 400;
    const ROUNDS_MIN: u64 = 60;
    const ROUNDS_MAX: u64 = 1_000;
    let flags = [&FLAGS[..], &["--task-bytes-max", "256KiB"]].concat();
    let work = |server: &Server, recorder: &mut Recorder, _: &mut Dice| {
        // The archive is written meanwhile: how often it is cut by so many lines is up to the machine.
        let cut_often = || server.metric("tasktail_limit_reached_total{limit=\"task_bytes_max\"}") >= 3.0;
        let mut rounds = 0;
        while rounds < ROUNDS_MIN || !cut_often() {
            assert!(rounds < ROUNDS_MAX, "expected the middle of the log to be dropped three times");
            let text: String = (rounds * LINES + 1..=(rounds + 1) * LINES).map(|n| noise(n) + "\n").collect();
            assert_eq!(server.append("long", &text).status, 200);
            rounds += 1;
            recorder.knows(Fact::Lines("long".to_owned(), rounds * LINES));
        }
    };
    cut(&flags, before_archive_syncs, work, |data, wanted| {
        let server = Server::start(data, &flags);
        let Some(acked) = wanted.lines.get("long") else { return };
        let mut next = 1;
        loop {
            let page = server.get(&format!("/api/v1/tasks/long/lines?from={next}&limit=10000")).json();
            let lines = page["lines"].as_array().unwrap_or_else(|| panic!("line {next} of {acked}: {page}"));
            let mut gaps = page["gaps"].as_array().unwrap().iter();
            for line in lines {
                let n = line["n"].as_u64().unwrap();
                if n != next {
                    let gap = gaps.next().unwrap_or_else(|| panic!("no gap before line {n}, after {next}"));
                    let told = (gap["from"].as_u64(), gap["to"].as_u64(), gap["reason"].as_str());
                    assert_eq!(told, (Some(next), Some(n - 1), Some("quota")));
                }
                assert_eq!(line["line"], noise(n), "as it was sent");
                next = n + 1;
            }
            assert!(gaps.next().is_none(), "a gap that is none: {}", page["gaps"]);
            if lines.is_empty() {
                break;
            }
        }
        assert!(next > *acked, "{acked} lines were acked, {} are there", next - 1);
        assert_eq!(server.append("long", "more\n").status, 200);
    });
}

fn check(data: &Path, wanted: &Wanted) {
    let server = Server::start(data, &FLAGS);
    let kept = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!kept.into_iter().any(|name| name.contains("damaged")), "the store was not opened as it was");
    for (task, count) in &wanted.lines {
        if wanted.removing.contains(task) {
            continue;
        }
        let log = server.log(task);
        let numbers: Vec<u64> = log.iter().filter_map(|text| text.parse().ok()).collect();
        assert!(
            numbers.iter().copied().eq(1..=numbers.len() as u64),
            "{task}: each once, in order: {} lines",
            log.len()
        );
        assert!(numbers.len() as u64 >= *count, "{task}: {count} lines were acked, {} are there", numbers.len());
    }
    for task in &wanted.ended {
        if !wanted.removing.contains(task) {
            let told = server.get(&format!("/api/v1/tasks/{task}")).json();
            assert_eq!(told["status"], "completed", "{task}: {told}");
        }
    }
    for task in &wanted.removed {
        assert_eq!(server.get(&format!("/api/v1/tasks/{task}")).status, 404, "{task} is back");
    }
    let mut redis = Client::connect(server.redis).unwrap();
    for key in ["plain", "task:logs:key"] {
        let found = redis.ask(&["XRANGE", key, "-", "+"]).unwrap();
        let Frame::Many(_, Some(entries)) = &found else { panic!("{key}: {found}") };
        let ids = entries.iter().map(|entry| match entry {
            Frame::Many(_, Some(parts)) => String::from_utf8_lossy(parts[0].text().unwrap()).into_owned(),
            other => panic!("{key}: {other}"),
        });
        assert!(ids.eq((1..=entries.len()).map(|n| format!("{n}-1"))), "{key}: each once, in order");
        let there = entries.len() as u64;
        assert!(there >= wanted.entries, "{key}: {} entries were acked, {there} are there", wanted.entries);
    }
    let short = redis.ask(&["XLEN", "short"]).unwrap().to_string();
    assert!(!wanted.deleted || short.contains(":0"), "what was deleted is back: {short}");
    // Numbers go on where they were.
    let before = redis.ask(&["XADD", "plain", "*", "f", "v"]).unwrap().to_string();
    assert!(!before.contains("ERR"), "{before}");
    assert_eq!(server.append("after", "x\n").status, 200);
}
