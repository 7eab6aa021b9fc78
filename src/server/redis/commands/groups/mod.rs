//! Consumer groups: XGROUP, XREADGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM.

mod xack;
mod xautoclaim;
mod xclaim;
mod xgroup;
mod xpending;
mod xreadgroup;

use super::{CommandError, CommandResult, ids};
use crate::tasks::keys::{GroupError, GroupResult};

pub(in crate::server::redis) use xack::xack;
pub(in crate::server::redis) use xautoclaim::xautoclaim;
pub(in crate::server::redis) use xclaim::xclaim;
pub(in crate::server::redis) use xgroup::{key_to_create, xgroup};
pub(in crate::server::redis) use xpending::xpending;
pub(in crate::server::redis) use xreadgroup::xreadgroup;

/// Converts the result of a group operation. `missing` creates the command's error for a missing key
/// or group.
fn map_group_error<T>(done: GroupResult<T>, missing: impl FnOnce() -> CommandError) -> CommandResult<T> {
    done?.map_err(|error| match error {
        GroupError::NoKey | GroupError::NoGroup => missing(),
        GroupError::Exists => CommandError::Static("BUSYGROUP Consumer Group name already exists"),
        GroupError::NameTooLong => CommandError::Text(format!("ERR {error}")),
    })
}

/// Creates the error for a missing group of an existing key.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (ids::until_nul(key), ids::until_nul(group));
    let text = [b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"];
    CommandError::Bytes(text.concat())
}

/// Creates the error for a missing key or group.
fn no_key_or_group(key: &[u8], group: &[u8], suffix: &str) -> CommandError {
    let (key, group) = (ids::until_nul(key), ids::until_nul(group));
    let text = [b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'", suffix.as_bytes()];
    CommandError::Bytes(text.concat())
}

/// Parses the minimum idle time of an entry, in milliseconds.
fn idle_ms_min(text: &[u8], command: &str) -> CommandResult<u64> {
    let invalid = || CommandError::Text(format!("ERR Invalid min-idle-time argument for {command}"));
    ids::plain_integer(text).ok_or_else(invalid).map(|ms| u64::try_from(ms).unwrap_or(0))
}
