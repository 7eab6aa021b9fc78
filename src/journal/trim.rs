//! Trimming: which entries go.

use crate::model::EntryId;

/// How much of a stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// At most so many entries stay (`MAXLEN =`).
    MaxLen(u64),
    /// At least so many entries stay, and whole blocks go (`MAXLEN ~`).
    AboutMaxLen(u64),
    /// Entries below this id go (`MINID =`).
    MinId(EntryId),
    /// Whole blocks below this id go (`MINID ~`).
    AboutMinId(EntryId),
    /// Entries up to this line number go: they are kept elsewhere.
    ThroughLine(u64),
}
