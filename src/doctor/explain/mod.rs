//! Explains captured output: the events in it, rejected and duplicate ones, and likely causes.
//!
//! Pure: bytes in, findings out, each as soon as it is known. Text in a finding is unmodified: the
//! caller has to clean it for display.

mod causes;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::events::{EventNotation, ExtractedEvent, ExtractedItem, Extractor, ExtractorOptions, TOKEN, without_time};
use crate::model::{Event, EventError, events_in_line};

/// Maximum length of a text in a finding, in characters.
const EXCERPT_CHARS_MAX: usize = 120;
/// Maximum number of event ids remembered; duplicates of later events are not detected.
const IDS_MAX: usize = 1_000_000;

/// One finding; findings are reported in text order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum TextFinding {
    /// An event.
    Event {
        /// Number of its first line, from 1.
        line: u64,
        /// Offset in bytes.
        byte: u64,
        /// Description of its notation.
        form: String,
        /// The event as one line.
        summary: String,
    },
    /// A duplicate event.
    Deduplicated {
        /// Number of its first line.
        line: u64,
        /// Offset in bytes.
        byte: u64,
        /// Description of its notation.
        form: String,
        /// Line number of the first occurrence.
        of: u64,
        /// The event as one line.
        summary: String,
    },
    /// An event that cannot be parsed.
    Rejected {
        /// Number of its first line.
        line: u64,
        /// Offset in bytes.
        byte: u64,
        /// Stable name of the reason.
        reason: &'static str,
        /// Error message.
        detail: String,
        /// The rejected text.
        excerpt: String,
    },
    /// A line that contains the token but no event.
    Named {
        /// Line number.
        line: u64,
        /// Description of the line.
        what: &'static str,
        /// The text.
        excerpt: String,
    },
}

/// A summary of all findings, and their likely causes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Lines in the text.
    pub lines: u64,
    /// Distinct events.
    pub events: u64,
    /// Duplicate events.
    pub deduplicated: u64,
    /// Rejected events.
    pub rejected: u64,
    /// Rejected events by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Lines that contain the token but no event.
    pub named: u64,
    /// `LB_TASK` lines.
    pub tasks: u64,
    /// Likely causes and remedies, the most important first.
    pub causes: Vec<String>,
}

/// Evidence for the likely causes.
#[derive(Debug, Default)]
struct Evidence {
    /// Lines with the token in the name of an Ansible task.
    headings: u64,
    /// Lines that are an event without the token.
    bare: u64,
    /// Lines in which Ansible hides an output.
    hidden: u64,
    /// Rejected events without a required field, by field.
    missing: BTreeMap<&'static str, u64>,
    /// Rejected events that look like a dictionary printed by Python.
    python: u64,
    /// Rejected events that are truncated.
    cut: u64,
    /// Line of the last truncated event.
    cut_line: u64,
    /// The text ends inside a line.
    open_end: bool,
    /// Status events that report an end, and all status events.
    ended: u64,
    statuses: u64,
}

/// Explains a text that arrives in chunks of any size.
#[derive(Debug)]
pub struct Explainer {
    extractor: Extractor,
    report: Explanation,
    evidence: Evidence,
    /// The line of each event id.
    ids: HashMap<String, u64>,
}

impl Default for Explainer {
    fn default() -> Self {
        let options = ExtractorOptions { texts: true, ..ExtractorOptions::default() };
        Self {
            extractor: Extractor::new(options),
            report: Explanation::default(),
            evidence: Evidence::default(),
            ids: HashMap::new(),
        }
    }
}

impl Explanation {
    /// Reports whether events were found and none was rejected.
    pub fn is_ok(&self) -> bool {
        self.events > 0 && self.rejected == 0
    }
}

impl Explainer {
    /// Processes the next chunk, which may end anywhere, and passes findings to `each`.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(TextFinding)) {
        let Self { extractor, report, evidence, ids } = self;
        report.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        if let Some(last) = bytes.last() {
            evidence.open_end = *last != b'\n';
        }
        extractor.feed(bytes, &mut |found| record(found, report, evidence, ids, each));
    }

    /// Processes the end of the text and returns the summary.
    pub fn finish(mut self, each: &mut dyn FnMut(TextFinding)) -> Explanation {
        let Self { extractor, report, evidence, ids } = &mut self;
        report.lines += u64::from(evidence.open_end);
        extractor.finish(&mut |found| record(found, report, evidence, ids, each));
        self.report.causes = causes::likely(&self.report, &self.evidence);
        self.report
    }
}

