//! The checksum of a session's lines; the module above defines it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Channel, LineText};

/// Name of the algorithm, the prefix of the digits.
const ALGORITHM: &str = "xxh3-128-sum:";

/// The checksum of lines of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineChecksum(pub(super) u128);

/// The error for a text that is not a checksum, or one of another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not `xxh3-128-sum:` and 32 hexadecimal digits")]
pub struct BadLineChecksum;

impl LineChecksum {
    /// Adds a line. `buffer` is overwritten; reusing it saves an allocation per line.
    pub fn add(&mut self, seq: u64, piece: u32, line: &LineText<'_>, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&seq.to_le_bytes());
        buffer.extend_from_slice(&piece.to_le_bytes());
        buffer.extend_from_slice(&line.timestamp.as_millis().to_le_bytes());
        let channel = match line.channel {
            Channel::Stdout => 0,
            Channel::Stderr => 1,
            Channel::Internal => 2,
        };
        buffer.extend_from_slice(&[channel, u8::from(line.partial) + 2 * u8::from(line.lossy)]);
        buffer.extend_from_slice(line.text.as_bytes());
        self.0 = self.0.wrapping_add(xxhash_rust::xxh3::xxh3_128(buffer));
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for LineChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{:032x}", self.0)
    }
}

impl FromStr for LineChecksum {
    type Err = BadLineChecksum;

    fn from_str(text: &str) -> Result<Self, BadLineChecksum> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(BadLineChecksum)?;
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadLineChecksum);
        }
        u128::from_str_radix(digits, 16).map(Self).map_err(|_| BadLineChecksum)
    }
}

/// The totals that a worker reports with its end message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedTotals {
    /// Number of lines it has numbered.
    pub lines: Option<u64>,
    /// Checksum of these lines.
    pub sum: Option<LineChecksum>,
}
