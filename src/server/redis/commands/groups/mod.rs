//! Consumer groups: XGROUP, XREADGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM.

mod xack;
mod xautoclaim;
mod xclaim;
mod xgroup;
mod xpending;
mod xreadgroup;

use super::{Refusal, ids};
use crate::tasks::keys::{GroupError, GroupResult};

pub(in crate::server::redis) use xack::xack;
pub(in crate::server::redis) use xautoclaim::xautoclaim;
pub(in crate::server::redis) use xclaim::xclaim;
pub(in crate::server::redis) use xgroup::{creates, xgroup};
pub(in crate::server::redis) use xpending::xpending;
pub(in crate::server::redis) use xreadgroup::xreadgroup;

/// What a call on a group gave; `missing` says in the command's words that there is no key or group.
fn found<T>(done: GroupResult<T>, missing: impl FnOnce() -> Refusal) -> Result<T, Refusal> {
    done?.map_err(|error| match error {
        GroupError::NoKey | GroupError::NoGroup => missing(),
        GroupError::Exists => Refusal::Static("BUSYGROUP Consumer Group name already exists"),
        GroupError::NameTooLong => Refusal::Text(format!("ERR {error}")),
    })
}

/// There is no such group of a key that is there.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> Refusal {
    let (key, group) = (ids::until_nul(key), ids::until_nul(group));
    let text = [b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"];
    Refusal::Bytes(text.concat())
}

/// There is no such key, or no such group of it.
fn no_key_or_group(key: &[u8], group: &[u8], where_: &str) -> Refusal {
    let (key, group) = (ids::until_nul(key), ids::until_nul(group));
    let text = [b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'", where_.as_bytes()];
    Refusal::Bytes(text.concat())
}

/// The shortest time an entry must have waited, in milliseconds.
fn idle_ms_min(text: &[u8], command: &str) -> Result<u64, Refusal> {
    let invalid = || Refusal::Text(format!("ERR Invalid min-idle-time argument for {command}"));
    ids::plain_integer(text).ok_or_else(invalid).map(|ms| u64::try_from(ms).unwrap_or(0))
}
