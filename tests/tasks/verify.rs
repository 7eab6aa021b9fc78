//! `tasktail verify`: a whole folder has no faults, and none that is made stays unseen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tasktail::model::limits::Limits;
use tasktail::model::{Channel, LineChecksum, LineText, ReportedTotals, TaskId, Timestamp};
use tasktail::store::{Store, StoreOptions};
use tasktail::tasks::{self, EndRequest, LineBatch, SessionSeq, TaskHandle, Tasks, TasksOptions, VerifyReport};

const SEALED_LINES: u64 = 3_000;
const GROWING_LINES: u64 = 12_000;

fn line(n: u64) -> LineText<'static> {
    let text = format!("line {n} of a log {}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let timestamp = Timestamp::from_millis(1_778_336_581_000 + n);
    LineText { timestamp, channel: Channel::Stdout, partial: false, lossy: false, text: text.into() }
}

async fn fill(task: &TaskHandle, lines: u64) -> LineChecksum {
    let (mut sum, mut buffer) = (LineChecksum::default(), Vec::new());
    for from in (1..=lines).step_by(500) {
        let mut batch = LineBatch::with_session("s", from);
        for n in from..=lines.min(from + 499) {
            batch.push(&line(n));
            sum.add(n, 0, &line(n), &mut buffer);
        }
        task.append(batch).await.unwrap().await.unwrap();
    }
    sum
}

/// A folder with the sealed logs `one` and `two`, and `growing`, whose beginning is archived.
fn folder() -> tempfile::TempDir {
    folder_of(SEALED_LINES, GROWING_LINES, 1_000)
}

/// The same with logs of so many lines, of which so many stay in the journal.
fn folder_of(sealed_lines: u64, growing_lines: u64, live_window_lines: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let limits = Limits { live_window_lines, ..Limits::default() };
        let options = TasksOptions { limits, ..TasksOptions::default() };
        let tasks = Tasks::open(folder.path(), options).await.unwrap();
        for (name, lines) in [("one", sealed_lines), ("two", sealed_lines), ("growing", growing_lines)] {
            let task = tasks.get_or_create(&name.parse::<TaskId>().unwrap()).await.unwrap();
            let sum = fill(&task, lines).await;
            if name != "growing" {
                let said = ReportedTotals { lines: Some(lines), sum: Some(sum) };
                task.end(EndRequest {
                    session: Some(SessionSeq::new("s", lines + 1)),
                    reported: said,
                    ..EndRequest::default()
                })
                .await
                .unwrap();
                let mut changes = tasks.changes();
                while task.details().artifact.is_none() {
                    changes.changed().await.unwrap();
                }
            }
        }
        let archive = folder.path().join("archive/growing.ndjson.zst.open");
        while fs::metadata(&archive).map_or(0, |file| file.len()) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        tasks.close().await;
    });
    folder
}

fn verify(data: &Path) -> VerifyReport {
    loop {
        // sled's own threads may hold the folder a little longer.
        match tasks::verify(data, &mut |_, _| {}).unwrap() {
            report if report.in_use => std::thread::park_timeout(std::time::Duration::from_millis(5)),
            report => return report,
        }
    }
}

fn faults(data: &Path) -> String {
    verify(data).faults.into_iter().map(|fault| format!("{}: {}\n", fault.at, fault.what)).collect()
}

fn archive(data: &Path, name: &str) -> PathBuf {
    data.join("archive").join(name)
}

/// Changes a file, looks for the faults, and puts it back.
fn with_changed(data: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let path = archive(data, name);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    change(&mut changed);
    fs::write(&path, changed).unwrap();
    let found = faults(data);
    fs::write(&path, whole).unwrap();
    found
}

/// Every file below a folder, with what is in it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_whole_folder_has_no_faults_and_stays_as_it_is() {
    let folder = folder();
    let data = folder.path();
    verify(data);
    let before = files(data);
    let report = verify(data);
    assert_eq!(report.faults, []);
    assert_eq!((report.tasks, report.archives, report.journals), (3, 3, 1));
    // How much of the growing log is archived by now is not said; all of it is in one or the other.
    assert!(report.lines + report.entries >= 2 * SEALED_LINES + GROWING_LINES && report.entries >= 1_000, "{report:?}");
    assert!(files(data) == before, "the folder has changed");
}

