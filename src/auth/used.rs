//! `tokens.used.json`: the time of each token's last use. Only the server writes it, in the background, at
//! most once a minute per token. Losing recent updates in a crash does no harm.
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
/// Minimum interval between two recorded uses of a token.
const INTERVAL_MS: u64 = 60_000;

/// The time of last use of each token, by name.
pub(super) type LastUsed = BTreeMap<TokenName, Timestamp>;

/// Reads the file. Returns an empty map if the file is missing or invalid.
pub(super) fn read(data: &Path) -> LastUsed {
    let text = match std::fs::read(data.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return LastUsed::new(),
        Err(error) => {
            tracing::warn!(%error, "failed to read {FILE}");
            return LastUsed::new();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to parse {FILE}; starting a new one");
        LastUsed::new()
    })
}

/// Updates `used` with the uses that are due, or with all. Returns whether anything has changed.
pub(super) fn update(used: &mut LastUsed, keyring: &Keyring, all: bool) -> bool {
    let mut changed = false;
    for token in keyring.all() {
        let now = token.used_ms.load(Ordering::Relaxed);
        let written = used.get(&token.name).map_or(0, |at| at.as_millis());
        if now > written && (all || now - written >= INTERVAL_MS) {
            used.insert(token.name.clone(), Timestamp::from_millis(now));
            changed = true;
        }
    }
    changed
}

/// Writes the file.
pub(super) fn write(data: &Path, used: &LastUsed) {
    let written = serde_json::to_vec(used).map_err(io::Error::from);
    if let Err(error) = written.and_then(|bytes| super::file::replace(&data.join(FILE), &bytes, false)) {
        tracing::warn!(%error, "failed to write {FILE}");
    }
}
