//! Cursors: opaque names of a place in a journal, the same for page, terminal, SSE and HTTP.

use std::fmt;
use std::str::FromStr;

use super::EntryId;

/// Which log a cursor speaks of: the journal's birth and the opening of the store it was read in.
///
/// A journal that was removed and made anew has another `birth`. A new `opening` matters only to a
/// cursor that is ahead of what survived: such a reader is told `reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Random, given when the journal came into being.
    pub birth: u64,
    /// How many times the store has been opened.
    pub opening: u64,
}

/// A place in a journal: behind the entry it names.
///
/// As text `c1.BIRTH.OPENING.LINE.MS-SEQ`, numbers in hexadecimal but for the entry id. The text
/// is opaque to everyone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The log it belongs to.
    pub epoch: Epoch,
    /// The line number of the last line read; 0 before the first.
    pub n: u64,
    /// The id of the last entry read.
    pub id: EntryId,
}

/// A text that is no cursor of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cursor: pass one back as it came, or use from=N")]
pub struct BadCursor(String);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.birth, self.opening)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c1.{}.{:x}.{}", self.epoch, self.n, self.id)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let bad = || BadCursor(text.chars().take(64).collect());
        let hex = |part: Option<&str>| part.and_then(|p| u64::from_str_radix(p, 16).ok()).ok_or_else(bad);
        let mut parts = text.split('.');
        if parts.next() != Some("c1") {
            return Err(bad());
        }
        let epoch = Epoch { birth: hex(parts.next())?, opening: hex(parts.next())? };
        let n = hex(parts.next())?;
        let id = parts.next().and_then(|p| p.parse().ok()).ok_or_else(bad)?;
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { epoch, n, id })
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let cursor =
            Cursor { epoch: Epoch { birth: 0xfeed, opening: 3 }, n: 120, id: EntryId::new(1_778_336_581_000, 7) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "120", "c1.1.2.3", "c1.1.2.3.4-5.6", "c2.1.2.3.4-5", "c1.x.2.3.4-5"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
