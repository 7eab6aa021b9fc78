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
