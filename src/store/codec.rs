//! The encoding of every record: `kind byte, version byte, bincode`.
//!
//! bincode uses variable-length integers, a size limit, and no trailing bytes. The crate's other entry
//! points write another format and are banned by lint.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// The kind of a stored value: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// Packed entries of a stream.
    Block = b'B',
    /// A stream's record.
    Stream = b'S',
    /// A task's record.
    Task = b'T',
    /// A consumer group, one of its consumers, or one of its pending entries.
    Group = b'G',
    /// A page of a stream's block index.
    Index = b'I',
    /// A run's summary.
    Run = b'R',
    /// The position of a block.
    Position = b'P',
}

/// The current version of most kinds: the second byte of a value.
pub const VERSION: u8 = 1;

/// The version of the store's format, which rises when an earlier version could not read what is stored. All lower
/// versions can be read. Since version 5 segments have the contents of blocks.
pub const STORE_FORMAT: u8 = 5;

/// Maximum bytes of a record.
const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Returns the bincode options of this crate.
pub fn options() -> impl Options + Copy {
    bincode::DefaultOptions::new().with_varint_encoding().with_limit(RECORD_BYTES_MAX)
}

/// Encodes a record as kind, [`VERSION`], body.
pub fn encode<T: Serialize>(kind: RecordKind, record: &T) -> Result<Vec<u8>, StoreError> {
    encode_as(kind, VERSION, record)
}

/// Encodes a record as kind, version, body.
pub fn encode_as<T: Serialize>(kind: RecordKind, version: u8, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![kind as u8, version];
    append(&mut bytes, record)?;
    Ok(bytes)
}

/// Appends a value's bincode to `bytes`.
pub fn append<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) -> Result<(), StoreError> {
    options()
        .serialize_into(bytes, value)
        .map_err(|error| StoreError::Damaged { at: "a record to be written".into(), what: error.to_string() })
}

/// Returns the body after kind and version.
///
/// # Errors
/// Kind or version differ, or the value is too short.
pub fn body_as(kind: RecordKind, version: u8, bytes: &[u8]) -> Result<&[u8], StoreError> {
    match bytes {
        [k, v, body @ ..] if *k == kind as u8 && *v == version => Ok(body),
        [k, v, ..] => Err(damaged(kind, &format!("it begins with {k:#04x} {v:#04x}"))),
        _ => Err(damaged(kind, "it is too short")),
    }
}

/// Decodes a record: the inverse of [`encode`].
pub fn decode<T: DeserializeOwned>(kind: RecordKind, bytes: &[u8]) -> Result<T, StoreError> {
    decode_as(kind, VERSION, bytes)
}

/// Decodes a record: the inverse of [`encode_as`].
pub fn decode_as<T: DeserializeOwned>(kind: RecordKind, version: u8, bytes: &[u8]) -> Result<T, StoreError> {
    options().deserialize(body_as(kind, version, bytes)?).map_err(|error| damaged(kind, &error.to_string()))
}

fn damaged(kind: RecordKind, what: &str) -> StoreError {
    StoreError::Damaged { at: format!("a value of kind {kind:?}"), what: what.to_owned() }
}

#[cfg(test)]
pub(crate) mod golden {
    use std::path::{Path, PathBuf};

    fn path(version: &str, name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data/formats").join(version).join(format!("{name}.hex"))
    }

    /// Returns the stored bytes of a format in this version.
    pub(crate) fn stored(version: &str, name: &str) -> Vec<u8> {
        let hex: String = std::fs::read_to_string(path(version, name)).unwrap().split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Compares `bytes` with `data/formats/VERSION/NAME.hex` and returns the contents of that file: a format
    /// must be written and read the same way forever. A changed format needs a new version.
    /// `MAKE_FORMATS_HEX` only creates missing files.
    pub(crate) fn check(version: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
        let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        if !path(version, name).exists() && std::env::var_os("MAKE_FORMATS_HEX").is_some() {
            std::fs::create_dir_all(path(version, name).parent().unwrap()).unwrap();
            std::fs::write(path(version, name), bytes.chunks(32).map(row).collect::<String>()).unwrap();
        }
        let expected = stored(version, name);
        assert!(expected == bytes, "{name} is now written as\n{}", bytes.chunks(32).map(row).collect::<String>());
        expected
    }
}
