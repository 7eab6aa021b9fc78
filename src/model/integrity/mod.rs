//! Verifies that a log is what its worker sent, by comparing checksums of its lines.
//!
//! # The checksum
//!
//! ```text
//! sum  =  SUM over lines  XXH3-128( seq (u64) piece (u32) time (u64) channel (u8) flags (u8) text )   mod 2^128
//! ```
//!
//! Numbers are little-endian. `seq` is the line's number in its session, from 1; `piece` is 0 (see
//! below); `time` is in milliseconds since 1970, truncated; `channel` is 0 for stdout, 1 for stderr, 2
//! for internal; `flags` is 1 for `partial` plus 2 for `lossy`; `text` is UTF-8 without its newline, as
//! sent. The text form is `xxh3-128-sum:` and 32 hexadecimal digits, the most significant first. A
//! line over `line_bytes_max`, which the server splits, counts as its pieces: `piece` 0, 1, 2 and so on
//! under one `seq`, all but the last with `partial`. A line sent without a time cannot be included.
//!
//! It is a sum and not a hash chain. The sequence number binds each line to its position, so the sum
//! detects the same errors, and it can be resumed after a restart and computed by parts, in any order,
//! next to lines of other sessions. It detects lines that were lost, duplicated, swapped or altered by
//! accident between two programs that trust each other. It is not a signature: a program that may write
//! a log can produce another log with the same sum. Sealed logs are protected by the SHA-256 of the file.

mod checksum;
mod totals;
mod verification;

pub use checksum::{BadLineChecksum, LineChecksum, ReportedTotals};
pub use totals::{LogTotals, MissingLines, SessionTotals};
pub use verification::{Integrity, IntegrityState};

/// Gaps that are listed individually; the lines of further gaps are only counted.
const GAPS_MAX: usize = 16;

#[cfg(test)]
mod tests;
