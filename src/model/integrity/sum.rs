//! What the lines of a session add up to; the module above says of what exactly.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Channel, LineText};

/// The name of the algorithm, before the digits.
const ALGORITHM: &str = "xxh3-128-sum:";

/// What lines of one session add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineSum(pub(super) u128);

/// A text that is no sum, or one of another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not `xxh3-128-sum:` and 32 hexadecimal digits")]
pub struct BadLineSum;

impl LineSum {
    /// Adds a line. `buffer` is overwritten; it saves an allocation for each.
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

impl fmt::Display for LineSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{:032x}", self.0)
    }
}

impl FromStr for LineSum {
    type Err = BadLineSum;

    fn from_str(text: &str) -> Result<Self, BadLineSum> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(BadLineSum)?;
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadLineSum);
        }
        u128::from_str_radix(digits, 16).map(Self).map_err(|_| BadLineSum)
    }
}

/// What a worker says of its lines with its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// How many lines it has numbered.
    pub lines: Option<u64>,
    /// What they add up to.
    pub sum: Option<LineSum>,
}
