//! The sections and annotations of a log, as clients see them.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Maximum number of sections of an outline.
pub(super) const SECTIONS_MAX: usize = 2_000;
/// Maximum number of annotations of an outline.
pub(super) const ANNOTATIONS_MAX: usize = 1_000;
/// Maximum characters of a title or a message.
const TEXT_CHARS_MAX: usize = 400;

/// A section of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Its first line, the one with the title.
    pub from: u64,
    /// Its last line, once it has ended.
    pub to: Option<u64>,
    /// Time of its first line.
    pub started: Timestamp,
    /// Time of its last line, once it has ended.
    pub ended: Option<Timestamp>,
    /// It has not ended.
    pub open: bool,
    /// Number of sections around it.
    pub level: usize,
    /// Errors in it, and in the sections inside it.
    pub errors: u64,
}

/// The severity of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// A remark.
    Notice,
}

/// A line of a log that reports an error, a warning or a remark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The line.
    pub n: u64,
    /// Its severity.
    pub level: Severity,
    /// The format that it has: `github`, `compiler`, `pytest` and others.
    pub source: String,
    /// Its message.
    pub message: String,
    /// The source file that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_line: Option<u64>,
    /// The column in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

/// The outline of a log, up to a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlineView {
    /// The sections, in order of their first line.
    pub sections: Vec<Section>,
    /// The annotations, in order.
    pub annotations: Vec<Annotation>,
    /// Number of errors, including those that are not in `annotations`.
    pub errors: u64,
    /// Number of warnings, including those that are not in `annotations`.
    pub warnings: u64,
    /// The last line examined.
    pub scanned_to: u64,
    /// Whether there are more sections or annotations than the outline holds.
    pub truncated: bool,
}

/// Returns a text of a log within the maximum of a title or a message.
pub(super) fn cut(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