/// Flips one bit of each of these bytes, and of some others anywhere; each time the file is named.
fn no_bit_can_be_flipped(data: &Path, name: &str, bytes: impl Iterator<Item = usize>) {
    let size = fs::metadata(archive(data, name)).unwrap().len();
    let whole = fs::read(archive(data, name)).unwrap();
    // zstd can write the same lines in several ways: a bit of compressed data that changes none of them is no fault.
    let data_frame = 0xFD2F_B528u32.to_le_bytes();
    let is_data = |at: usize| {
        let before = &whole[..at];
        let skippable =
            before.windows(4).rposition(|bytes| bytes[0] & 0xF0 == 0x50 && bytes[1..] == [0x2A, 0x4D, 0x18]);
        memchr::memmem::rfind(before, &data_frame) > skippable
    };
    let reads_the_same = |at: usize, bit: u8| {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        is_data(at) && zstd::decode_all(&*flipped).is_ok_and(|rows| rows == zstd::decode_all(&*whole).unwrap())
    };
    let flip = |at: usize, bit: u8| {
        let found = with_changed(data, name, |bytes| bytes[at] ^= 1 << bit);
        prop_assert!(found.contains(name) || reads_the_same(at, bit), "byte {at}, bit {bit}: {found:?}");
        Ok(())
    };
    for at in bytes {
        flip(at, u8::try_from(at % 8).unwrap()).unwrap();
    }
    // Other programs reject a frame whose descriptor announces no checksum, though its lines are all there.
    for descriptor in memchr::memmem::find_iter(&whole, &data_frame).map(|at| at + data_frame.len()) {
        let found = with_changed(data, name, |bytes| bytes[descriptor] ^= 0b100);
        assert!(found.contains(name), "the checksum of the frame at byte {descriptor}: {found:?}");
    }
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let all = runner.run(&(0..usize::try_from(size).unwrap(), 0..8u8), |(at, bit)| flip(at, bit));
    all.unwrap();
}

#[test]
fn no_bit_of_a_sealed_archive_can_be_flipped_unseen() {
    let folder = folder_of(150, 2_500, 100);
    let size = fs::metadata(archive(folder.path(), "one.ndjson.zst")).unwrap().len();
    let size = usize::try_from(size).unwrap();
    // What stands before the lines, and all that comes with the seal.
    let seal = (size - 700..size).step_by(3);
    no_bit_can_be_flipped(folder.path(), "one.ndjson.zst", (0..250).chain(seal));
}

#[test]
fn no_bit_of_a_growing_archive_can_be_flipped_unseen() {
    let folder = folder_of(150, 2_500, 100);
    let whole = fs::read(archive(folder.path(), "growing.ndjson.zst.open")).unwrap();
    let note = 0x184D_2A50u32.to_le_bytes();
    let frames: Vec<usize> = memchr::memmem::find_iter(&whole, &note).collect();
    let last = *frames.last().unwrap();
    // What stands before the lines of the first and of the last frame.
    let bytes = (0..250).chain((last..whole.len().min(last + 250)).step_by(3));
    no_bit_can_be_flipped(folder.path(), "growing.ndjson.zst.open", bytes);
}

#[test]
fn truncated_removed_and_swapped_frames_are_found() {
    let folder = folder();
    let data = folder.path();
    for cut in [1, 9, 100, 5_000] {
        let found = with_changed(data, "one.ndjson.zst", |bytes| bytes.truncate(bytes.len() - cut));
        assert!(found.contains("were sealed"), "{cut}: {found}");
    }
    // A frame taken out of a growing archive, whose first lines are in no journal.
    let found = with_changed(data, "growing.ndjson.zst.open", |bytes| {
        let note = 0x184D_2A50u32.to_le_bytes();
        let frames: Vec<usize> = memchr::memmem::find_iter(bytes, &note).collect();
        bytes.drain(frames[1]..frames[2]);
    });
    assert!(found.contains("are in neither the archive nor the journal"), "{found}");

    let (one, two) = (archive(data, "one.ndjson.zst"), archive(data, "two.ndjson.zst"));
    let aside = data.join("aside");
    let swap = || {
        fs::rename(&one, &aside).unwrap();
        fs::rename(&two, &one).unwrap();
        fs::rename(&aside, &two).unwrap();
    };
    swap();
    let found = faults(data);
    assert!(found.contains("one.ndjson.zst") && found.contains("two.ndjson.zst"), "{found}");
    swap();
    assert_eq!(faults(data), "");

    fs::rename(&one, &aside).unwrap();
    assert_eq!(faults(data), "archive/one.ndjson.zst: the archive is missing\n");
    fs::rename(&aside, archive(data, "other.ndjson.zst")).unwrap();
    assert!(faults(data).contains("archive/other.ndjson.zst: this archive has no record"));
    fs::rename(archive(data, "other.ndjson.zst"), &one).unwrap();

    let growing = archive(data, "growing.ndjson.zst.open");
    fs::rename(&growing, &aside).unwrap();
    let found = faults(data);
    assert!(found.contains("are in neither an archive nor the journal"), "{found}");
    fs::rename(&aside, &growing).unwrap();
    // What a kill leaves of a frame that was being written is no fault: its lines are in the journal.
    let found = with_changed(data, "growing.ndjson.zst.open", |bytes| {
        let note: Vec<u8> = bytes[..70].to_vec();
        bytes.extend(note);
    });
    assert_eq!(found, "");
}

