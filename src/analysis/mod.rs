//! The analysis of log text: pure functions over lines, without any I/O.
//!
//! - `text`: the displayed text of a line. `pattern`: search patterns over it. `rows`: NDJSON rows, scanned without
//!   decoding those that cannot match.
//! - `outline`: the sections and annotations of a log, which `view` defines. `recognizers`: the formats of errors that it knows.
//! - `normalize`: a line without what changes from run to run. `diff`: the lines that one log has and another has not.
//! - `explain`: the most telling lines of a log, within a number of bytes.
//!
//! All text is hostile: every state and every result has a bound.

mod diff;
mod explain;
mod normalize;
mod outline;
mod pattern;
mod recognizers;
mod rows;
mod sections;
mod text;
mod view;

pub use diff::{DIFF_LINES_MAX, DiffLine, LineSet, errors_first};
pub use explain::{BUDGET_MIN, LogExplainer, Reason, TellingLine};
pub use normalize::normalize;
pub use outline::Outline;
pub use pattern::{LogPattern, PatternError, PatternLimits};
pub use rows::{ExaminedRow, NdjsonRow, RowScan, rows};
pub use text::displayed;
pub use view::{Annotation, OutlineView, Section, Severity};
