//! What is in captured output: which events were recognised in it, what was rejected and why, what
//! was there already, and the likely causes in words.
//!
//! Pure: bytes in, findings out, each as soon as it is known. All text in a finding is as it stood
//! there: whoever shows it cleans it.

mod causes;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::events::{EventNotation, ExtractedEvent, ExtractedItem, Extractor, ExtractorOptions, TOKEN, without_time};
use crate::model::{Event, EventError};

/// Characters of a text that a finding shows.
const EXCERPT_CHARS_MAX: usize = 120;
/// Event ids that are kept to know them again; of later ones it is not said.
const IDS_MAX: usize = 1_000_000;

/// One thing that was found, in the order of the text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// An event was recognised.
    Event {
        /// The line it begins on, from 1.
        line: u64,
        /// Bytes before it.
        byte: u64,
        /// How it stood there, in words.
        form: String,
        /// What it says.
        summary: String,
    },
    /// An event that was there already.
    Deduplicated {
        /// The line it begins on.
        line: u64,
        /// Bytes before it.
        byte: u64,
        /// How it stood there, in words.
        form: String,
        /// The line of the first.
        of: u64,
        /// What it says.
        summary: String,
    },
    /// It looks like an event and cannot be read.
    Rejected {
        /// The line it begins on.
        line: u64,
        /// Bytes before it.
        byte: u64,
        /// A stable word.
        reason: &'static str,
        /// The reason in words.
        detail: String,
        /// What stood there.
        excerpt: String,
    },
    /// A line that names the token and holds no event.
    Named {
        /// The line.
        line: u64,
        /// What it is taken for, in words.
        what: &'static str,
        /// What stood there.
        excerpt: String,
    },
}

/// All that was found, and what is likely behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Lines of the text.
    pub lines: u64,
    /// Events that were recognised, each once.
    pub events: u64,
    /// Events that were there already.
    pub deduplicated: u64,
    /// What looks like an event and cannot be read.
    pub rejected: u64,
    /// The same by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Lines that name the token and hold no event.
    pub named: u64,
    /// `LB_TASK` lines.
    pub tasks: u64,
    /// Likely causes and what to do, in words, the weightiest first.
    pub causes: Vec<String>,
}

/// What the causes are drawn from.
#[derive(Debug, Default)]
struct Clues {
    /// Lines that name the token in the name of an Ansible task.
    headings: u64,
    /// Lines that are an event without the token.
    bare: u64,
    /// Lines in which Ansible hides an output.
    hidden: u64,
    /// Rejected events without this field.
    missing: BTreeMap<&'static str, u64>,
    /// Rejected events that look like a dictionary printed by Python.
    python: u64,
    /// Rejected events that just end.
    cut: u64,
    /// The last of them is on this line.
    cut_line: u64,
    /// The text ends inside a line.
    open_end: bool,
    /// Events that say that something ended, and status events at all.
    ended: u64,
    statuses: u64,
}

/// Explains a text that comes in pieces of any size.
#[derive(Debug)]
pub struct Explainer {
    extractor: Extractor,
    told: Explained,
    clues: Clues,
    /// The line of each event id.
    ids: HashMap<String, u64>,
}

impl Default for Explainer {
    fn default() -> Self {
        let options = ExtractorOptions { texts: true, ..ExtractorOptions::default() };
        Self {
            extractor: Extractor::new(options),
            told: Explained::default(),
            clues: Clues::default(),
            ids: HashMap::new(),
        }
    }
}

impl Explained {
    /// Something was recognised and nothing rejected.
    pub fn is_well(&self) -> bool {
        self.events > 0 && self.rejected == 0
    }
}

impl Explainer {
    /// Takes the next bytes, which may end anywhere, and gives what was found.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Finding)) {
        let Self { extractor, told, clues, ids } = self;
        told.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        if let Some(last) = bytes.last() {
            clues.open_end = *last != b'\n';
        }
        extractor.feed(bytes, &mut |found| take(found, told, clues, ids, each));
    }

    /// The text has ended.
    pub fn finish(mut self, each: &mut dyn FnMut(Finding)) -> Explained {
        let Self { extractor, told, clues, ids } = &mut self;
        told.lines += u64::from(clues.open_end);
        extractor.finish(&mut |found| take(found, told, clues, ids, each));
        self.told.causes = causes::likely(&self.told, &self.clues);
        self.told
    }
}