#[test]
fn lost_journal_entries_are_found() {
    let folder = folder();
    let data = folder.path();
    let change = |with: &dyn Fn(&Store, u64)| {
        let store = Store::open(&data.join("journal"), StoreOptions::default()).unwrap();
        let number = store.stream(b"task:logs:growing").unwrap().unwrap().number;
        with(&store, number);
        store.commit().unwrap();
    };
    assert_eq!(faults(data), "");
    change(&|store, number| {
        let blocks: Vec<_> = store.blocks_of(number).map(Result::unwrap).collect();
        let (first, bytes) = &blocks[blocks.len() / 2];
        store.remove_block(number, *first, bytes.len()).unwrap();
        store.put_block(number + 1_000_000, *first, bytes).unwrap();
    });
    let found = faults(data);
    let lost = found
        .lines()
        .any(|fault| fault.starts_with("journal/task:logs:growing: block ") && fault.contains("begins with line"));
    assert!(lost, "{found}");
    assert!(found.contains("which has no record"), "{found}");
}

#[test]
fn a_damaged_store_is_reported_without_a_panic() {
    let folder = folder();
    let data = folder.path();
    let db = data.join("journal/db");
    let whole = fs::read(&db).unwrap();
    let step = whole.len() / 12;
    for from in (0..whole.len()).step_by(step) {
        let mut bytes = whole.clone();
        let end = bytes.len().min(from + 4_096);
        bytes[from..end].fill(0xA5);
        fs::write(&db, bytes).unwrap();
        // sled may not have used these bytes any more, or have them in its log of commits too.
        verify(data);
    }
    for entry in fs::read_dir(data.join("journal")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name == "db" || name.starts_with("segment.") {
            fs::write(entry.path(), b"").unwrap();
        }
    }
    let found = faults(data);
    assert!(found.contains("cannot open the store") && found.contains("data is missing"), "{found}");
    fs::remove_dir_all(data.join("journal")).unwrap();
    assert!(faults(data).contains("journal: the store is missing"));
    assert!(tasks::verify(&data.join("archive"), &mut |_, _| {}).is_err(), "that is no data folder");
}

fn tasktail(data: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tasktail")).args(args).arg("--data").arg(data).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn verify_reports_its_findings_in_output_and_exit_code() {
    let folder = folder();
    let data = folder.path();
    verify(data);
    let (code, out, _) = tasktail(data, &["verify"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.starts_with("checked 3 tasks, 3 archives (") && out.ends_with("): no faults\n"), "{out}");
    let path = archive(data, "one.ndjson.zst");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (code, out, _) = tasktail(data, &["verify", "--json"]);
    let rows: Vec<serde_json::Value> = out.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let (summary, found) = rows.split_last().unwrap();
    assert_eq!((code, summary["faults"].as_u64()), (Some(1), Some(found.len() as u64)));
    assert!(found.iter().all(|fault| fault["task"] == "one" && fault["at"] == "archive/one.ndjson.zst"), "{out}");
    let (code, _, err) = tasktail(&data.join("nothing"), &["verify"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is not a tasktail data folder"), "{err}");

    // While a server has the folder, what can be looked at without its store is.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tasks = runtime.block_on(Tasks::open(data, TasksOptions::default())).unwrap();
    let (code, out, err) = tasktail(data, &["verify"]);
    assert!(err.contains("a server uses this folder"), "{err}");
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("one.ndjson.zst") && out.contains("checked 0 tasks, 2 archives"), "{out}");
    runtime.block_on(tasks.close());
}
