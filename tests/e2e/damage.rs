//! A store that was damaged while the server was dead.

use std::fs;
use std::path::{Path, PathBuf};

use crate::net::{Viewer, facts};
use crate::support::{Home, until};
use crate::tools::{Background, data, kill, serve_at, steady_lines, zstdcat};

/// What is in the archive of 6,000 lines at least: all but the live window and one step.
const ARCHIVED_MIN: usize = 3_500;

/// A home whose server was killed with a sealed task `done` and an open task `open` behind it.
fn after_a_kill(home: &Home) {
    let mut serve = serve_at(home, "127.0.0.1:0", &["--live-window-lines", "500"]);
    for (task, last) in [("done", 3_000), ("open", 6_000)] {
        let text: String = steady_lines(last).iter().map(|line| format!("{line}\n")).collect();
        home.run_with(&["append", "--task", task, "--url", &serve.url], text.as_bytes());
    }
    home.ok(&["end", "--task", "done", "--exit-code", "3", "--url", &serve.url]);
    zstdcat(home, "done");
    until("it is sealed", || !facts(&serve.url, "done")["artifact"].is_null());
    until("older lines are archived", || archived(home) >= ARCHIVED_MIN);
    kill(&mut serve);
}

/// Whole lines in the growing archive of `open`.
fn archived(home: &Home) -> usize {
    let file = fs::read(data(home).join("archive/open.ndjson.zst.open")).unwrap_or_default();
    // In the middle of a write it cannot be read to its end.
    let rows = zstd::decode_all(file.as_slice()).unwrap_or_default();
    rows.iter().filter(|byte| **byte == b'\n').count()
}

fn aside(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(data(home)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("journal.damaged-")).collect()
}

fn overwrite(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    let end = to.min(bytes.len());
    bytes[from.min(end)..end].fill(0xA5);
    fs::write(path, bytes).unwrap();
}

/// Starts the server over what was damaged and looks at everything that was promised.
fn start_and_check(home: &Home, what: &str) -> String {
    let archived = archived(home);
    let mut serve = Background::start(home, "serve", &["serve"]);
    until("it listens", || serve.out().iter().any(|line| line.starts_with("listening")) || ended(&mut serve));
    let out = serve.out();
    let url = out.first().unwrap_or_else(|| panic!("{what}: {}", serve.err())).strip_prefix("listening on ").unwrap();
    assert!(Viewer::start(url, "done").finish().texts("stdout") == steady_lines(3_000), "{what}: {}", serve.err());
    assert!(zstdcat(home, "done") == steady_lines(3_000), "{what}");
    let listed = home.ok(&["list", "--json", "--url", url]);
    assert!(listed.contains(r#""id":"done""#) && listed.contains(r#""id":"open""#), "{what}: {listed}");
    assert_eq!(facts(url, "done")["status"], "completed", "{what}");
    // What goes on behind the damage has new numbers, and the archive's lines stay.
    let before = facts(url, "open")["last_line"].as_u64().unwrap();
    home.ok(&["append", "--task", "open", "--url", url, "after the damage"]);
    home.ok(&["end", "--task", "open", "--exit-code", "0", "--url", url]);
    let seen = Viewer::start(url, "open").finish();
    let texts = seen.texts("stdout");
    assert_eq!(texts.last().unwrap(), "after the damage", "{what}");
    assert_eq!(seen.lines.last().unwrap()["n"].as_u64(), Some(before + 1), "{what}");
    assert!(texts[..archived] == steady_lines(archived)[..], "{what}: archived lines are there");
    until("it is sealed", || !facts(url, "open")["artifact"].is_null());
    assert!(zstdcat(home, "open") == texts, "{what}");
    serve.err()
}

/// The log of commits is gone too: as long as it goes back far enough, nothing else matters.
fn lose_commits(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("segment.") {
            fs::write(entry.path(), "").unwrap();
        }
    }
}

fn ended(serve: &mut Background) -> bool {
    serve.child.try_wait().unwrap().is_some()
}

#[test]
fn a_store_beyond_repair_is_kept_aside_and_archives_are_listed_again() {
    let home = Home::new();
    after_a_kill(&home);
    let db = data(&home).join("journal/db");
    overwrite(&db, 0, usize::MAX);
    fs::write(data(&home).join("journal/conf"), "garbage").unwrap();
    lose_commits(&data(&home).join("journal"));
    let said = start_and_check(&home, "all of it is garbage");
    assert!(said.contains("moved it aside") && said.contains("restored a task from its archive"), "{said}");
    let kept = aside(&home);
    assert_eq!(kept.len(), 1, "{said}");
    assert!(fs::metadata(kept[0].join("db")).unwrap().len() > 0, "nothing is deleted");
}

#[test]
fn a_damaged_archive_is_reported_to_readers_and_in_the_server_log() {
    let home = Home::new();
    after_a_kill(&home);
    overwrite(&data(&home).join("archive/done.ndjson.zst"), 2_000, 2_010);
    let serve = Background::start(&home, "serve", &["serve"]);
    until("it listens", || serve.out().iter().any(|line| line.starts_with("listening")));
    let out = serve.out();
    let url = out.first().unwrap().strip_prefix("listening on ").unwrap();
    let mut export = Background::start(&home, "export", &["export", "done", "-o", "-", "--url", url]);
    assert_eq!(export.code(), Some(1), "it is not whole: {}", export.err());
    let said = serve.err();
    assert!(said.contains("cannot read the rest of a log") && said.contains("done.ndjson.zst"), "{said}");
    let open = home.ok(&["export", "open", "-o", "-", "--url", url]);
    assert!(open.lines().eq(steady_lines(6_000).iter()), "another log is as it was");
}

#[test]
fn a_store_that_lost_its_end_or_its_middle_costs_no_archive() {
    for what in [
        "cut to half",
        "cut to nothing",
        "cut to nothing, but for the commits",
        "garbage in the middle",
        "garbage at the start",
        "no snapshot",
    ] {
        let home = Home::new();
        after_a_kill(&home);
        let folder = data(&home).join("journal");
        let db = folder.join("db");
        let len = fs::metadata(&db).unwrap().len();
        let half = usize::try_from(len / 2).unwrap();
        match what {
            "cut to nothing, but for the commits" => fs::write(&db, "").unwrap(),
            "cut to half" => fs::File::options().write(true).open(&db).unwrap().set_len(len / 2).unwrap(),
            "cut to nothing" => fs::File::options().write(true).open(&db).unwrap().set_len(0).unwrap(),
            "garbage in the middle" => overwrite(&db, half, half + 64 * 1024),
            "garbage at the start" => overwrite(&db, 0, 64 * 1024),
            _ => {
                for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                    if entry.file_name().to_string_lossy().starts_with("snap.") {
                        fs::write(entry.path(), "garbage").unwrap();
                    }
                }
            }
        }
        if what != "cut to nothing, but for the commits" {
            lose_commits(&folder);
        }
        let said = start_and_check(&home, what);
        match what {
            "cut to nothing, but for the commits" => {
                assert!(
                    aside(&home).len() == 1 && !said.contains("listed again"),
                    "{what}: it is all there again: {said}"
                );
            }
            // Commits that sled had not written yet are lost with their log, perhaps with a task's record.
            "no snapshot" => assert!(aside(&home).is_empty(), "{what}: expected no repair: {said}"),
            "cut to nothing" | "garbage at the start" => {
                assert!(aside(&home).len() == 1 && said.contains("moved it aside"), "{what}: {said}");
            }
            _ => assert!(said.contains("damaged"), "{what}: {said}"),
        }
    }
}
