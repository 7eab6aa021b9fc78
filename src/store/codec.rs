//! The one way a record becomes bytes: `kind byte, version byte, bincode`.
//!
//! bincode with variable-length integers, a limit, and no trailing bytes; the other entry points of
//! that crate write another format and are banned by lint.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// What a stored value is: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Packed entries of a stream.
    Block = b'B',
    /// What is known of a stream besides its blocks.
    Stream = b'S',
    /// A task's record.
    Task = b'T',
}

/// The version that every kind is written in today: its second byte.
pub const VERSION: u8 = 1;

/// A record larger than this is not one of ours.
const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The options of the crate.
pub fn options() -> impl Options + Copy {
    bincode::DefaultOptions::new().with_varint_encoding().with_limit(RECORD_BYTES_MAX)
}

/// Kind, version, body.
pub fn encode<T: Serialize>(kind: Kind, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![kind as u8, VERSION];
    append(&mut bytes, record)?;
    Ok(bytes)
}

/// Adds a value's bincode to `bytes`.
pub fn append<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) -> Result<(), StoreError> {
    options()
        .serialize_into(bytes, value)
        .map_err(|error| StoreError::Damaged { at: "a record to be written".into(), what: error.to_string() })
}

/// The body behind kind and version, or what is wrong with them.
pub fn body(kind: Kind, bytes: &[u8]) -> Result<&[u8], StoreError> {
    match bytes {
        [k, VERSION, body @ ..] if *k == kind as u8 => Ok(body),
        [k, version, ..] => Err(damaged(kind, &format!("it begins with {k:#04x} {version:#04x}"))),
        _ => Err(damaged(kind, "it is too short")),
    }
}

/// The inverse of [`encode`].
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, StoreError> {
    options().deserialize(body(kind, bytes)?).map_err(|error| damaged(kind, &error.to_string()))
}

fn damaged(kind: Kind, what: &str) -> StoreError {
    StoreError::Damaged { at: format!("a value of kind {kind:?}"), what: what.to_owned() }
}

#[cfg(test)]
pub(crate) mod golden {
    use std::path::Path;

    /// Compares with `data/formats/v1/NAME.hex` and gives back what stands there, to be read: bytes
    /// that were written once are written and read the same way for ever. A new form needs a new
    /// version; `MAKE_FORMATS_HEX` only adds a file that is not there.
    pub(crate) fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/formats/v1").join(format!("{name}.hex"));
        let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        if !path.exists() && std::env::var_os("MAKE_FORMATS_HEX").is_some() {
            std::fs::write(&path, bytes.chunks(32).map(row).collect::<String>()).unwrap();
        }
        let kept: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
        let kept: Vec<u8> =
            (0..kept.len()).step_by(2).map(|at| u8::from_str_radix(&kept[at..at + 2], 16).unwrap()).collect();
        assert!(kept == bytes, "{name} is now written as\n{}", bytes.chunks(32).map(row).collect::<String>());
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryId;
    use crate::store::StreamRecord;

    #[test]
    fn the_form_of_a_stream_record_stays() {
        let record = StreamRecord {
            number: 70_000,
            birth: u64::MAX - 1,
            last_id: EntryId::new(1_778_336_581_000, 250),
            last_line: 12_345,
            first_line: 251,
            total_bytes: 1 << 33,
            total_skipped: 3,
            sessions: vec![("01JZ".into(), 12_000), ("s".into(), 0)],
            expires_ms: Some(1_778_336_600_000),
        };
        let kept = golden::check("stream_record", &encode(Kind::Stream, &record).unwrap());
        assert_eq!(decode::<StreamRecord>(Kind::Stream, &kept).unwrap(), record);
        assert!(decode::<StreamRecord>(Kind::Task, &kept).is_err(), "a value of another kind is told apart");
    }
}
