//! Any text for a cursor, an entry id, a task's id: it is refused, or it is read, and then the text
//! that is made of it is read as the same.

use std::fmt::Display;
use std::str::FromStr;

use tasktail::model::{Cursor, EntryId, RunId, TaskId, Timestamp};

fn again<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let Ok(same) = value.to_string().parse::<T>() else { panic!("{value}") };
    assert_eq!(same, value);
}

/// Holds what is said above for these bytes.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    again::<Cursor>(text);
    again::<EntryId>(text);
    again::<TaskId>(text);
    again::<RunId>(text);
    again::<Timestamp>(text);
}
