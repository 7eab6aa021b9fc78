use super::*;
use crate::model::{Channel, EntryId, Line, LineText, Origin, Timestamp};

fn line(n: u64, channel: Channel, text: &str) -> Line<'static> {
    let (id, timestamp) = (EntryId::MIN, Timestamp::from_millis(1_778_336_581_000 + n));
    Line { n, id, timestamp, channel, line: text.to_owned().into(), partial: false, lossy: false }
}

fn numbered(seq: u64) -> Origin<'static> {
    Origin::Numbered { session: "s", seq, piece: 0 }
}

/// The checksum was computed with Python's `xxhash`; other implementations must agree.
#[test]
fn checksum_matches_its_specification() {
    let mut sum = LineChecksum::default();
    let mut buffer = Vec::new();
    let text = |ms, channel, partial, lossy, text: &'static str| LineText {
        timestamp: Timestamp::from_millis(ms),
        channel,
        partial,
        lossy,
        text: text.into(),
    };
    sum.add(1, 0, &text(1_778_336_581_000, Channel::Stdout, false, false, "Building..."), &mut buffer);
    sum.add(2, 0, &text(1_778_336_581_001, Channel::Stderr, true, true, "é\r"), &mut buffer);
    sum.add(3, 1, &text(0, Channel::Internal, false, true, ""), &mut buffer);
    assert_eq!(sum.to_string(), "xxh3-128-sum:29f6b4a43e0fec848bec1ce32a0d3668");
    assert_eq!(sum.to_string().parse(), Ok(sum));
    for bad in ["", "sha256:00", "xxh3-128-sum:12", "xxh3-128-sum:+2345678901234567890123456789012"] {
        assert_eq!(bad.parse::<LineChecksum>(), Err(BadLineChecksum), "{bad}");
    }
}

#[test]
fn result_is_described() {
    let mut tally = LogTotals::default();
    let mut buffer = Vec::new();
    for n in 1..=12_034 {
        tally.add(numbered(n), &line(n, Channel::Stdout, "x"), &mut buffer);
    }
    tally.add(Origin::Unnumbered, &line(12_035, Channel::Internal, "by another"), &mut buffer);
    let sum = tally.session("s").map(|tally| tally.sum);
    let reported = ReportedTotals { lines: Some(12_034), sum };
    let compare =
        |tally: &LogTotals, reported, alone| Integrity::compare(tally, Some("s"), reported, alone).to_string();
    assert_eq!(compare(&tally, reported, true), "complete: 12,034 lines");
    assert!(compare(&tally, reported, false).starts_with("unknown"), "another worker's lines were not counted");
    assert!(compare(&tally, ReportedTotals::default(), true).starts_with("unknown"));
    assert!(Integrity::compare(&tally, None, ReportedTotals::default(), true).to_string().starts_with("unknown"));
    let uncounted = Integrity::compare(&tally, None, reported, true);
    assert_eq!(uncounted.state, IntegrityState::Unknown, "lines without numbers were not counted");
    assert_eq!(uncounted.to_string(), "unknown: the worker reported 12,034 lines, but their origin is not known");
    let fewer = ReportedTotals { lines: Some(12_035), ..reported };
    let wrong = "not what the worker sent: the worker sent 12,035 lines, but the log has 12,034 lines";
    assert_eq!(compare(&tally, fewer, true), wrong);
    let other = ReportedTotals { sum: Some(LineChecksum(7)), ..reported };
    assert!(compare(&tally, other, true).starts_with("not what the worker sent: the 12,034 lines stored"));

    let mut skipped = tally.clone();
    skipped.add(numbered(12_035), &line(12_036, Channel::Internal, "[1500 messages skipped]"), &mut buffer);
    let reported = ReportedTotals { lines: Some(12_035), sum: skipped.session("s").map(|tally| tally.sum) };
    let expected = "incomplete: 1,500 lines missing: 1,500 lines skipped by the worker at line 12,036";
    assert_eq!(compare(&skipped, reported, true), expected);
    let altered = ReportedTotals { sum, ..reported };
    assert!(compare(&skipped, altered, true).starts_with("not what"), "the sum holds beside skipped lines");

    let mut lost = tally.clone();
    lost.add(Origin::Unnumbered, &line(12_036, Channel::Internal, "[3 messages lost in transit]"), &mut buffer);
    let reported = ReportedTotals { lines: Some(12_037), sum: Some(LineChecksum(9)) };
    let expected = "incomplete: 3 lines missing: 3 lines lost in transit at line 12,036";
    assert_eq!(compare(&lost, reported, true), expected);
    assert!(compare(&lost, ReportedTotals { lines: Some(12_038), ..reported }, true).starts_with("not what"));

    let mut old = tally;
    old.add_unknown(1);
    assert!(compare(&old, reported, true).starts_with("unknown"), "lines of an earlier version cannot be verified");
}

#[test]
fn merged_parts_equal_the_whole() {
    let mut buffer = Vec::new();
    let (mut whole, mut first, mut second) = (LogTotals::default(), LogTotals::default(), LogTotals::default());
    for n in 1..=50 {
        let text = if n % 7 == 0 { "[2 messages skipped]" } else { "x" };
        let line = line(n, Channel::Internal, text);
        whole.add(numbered(n), &line, &mut buffer);
        if n < 20 { &mut first } else { &mut second }.add(numbered(n), &line, &mut buffer);
    }
    first.merge(&second);
    assert_eq!(first, whole);
}
