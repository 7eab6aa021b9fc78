//! Tests the history: what is kept of the lines that the server has confirmed, and what it gives way to.

use std::sync::Arc;

use super::tests::{at, batch, in_folder, in_memory, read_all, reader};
use super::*;
use crate::model::{Channel, Overflow};
use crate::wire::worker::RetainLimits;

/// Returns a log with acknowledged lines, read in batches of 100, of which some are kept.
fn with_history(log: &Arc<LocalLog>, lines: u64, kept_lines: u64) -> LogReader {
    let mut uplink = reader(log);
    uplink.retain(Some(RetainLimits { lines: kept_lines, bytes: u64::MAX }));
    uplink.resume(0);
    for n in 1..=lines {
        log.push_output(Channel::Stdout, format!("{n:0100}\n").as_bytes(), at(n), false);
    }
    while let Some(last) = batch(&mut uplink, 100).last() {
        uplink.ack(last.0);
    }
    assert_eq!(uplink.acked_seq(), lines);
    uplink
}

fn numbers(lines: &[(u64, Channel, String)]) -> Vec<u64> {
    let both = lines.iter().map(|(seq, _, text)| (*seq, text.trim_start_matches('0').parse::<u64>().unwrap()));
    both.inspect(|(seq, n)| assert_eq!(seq, n, "the line has its number")).map(|(seq, _)| seq).collect()
}

#[test]
fn the_history_has_as_many_lines_as_asked_for() {
    let log = in_memory(1 << 24, Overflow::Skip);
    let mut uplink = with_history(&log, 5_000, 1_000);
    uplink.resume(4_300);
    assert_eq!(numbers(&read_all(&mut uplink)), Vec::from_iter(4_301..=5_000));
    uplink.resume(4_000);
    assert_eq!(numbers(&read_all(&mut uplink)), Vec::from_iter(4_001..=5_000));
    let released = log.state.lock().released;
    assert!((3_400 * 118..=4_000 * 118).contains(&released), "the rest is returned: {released}");
    // Older lines are left out; the server sees it by the numbers.
    uplink.resume(10);
    let again = numbers(&read_all(&mut uplink));
    assert!((3_401..=4_001).contains(&again[0]) && again.iter().copied().eq(again[0]..=5_000), "{}", again[0]);
    // Without limits nothing is kept any more.
    uplink.retain(None);
    uplink.resume(5_000);
    uplink.resume(4_900);
    assert!(read_all(&mut uplink).is_empty());
}

#[test]
fn the_history_has_at_most_the_size_asked_for() {
    let log = in_memory(1 << 24, Overflow::Skip);
    let mut uplink = reader(&log);
    uplink.retain(Some(RetainLimits { lines: u64::MAX, bytes: 50_000 }));
    for n in 1..=5_000 {
        log.push_output(Channel::Stdout, format!("{n:0100}\n").as_bytes(), at(n), false);
    }
    while let Some(last) = batch(&mut uplink, 100).last() {
        uplink.ack(last.0);
    }
    let state = log.state.lock();
    assert!((19_000..=50_000).contains(&(state.end - state.released)), "{}", state.end - state.released);
}

#[test]
fn the_history_makes_room_for_output() {
    let log = in_memory(256 * 1024, Overflow::Skip);
    let mut uplink = with_history(&log, 1_000, u64::MAX);
    assert!(log.state.lock().released < 10_000, "all of it is kept");
    for n in 1_001..=3_000 {
        log.push_output(Channel::Stdout, format!("{n:0100}\n").as_bytes(), at(n), false);
    }
    assert_eq!(log.skipped_lines(), 0, "2,000 lines fit into the log without the history");
    uplink.resume(500);
    assert_eq!(numbers(&read_all(&mut uplink)), Vec::from_iter(1_001..=3_000), "no line of before is damaged");
}

#[test]
fn skipping_ends_although_a_history_was_asked_for() {
    let log = in_memory(1024 * 1024, Overflow::Skip);
    let mut uplink = with_history(&log, 10, u64::MAX);
    (0..20_000).for_each(|n| log.push_output(Channel::Stdout, format!("{n:0100}\n").as_bytes(), at(1), false));
    assert!(log.skipped_lines() > 0);
    read_all(&mut uplink);
    assert!(log.state.lock().skipping.is_none());
}

#[test]
fn another_process_has_the_history_too() {
    let folder = tempfile::tempdir().unwrap();
    let log = in_folder(folder.path());
    drop(with_history(&log, 800, 500));
    let stored = serde_json::to_vec(&log.take_confirmed().unwrap()).unwrap();
    let reopened = Arc::new(restore(folder.path(), true, Arc::new(|_| {})).unwrap());
    let mut uplink = LogReader::new(reopened, serde_json::from_slice(&stored).unwrap());
    uplink.resume(350);
    assert_eq!(numbers(&read_all(&mut uplink)), Vec::from_iter(351..=800));
}
