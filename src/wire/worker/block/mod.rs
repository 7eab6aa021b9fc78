//! The binary message `log_block`: many numbered lines of one task.
//!
//! ```text
//! 0xB1 0x01   varint: bytes of the header   header (JSON)   body
//! header      {"work_request_id":42,"first_seq":17,"count":2,"encoding":"raw","text_bytes":9}
//! body        count x [ varint: bytes of the text   flags (u8)   varint: zigzag(ms since the previous line) ]
//!             the texts, one after the other, UTF-8
//! ```
//!
//! A varint is LEB128: seven bits per byte, the lowest first, and the top bit of a byte is set if another
//! follows. The time of the first line counts from 1970; `zigzag(n)` is `2n` for `n >= 0`, else `-2n - 1`.
//! The flags are 0 for stdout, 1 for stderr or 2 for internal, plus 4 for `partial` and 8 for `lossy`. With
//! the encoding `zstd` the body is one zstd frame. The first byte is not valid UTF-8, so that no text message
//! looks like a block.
//!
//! The texts are checked once per block, and no line is copied or allocated.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{BlockLines, LogBlock};
pub use encode::{BlockEncoder, BlockEncoding};

use crate::model::Channel;
use crate::model::limits::MESSAGE_BYTES_MAX;

/// The first byte of a block, and the version of the format.
const MAGIC: [u8; 2] = [0xb1, 1];
/// Maximum bytes of a body before compression.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// Maximum encoded bytes of a line without its text.
const META_BYTES_MAX: usize = 14;
/// Flag of a line that continues in the next one.
const PARTIAL: u8 = 4;
/// Flag of a line in which bytes were replaced.
const LOSSY: u8 = 8;
/// The latest time of a line: the last millisecond of the year 9999.
const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// Returns whether a message is a block, of any version.
pub fn is_log_block(message: &[u8]) -> bool {
    message.first() == Some(&MAGIC[0])
}

/// Returns the flags of a line.
const fn flags_of(channel: Channel, partial: bool, lossy: bool) -> u8 {
    channel as u8 | if partial { PARTIAL } else { 0 } | if lossy { LOSSY } else { 0 }
}

/// Appends a varint.
fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// Removes a varint from the start of `bytes`; `None` if it is cut off or does not fit 64 bits.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        n |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// Maps small negative and positive numbers to small numbers.
const fn zigzag(n: i64) -> u64 {
    (n.cast_unsigned() << 1) ^ (n >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
const fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}