fn take(
    found: ExtractedItem<'_>,
    told: &mut Explained,
    clues: &mut Clues,
    ids: &mut HashMap<String, u64>,
    each: &mut dyn FnMut(Finding),
) {
    match found {
        ExtractedItem::Event(found) => {
            let id = found.event.view().event_id.map(|id| id.to_string());
            let known = id.as_ref().and_then(|id| ids.get(id).copied());
            if let Some(of) = known {
                told.deduplicated += 1;
                return each(again(&found, of));
            }
            if let Some(id) = id.filter(|_| ids.len() < IDS_MAX) {
                ids.insert(id, found.line);
            }
            told.events += 1;
            clues.look_at(&found.event);
            let summary = without_time(&found.event.view());
            each(Finding::Event { line: found.line, byte: found.offset, form: form(found.form), summary });
        }
        ExtractedItem::Echo { again: found, of } => {
            told.deduplicated += 1;
            each(again(&found, of));
        }
        ExtractedItem::Rejected(rejected) => {
            told.rejected += 1;
            *told.reasons.entry(rejected.fault.reason()).or_default() += 1;
            clues.look_at_rejected(&rejected.fault, &rejected.excerpt, rejected.line);
            each(Finding::Rejected {
                line: rejected.line,
                byte: rejected.offset,
                reason: rejected.fault.reason(),
                detail: rejected.fault.to_string(),
                excerpt: excerpt(&rejected.excerpt),
            });
        }
        ExtractedItem::Task(_) => told.tasks += 1,
        ExtractedItem::Text { line, text } => {
            clues.hidden += u64::from(text.contains("the output has been hidden due to the fact that"));
            if text.contains(TOKEN) {
                told.named += 1;
                let what = named(text);
                clues.headings += u64::from(what == HEADING);
                each(Finding::Named { line, what, excerpt: excerpt(text.trim()) });
            } else if text.trim_start().starts_with('{') && Event::parse(text).is_ok() {
                clues.bare += 1;
            }
        }
    }
}

fn again(found: &ExtractedEvent, of: u64) -> Finding {
    let summary = without_time(&found.event.view());
    Finding::Deduplicated { line: found.line, byte: found.offset, form: form(found.form), of, summary }
}

fn form(form: EventNotation) -> String {
    match form {
        EventNotation::Plain => "as it was printed".to_owned(),
        EventNotation::Escaped(1) => "in a JSON string".to_owned(),
        EventNotation::Escaped(levels) => format!("in a JSON string, {levels} levels of escaping"),
        EventNotation::Item => "in (item=...)".to_owned(),
        EventNotation::Yaml => "in a YAML value".to_owned(),
    }
}

const HEADING: &str = "the name of a task";

/// What a line that names the token and holds no event is taken for.
fn named(text: &str) -> &'static str {
    let text = text.trim_start();
    if ["TASK [", "RUNNING HANDLER [", "PLAY ["].iter().any(|heading| text.starts_with(heading)) {
        HEADING
    } else if text.contains("print(") || text.contains("echo ") || text.contains("\\n") {
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

impl Clues {
    fn look_at(&mut self, event: &Event) {
        let view = event.view();
        if !view.is_log() {
            self.statuses += 1;
            let word = view.new_state.as_deref().or(view.status.as_deref()).unwrap_or_default();
            let ended = ["done", "failed", "succeeded", "skipped", "stopped", "cancelled", "unreachable", "completed"];
            self.ended += u64::from(ended.contains(&word) || view.event_type.as_deref() == Some("run.completed"));
        }
    }

    fn look_at_rejected(&mut self, fault: &EventError, text: &str, line: u64) {
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
    fn a_line_that_only_names_the_token_is_told_for_what_it_is() {
        assert_eq!(named("TASK [Poll LB_EVENT stream] ****"), HEADING);
        assert_eq!(named(r#"  print(f"LB_EVENT {json.dumps(e)}")"#), "source code or a script");
        assert_eq!(named("waiting for LB_EVENT"), "other text");
    }
}
