//! The position of a block in a segment: the value that sled stores for a block.
//!
//! ```text
//! 'P' 1  segment (u64)  offset (u64)  length (u32)  CRC-32 of the contents (u32)        all bincode
//! ```

use serde::{Deserialize, Serialize};
use sled::IVec;

use super::StoreError;
use super::codec::{self, RecordKind};

/// The location of a block's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlockPosition {
    /// Number of the segment.
    pub(super) segment: u64,
    /// Offset of the contents in the file.
    pub(super) offset: u64,
    /// Length of the contents.
    pub(super) bytes: u32,
    /// CRC-32 of the contents.
    pub(super) crc: u32,
}

impl BlockPosition {
    pub(super) fn encode(&self) -> Result<IVec, StoreError> {
        Ok(codec::encode(RecordKind::Position, self)?.into())
    }

    /// Decodes the value of a block's row; `None` if it is not a position, but the contents, as format 4 and earlier
    /// stored them.
    pub(super) fn decode(value: &[u8]) -> Result<Option<Self>, StoreError> {
        match value.first() {
            Some(kind) if *kind == RecordKind::Position as u8 => codec::decode(RecordKind::Position, value).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_format_is_stable() {
        let position = BlockPosition { segment: 300, offset: 70_000, bytes: 6_400, crc: 0xDEAD_BEEF };
        let kept = codec::golden::check("v5", "block_position", &position.encode().unwrap());
        assert_eq!(BlockPosition::decode(&kept).unwrap(), Some(position));
        assert_eq!(BlockPosition::decode(b"B\x02").unwrap(), None, "contents, as earlier versions stored them");
        assert!(BlockPosition::decode(b"P\x02").is_err(), "a later version is rejected");
    }
}
