//! Cursors: opaque positions in a journal, the same for the page, the terminal, SSE and HTTP.

use std::fmt;
use std::str::FromStr;

use super::EntryId;

/// The log that a cursor belongs to.
///
/// A journal that was deleted and created again has another `incarnation`. A new `generation` only
/// matters to a cursor that is ahead of the recovered data: its reader receives a `reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Random number chosen when the journal was created.
    pub incarnation: u64,
    /// Number of times the store had been opened.
    pub generation: u64,
}

/// The suffix of the id of an SSE stream's last event, see [`Cursor::at_end`].
const END: &str = ".end";

/// A position in a journal: after the entry it names.
///
/// Its text is `c1.INCARNATION.GENERATION.LINE.MS-SEQ`; all numbers but the entry id are hexadecimal.
/// The text is opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The log it belongs to.
    pub epoch: Epoch,
    /// Line number of the last line read; 0 before the first.
    pub n: u64,
    /// Id of the last entry read.
    pub id: EntryId,
}

/// The error for a text that is not a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cursor: pass one back as it came, or use from=N")]
pub struct BadCursor(String);

impl Cursor {
    /// Returns the text of this position for a reader that has received the end of the log too. As a cursor it is
    /// read like the position itself.
    pub fn at_end(&self) -> String {
        format!("{self}{END}")
    }

    /// Reports whether a cursor's text comes from [`Cursor::at_end`].
    pub fn is_at_end(text: &str) -> bool {
        text.ends_with(END)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.incarnation, self.generation)
    }
}

impl FromStr for Epoch {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let hex = |part: &str| u64::from_str_radix(part, 16).ok();
        let numbers = text.split_once('.').and_then(|(first, second)| Some((hex(first)?, hex(second)?)));
        let (incarnation, generation) = numbers.ok_or_else(|| BadCursor(text.chars().take(64).collect()))?;
        Ok(Self { incarnation, generation })
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
        let mut parts = text.strip_suffix(END).unwrap_or(text).split('.');
        if parts.next() != Some("c1") {
            return Err(bad());
        }
        let epoch = Epoch { incarnation: hex(parts.next())?, generation: hex(parts.next())? };
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
        super::text_form::serialize(self, serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text_form::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip() {
        let cursor = Cursor {
            epoch: Epoch { incarnation: 0xfeed, generation: 3 },
            n: 120,
            id: EntryId::new(1_778_336_581_000, 7),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert_eq!(cursor.epoch.to_string().parse(), Ok(cursor.epoch));
        assert!(Cursor::is_at_end(&cursor.at_end()) && !Cursor::is_at_end(&cursor.to_string()));
        assert_eq!(cursor.at_end().parse(), Ok(cursor));
        for bad in
            ["", "120", "c1.1.2.3.4-5.end.end", ".end", "c1.1.2.3", "c1.1.2.3.4-5.6", "c2.1.2.3.4-5", "c1.x.2.3.4-5"]
        {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
