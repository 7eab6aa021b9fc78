//! The outline of a log: its sections, and its errors and warnings.
//!
//! An outline is built line by line, so that of a running task grows with its log. Its size is bounded: after
//! 2,000 sections and 1,000 annotations it only counts.

use super::recognizers::{Finding, Recognizers};
use super::rows::NdjsonRow;
use super::sections::SectionTracker;
use super::text::displayed;
use super::view::{ANNOTATIONS_MAX, Annotation, OutlineView, Severity, cut};
use crate::model::{Channel, Timestamp};

/// Maximum bytes of a row that is examined. Longer rows are data, not messages.
const ROW_BYTES_MAX: usize = 8 * 1024;
/// Maximum number of rows of one record that are examined.
const RECORD_ROWS_MAX: usize = 500;

/// A builder of the outline of a log.
#[derive(Debug, Default)]
pub struct Outline {
    recognizers: Recognizers,
    sections: SectionTracker,
    annotations: Vec<Annotation>,
    errors: u64,
    warnings: u64,
    truncated: bool,
    /// Number and time of the last line.
    last: (u64, Timestamp),
}

impl Outline {
    /// Adds the next line of the log.
    pub fn push(&mut self, line: &NdjsonRow<'_>) {
        self.push_shown(line, &displayed(&line.line));
    }

    /// Adds the next line, whose displayed text is known.
    pub(super) fn push_shown(&mut self, line: &NdjsonRow<'_>, shown: &str) {
        self.last = (line.n, line.timestamp);
        if line.channel == Channel::Internal {
            return;
        }
        self.sections.push_raw(line);
        for text in shown.split('\n').take(RECORD_ROWS_MAX).filter(|text| text.len() <= ROW_BYTES_MAX) {
            self.sections.push(line, text);
            if let Some(finding) = self.recognizers.examine(line.n, text) {
                self.add(finding);
            }
        }
    }

    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::New(annotation) => {
                match annotation.level {
                    Severity::Error => {
                        self.errors += 1;
                        self.sections.count_error();
                    }
                    Severity::Warning => self.warnings += 1,
                    Severity::Notice => {}
                }
                keep(&mut self.annotations, &mut self.truncated, annotation);
            }
            Finding::Place(place) => {
                if let Some(last) = self.annotations.last_mut().filter(|last| last.file.is_none()) {
                    place.apply(last);
                }
            }
            Finding::Detail(text) => {
                if let Some(last) = self.annotations.last_mut() {
                    last.message = cut(&format!("{} {text}", last.message));
                }
            }
            Finding::Ignored => {
                if let Some(last) = self.annotations.last_mut().filter(|last| last.level == Severity::Error) {
                    last.level = Severity::Notice;
                    self.errors -= 1;
                    self.sections.forget_error();
                }
            }
        }
    }

    /// Returns the number of errors and of warnings so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.errors, self.warnings)
    }

    /// Returns the number of the last line that was added.
    pub fn scanned_to(&self) -> u64 {
        self.last.0
    }

    /// Returns the outline so far. If the task has `ended`, its open sections end with the last line.
    pub fn view(&self, ended: bool) -> OutlineView {
        let mut sections = self.sections.sections().to_vec();
        if ended {
            for section in sections.iter_mut().filter(|section| section.open) {
                section.open = false;
                section.to = Some(self.last.0);
                section.ended = Some(self.last.1);
            }
        }
        OutlineView {
            sections,
            annotations: self.annotations.clone(),
            errors: self.errors,
            warnings: self.warnings,
            scanned_to: self.last.0,
            truncated: self.truncated || self.sections.is_truncated(),
        }
    }
}

/// Keeps an annotation. In place of the last warning or remark an error is kept also when the outline is full.
fn keep(annotations: &mut Vec<Annotation>, truncated: &mut bool, annotation: Annotation) {
    if annotations.len() < ANNOTATIONS_MAX {
        annotations.push(annotation);
        return;
    }
    *truncated = true;
    if annotation.level == Severity::Error
        && let Some(at) = annotations.iter().rposition(|kept| kept.level != Severity::Error)
    {
        annotations.remove(at);
        annotations.push(annotation);
    }
}
