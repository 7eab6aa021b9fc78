//! What the fuzzer starts from, and what it found worth keeping, holds in an ordinary build too:
//! every file of `fuzz/corpus`, also cut short at every length and with every bit flipped where that
//! is cheap. `scripts/fuzz` looks for more.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks/archive.rs"]
mod archive;
#[path = "../../fuzz/checks/block.rs"]
mod block;
#[path = "../../fuzz/checks/cursor.rs"]
mod cursor;
#[path = "../../fuzz/checks/ndjson.rs"]
mod ndjson;
#[path = "../../fuzz/checks/spool.rs"]
mod spool;
#[path = "../../fuzz/checks/viewer.rs"]
mod viewer;
#[path = "../../fuzz/checks/worker_message.rs"]
mod worker_message;

/// Runs a check on every file of its corpus, on its beginnings, and on it with one bit wrong; at
/// most about so many variants a file.
fn all(target: &str, variants: usize, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        check(&bytes);
        let step = (bytes.len() / variants).max(1);
        for at in (0..bytes.len()).step_by(step) {
            check(&bytes[..at]);
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 8);
            check(&wrong);
        }
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn messages_of_a_worker() {
    all("worker_message", 500, worker_message::check);
}

#[test]
fn requests_of_a_viewer() {
    all("viewer", 500, viewer::check);
}

#[test]
fn cursors_and_ids() {
    all("cursor", 500, cursor::check);
}

#[test]
fn rows_of_ndjson() {
    all("ndjson", 500, ndjson::check);
}

#[test]
fn blocks_of_the_journal() {
    all("block", 500, block::check);
}

#[test]
fn segments_of_a_spool() {
    all("spool", 500, spool::check);
}

#[test]
fn archives() {
    all("archive", 100, archive::check);
}