fn record(
    found: ExtractedItem<'_>,
    report: &mut Explanation,
    evidence: &mut Evidence,
    ids: &mut HashMap<String, u64>,
    each: &mut dyn FnMut(TextFinding),
) {
    match found {
        ExtractedItem::Event(found) => {
            let id = found.event.view().event_id.map(|id| id.to_string());
            let known = id.as_ref().and_then(|id| ids.get(id).copied());
            if let Some(of) = known {
                report.deduplicated += 1;
                return each(duplicate(&found, of));
            }
            if let Some(id) = id.filter(|_| ids.len() < IDS_MAX) {
                ids.insert(id, found.line);
            }
            report.events += 1;
            evidence.add_event(&found.event);
            let summary = without_time(&found.event.view());
            each(TextFinding::Event { line: found.line, byte: found.offset, form: form(found.form), summary });
        }
        ExtractedItem::Echo { again: found, of } => {
            report.deduplicated += 1;
            each(duplicate(&found, of));
        }
        ExtractedItem::Rejected(rejected) => {
            report.rejected += 1;
            *report.reasons.entry(rejected.fault.reason()).or_default() += 1;
            evidence.add_rejected(&rejected.fault, &rejected.excerpt, rejected.line);
            each(TextFinding::Rejected {
                line: rejected.line,
                byte: rejected.offset,
                reason: rejected.fault.reason(),
                detail: rejected.fault.to_string(),
                excerpt: excerpt(&rejected.excerpt),
            });
        }
        ExtractedItem::Task(_) => report.tasks += 1,
        ExtractedItem::Text { line, text } => {
            evidence.hidden += u64::from(text.contains("the output has been hidden due to the fact that"));
            if text.contains(TOKEN) {
                report.named += 1;
                let what = describe_line(text);
                evidence.headings += u64::from(what == HEADING);
                each(TextFinding::Named { line, what, excerpt: excerpt(text.trim()) });
            } else if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
                events_in_line(text.as_bytes(), &mut |part| evidence.bare += u64::from(part.event.is_ok()));
            }
        }
    }
}

fn duplicate(found: &ExtractedEvent, of: u64) -> TextFinding {
    let summary = without_time(&found.event.view());
    TextFinding::Deduplicated { line: found.line, byte: found.offset, form: form(found.form), of, summary }
}

fn form(form: EventNotation) -> String {
    match form {
        EventNotation::Plain => "as printed".to_owned(),
        EventNotation::Escaped(1) => "in a JSON string".to_owned(),
        EventNotation::Escaped(levels) => format!("in a JSON string, {levels} levels of escaping"),
        EventNotation::Item => "in (item=...)".to_owned(),
        EventNotation::Yaml => "in a YAML value".to_owned(),
    }
}

const HEADING: &str = "a task name";

/// Classifies a line that contains the token but no event.
fn describe_line(text: &str) -> &'static str {
    let text = text.trim_start();
    if ["TASK [", "RUNNING HANDLER [", "PLAY ["].iter().any(|heading| text.starts_with(heading)) {
        HEADING
    } else if text.starts_with('+') || ["print(", "echo ", "\\n"].iter().any(|word| text.contains(word)) {
        "source code or a script"
    } else {
        "other text"
    }
}

fn excerpt(text: &str) -> String {
    if text.chars().count() <= EXCERPT_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(EXCERPT_CHARS_MAX - 1).chain(['…']).collect()
}

impl Evidence {
    fn add_event(&mut self, event: &Event) {
        let view = event.view();
        if !view.is_log() {
            self.statuses += 1;
            let word = view.new_state.as_deref().or(view.status.as_deref()).unwrap_or_default();
            let ended = ["done", "failed", "succeeded", "skipped", "stopped", "cancelled", "unreachable", "completed"];
            self.ended += u64::from(ended.contains(&word) || view.event_type.as_deref() == Some("run.completed"));
        }
    }

    fn add_rejected(&mut self, fault: &EventError, text: &str, line: u64) {
        match fault {
            EventError::MissingField(field) => *self.missing.entry(field).or_default() += 1,
            EventError::NotJson(why) => {
                let object = text.split_once('{').map_or("", |(_, object)| object.trim_start());
                if object.starts_with('\'') {
                    self.python += 1;
                } else if why.contains("EOF") {
                    self.cut += 1;
                    self.cut_line = line;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_only_the_token_are_described() {
        assert_eq!(describe_line("TASK [Poll LB_EVENT stream] ****"), HEADING);
        assert_eq!(describe_line(r#"  print(f"LB_EVENT {json.dumps(e)}")"#), "source code or a script");
        assert_eq!(describe_line("+ emit 'LB_EVENT {}'"), "source code or a script");
        assert_eq!(describe_line("waiting for LB_EVENT"), "other text");
    }
}
