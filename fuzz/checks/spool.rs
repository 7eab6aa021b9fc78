//! Any bytes for a segment of a worker's spool: its whole records are those of its whole part, and no
//! byte behind them counts.

use tasktail::worker::spool::scan_segment;

/// Holds what is said above for these bytes.
pub(crate) fn check(bytes: &[u8]) {
    let (lines, whole) = scan_segment(bytes);
    assert!(whole <= bytes.len());
    assert_eq!(scan_segment(bytes.get(..whole).unwrap_or_default()), (lines, whole));
}
