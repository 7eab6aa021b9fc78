//! Any bytes for a task's archive, sealed and growing: it is damaged, or its lines can be read; a
//! growing one is cut back to what is whole and can be gone on with.

use std::fs;

use tasktail::archive::{Archive, Archives};
use tasktail::model::{Channel, EntryId, Line, Origin, TaskId, Timestamp};

fn read(archive: &Archive) -> u64 {
    let mut next = archive.first_line();
    let mut lines = 0;
    while next > 0 && lines < 10_000 {
        let inside = next <= archive.last_line();
        assert!(inside || matches!(archive.frame_from(next), Ok(None)));
        let Ok(page) = archive.read(next, 100, 64 * 1024) else { break };
        let Some(last) = page.last() else { break };
        lines += page.len();
        assert!((next..=archive.last_line()).contains(&last.n));
        next = last.n.saturating_add(1);
    }
    archive.last_line()
}

/// Holds what is said above for these bytes.
pub(crate) fn check(bytes: &[u8]) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let archives = Archives::open(folder.path()).unwrap();
    let (sealed, growing): (TaskId, TaskId) = ("sealed".parse().unwrap(), "growing".parse().unwrap());
    fs::write(archives.sealed_path(&sealed), bytes).unwrap();
    if let Ok(archive) = archives.archive(&sealed, None) {
        read(&archive);
    }
    // Synced, or with all of its lines in the journal, too.
    for kept_from in [None, Some(1)] {
        fs::write(folder.path().join("growing.ndjson.zst.open"), bytes).unwrap();
        if let Ok(archive) = archives.archive(&growing, kept_from) {
            go_on(&archive);
        }
    }
}

/// A growing archive takes the next line.
fn go_on(archive: &Archive) {
    let last = read(archive);
    let Some(n) = last.checked_add(1) else { return };
    let line = Line {
        n,
        id: EntryId::new(1_778_336_581_000, 0),
        timestamp: Timestamp::from_millis(1_778_336_581_000),
        channel: Channel::Stdout,
        line: "goes on".into(),
        partial: false,
        lossy: false,
    };
    archive.push(&line, Origin::Unnumbered).unwrap();
    archive.sync().unwrap();
    assert_eq!(archive.last_line(), n);
    assert_eq!(archive.read(n, 1, 1).unwrap(), vec![line]);
}
