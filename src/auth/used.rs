//! `tokens.used.json`: when each token was used last. Written by the server alone, beside the requests, at
//! most once a minute for a token; what a kill loses of it is no harm.
//!
//! ```text
//! {"ci":"2026-05-09T14:23:01.000Z"}
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Keyring, TokenName};
use crate::model::Timestamp;

/// The file, in the data folder.
const FILE: &str = "tokens.used.json";
/// The last use of a token is written this long after it was written before, at the soonest.
const INTERVAL_MS: u64 = 60_000;

/// When tokens were used last, by name.
pub(super) type Used = BTreeMap<TokenName, Timestamp>;

/// What the file says; nothing if there is none, or it is none of ours.
pub(super) fn read(data: &Path) -> Used {
    let text = match std::fs::read(data.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Used::new(),
        Err(error) => {
            tracing::warn!(%error, "{FILE} cannot be read");
            return Used::new();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "{FILE} cannot be understood and is written anew");
        Used::new()
    })
}

/// Takes in the uses that are due; true if there is something to write.
pub(super) fn take(used: &mut Used, keyring: &Keyring, all: bool) -> bool {
    let mut changed = false;
    for held in keyring.all() {
        let now = held.used_ms.load(Ordering::Relaxed);
        let written = used.get(&held.name).map_or(0, |at| at.as_millis());
        if now > written && (all || now - written >= INTERVAL_MS) {
            used.insert(held.name.clone(), Timestamp::from_millis(now));
            changed = true;
        }
    }
    changed
}

/// Writes the file.
pub(super) fn write(data: &Path, used: &Used) {
    let written = serde_json::to_vec(used).map_err(io::Error::from);
    if let Err(error) = written.and_then(|bytes| super::file::replace(&data.join(FILE), &bytes, false)) {
        tracing::warn!(%error, "{FILE} cannot be written");
    }
}
