//! Whether a log is what its worker sent: what lines add up to, and what came of comparing it.
//!
//! # The sum of lines
//!
//! ```text
//! sum  =  SUM over lines  XXH3-128( seq (u64) piece (u32) time (u64) channel (u8) flags (u8) text )   mod 2^128
//! ```
//!
//! Numbers are little-endian. `seq` is the line's number in its session, from 1; `piece` is 0 (see
//! below); `time` is in milliseconds since 1970, what is finer cut off; `channel` is 0 for stdout, 1
//! for stderr, 2 for internal; `flags` is 1 for `partial` plus 2 for `lossy`; `text` is UTF-8 without
//! its newline, as sent. It is written `xxh3-128-sum:` and 32 hexadecimal digits, the most
//! significant first. A line that the server cuts, being over `line_bytes_max`, counts as its pieces:
//! `piece` 0, 1, 2 and so on under one `seq`, all but the last with `partial`. A line that is sent
//! without a time cannot be summed.
//!
//! A sum, and not a chain: each line is bound to its place by its number, so the sum tells as much,
//! and it can be taken up after a restart, by parts, in any order, beside lines of others. It finds
//! what was lost, doubled, swapped or altered by accident between two programs that trust each other.
//! It is no signature: whoever may write a log can make another with the same sum. What was sealed is
//! held by the SHA-256 of the file.

mod sum;
mod tally;
mod verdict;

pub use sum::{BadLineSum, LineSum, Said};
pub use tally::{Missing, SessionTally, Tally};
pub use verdict::{Integrity, IntegrityState};

/// Gaps that are listed; the lines of the others are counted.
const GAPS_MAX: usize = 16;

#[cfg(test)]
mod tests;
