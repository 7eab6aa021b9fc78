//! The Ansible result that a line belongs to, and the events already seen in it.
//!
//! A result starts with a head ([`super::head`]) like `ok: [h1] => ..` and continues over lines that are indented,
//! blank or start with `}`. Ansible prints one text in several places of it. A place is a *slot*: the text after
//! `(item=`, the nearest key (`msg`, `item`, `stdout`, `stdout_lines`) at its level of quoting, the title above
//! it, or the error message before the result of a failed task. A line outside of results, which may be a JSON
//! object, is a result of its own.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::head::{self, AdhocBody, BANNERS, DocumentHosts, ERROR, RESULTS, RunnerEvent, UnixyHead};
use super::keys::last_key;
use crate::events::identity::Fingerprint;
use crate::model::Event;

/// Maximum number of distinct events remembered per result; beyond it the memory is cleared.
const BLOCK_EVENTS_MAX: usize = 10_000;
/// Level of the keys in a list of results, above all levels of quoting.
const LEVEL_OF_RESULTS: u8 = 128;
/// Keys whose values are commands, not output.
const COMMANDS: [&[u8]; 3] = [b"cmd", b"argv", b"_raw_params"];
/// The delimiters of an item before a result.
static ITEM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("(item="));
static ITEM_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(") => {"));

/// A place in a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// No named place.
    #[default]
    Body,
    /// After `(item=`.
    Item,
    /// In the report of a failure.
    Error,
    /// In a command.
    Command,
    /// The value of a key, identified by its hash.
    Key(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BlockKind {
    #[default]
    None,
    /// From `[ERROR]: ` to the result it belongs to.
    Error,
    /// Lines of the playbook, quoted below an error.
    Excerpt,
    Result,
    /// A text with a title below a result.
    Section,
    /// A JSON document over several lines.
    Document,
    /// One line outside of these.
    Line,
}

/// The result around the current line.
#[derive(Debug, Default)]
pub(super) struct ResultBlock {
    kind: BlockKind,
    host: Vec<u8>,
    pub(super) slot: Slot,
    /// The item continues on the next line.
    item_open: bool,
    /// The current lines are in the list of a loop's results, each of which may have been printed before.
    in_results: bool,
    /// The result was printed as text, and may follow as JSON.
    is_text: bool,
    hosts: DocumentHosts,
    runner: Option<RunnerEvent>,
    /// The result is printed as YAML.
    pub(super) is_yaml: bool,
    counts: HashMap<(Fingerprint, Slot), usize>,
    firsts: HashMap<Fingerprint, Vec<FirstOccurrence>>,
    remembered: usize,
}

/// The first occurrence of an event in its result.
#[derive(Clone, Debug)]
pub(super) struct FirstOccurrence {
    pub(super) line: u64,
    pub(super) identified: Event,
}

impl ResultBlock {
    /// Updates the state with the next line, without colours.
    pub(super) fn track(&mut self, line: &[u8]) {
        match line.first() {
            None | Some(b' ' | b'\t' | b'}' | b']') => {
                if let Some(head) = head::unixy(line) {
                    self.unixy(head);
                } else if self.kind == BlockKind::Document {
                    self.document_line(line);
                } else if self.kind == BlockKind::Result && !self.is_yaml {
                    self.key_of(line);
                }
            }
            Some(_) => self.heading(line),
        }
    }

    /// Starts a line that belongs to no result, and has tokens.
    pub(super) fn begin_line(&mut self, line: &[u8]) {
        if self.kind == BlockKind::None {
            self.begin(BlockKind::Line, b"");
            self.runner = if line.starts_with(b"{") { head::runner_event(line) } else { None };
        }
    }

    /// Ends such a line.
    pub(super) fn end_line(&mut self) {
        if self.kind == BlockKind::Line {
            self.end_result();
        }
    }

    /// Returns the offset in the line after which everything was printed before.
    pub(super) fn printed_before(&self) -> usize {
        self.runner.map_or(usize::MAX, |runner| runner.results)
    }

    fn begin(&mut self, kind: BlockKind, host: &[u8]) {
        (self.kind, self.slot, self.is_yaml, self.item_open) = (kind, Slot::Body, false, false);
        (self.in_results, self.is_text, self.runner) = (false, false, None);
        self.host.clear();
        self.host.extend_from_slice(host);
    }

    fn document_line(&mut self, line: &[u8]) {
        if matches!(line.first(), Some(b'}' | b']')) {
            return self.end_result();
        }
        if let Some(host) = self.hosts.track(line) {
            self.clear_events();
            self.begin(BlockKind::Document, host);
        }
        self.key_of(line);
    }

    /// Reports whether the line is a quoted line of the playbook.
    pub(super) fn is_excerpt(&self) -> bool {
        self.kind == BlockKind::Excerpt
    }

    /// Returns the host of the current result.
    pub(super) fn host(&self) -> Option<&str> {
        let known = self.has_keys() && !self.host.is_empty();
        if known { std::str::from_utf8(&self.host).ok() } else { None }
    }

    /// Returns the level of keys outside of strings: those of the results in a list are others.
    fn base_level(&self) -> u8 {
        if self.in_results { LEVEL_OF_RESULTS } else { 0 }
    }

    /// Reports whether the text around a token may be JSON.
    fn has_keys(&self) -> bool {
        matches!(self.kind, BlockKind::Result | BlockKind::Document | BlockKind::Line)
    }

    /// Sets the slot to the key at the start of a line of JSON.
    fn key_of(&mut self, line: &[u8]) {
        let start = line.iter().position(|byte| *byte != b' ').unwrap_or(line.len());
        let Some(text) = line[start..].strip_prefix(b"\"") else { return };
        if let Some(end) = memchr::memchr(b'"', text)
            && text.get(end + 1) == Some(&b':')
        {
            let key = &text[..end];
            self.in_results |= key == b"results";
            self.slot = slot_of(key, self.base_level());
        }
    }

    /// Processes a line that starts in the first column.
    fn heading(&mut self, line: &[u8]) {
        if self.kind == BlockKind::Result && head::is_verbose(line) {
            return;
        }
        if let Some(head) = RESULTS.iter().find(|head| line.starts_with(head)) {
            let failed = head.starts_with(b"fa");
            if !(failed && matches!(self.kind, BlockKind::Error | BlockKind::Excerpt)) {
                self.clear_events();
            }
            self.begin(BlockKind::Result, head::host_in(&line[head.len()..]));
            self.item_open = item_in(line).is_some();
            if self.item_open {
                self.slot = Slot::Item;
            }
            self.end_of_head(line);
        } else if matches!(line.trim_ascii_end(), b"{" | b"[") {
            self.clear_events();
            self.begin(BlockKind::Document, b"");
            self.hosts = DocumentHosts::default();
        } else if let Some((host, body)) = head::adhoc(line) {
            self.adhoc(host, body);
        } else if line.starts_with(ERROR) {
            self.clear_events();
            self.begin(BlockKind::Error, b"");
            self.slot = Slot::Error;
        } else if self.kind == BlockKind::None {
            // A line between results.
        } else if BANNERS.iter().any(|banner| line.starts_with(banner)) {
            self.end_result();
        } else if matches!(self.kind, BlockKind::Error | BlockKind::Excerpt) {
            let shows = line.starts_with(b"Origin: ") || self.kind == BlockKind::Excerpt && line[0].is_ascii_digit();
            self.kind = if shows { BlockKind::Excerpt } else { BlockKind::Error };
        } else if let (BlockKind::Result | BlockKind::Section, Some(title)) = (self.kind, head::section(line)) {
            (self.kind, self.is_yaml, self.slot) = (BlockKind::Section, false, slot_of(title, 0));
        } else if self.item_open {
            self.end_of_head(line);
        } else if self.kind != BlockKind::Section {
            self.end_result();
        }
    }

    /// Processes a head of the unixy callback. The results of a loop are printed again in the result of its task.
    fn unixy(&mut self, head: UnixyHead<'_>) {
        if self.kind != BlockKind::Result || head == UnixyHead::Attempt {
            self.clear_events();
        }
        match head {
            UnixyHead::Json(host) => self.begin(BlockKind::Result, host),
            UnixyHead::Attempt => self.begin(BlockKind::Result, b""),
            UnixyHead::Text => self.end_result(),
        }
    }

    /// Processes the head of a result of the minimal or oneline callback.
    fn adhoc(&mut self, host: &[u8], body: AdhocBody) {
        let again = self.is_text && self.host == host && body == AdhocBody::Json;
        if !again {
            self.clear_events();
        }
        match body {
            AdhocBody::Raw => self.end_result(),
            AdhocBody::Json => self.begin(BlockKind::Result, host),
            AdhocBody::Outputs => {
                self.begin(BlockKind::Result, host);
                (self.is_text, self.slot) = (true, slot_of(b"(outputs)", 0));
            }
        }
    }

    /// Checks whether the item ends on this line, and whether YAML follows.
    fn end_of_head(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        let ends = line.ends_with(b"=> {") || line.ends_with(b")") || head::precedes_yaml(line);
        if ends || ITEM_END.find(line).is_some() {
            self.item_open = false;
        }
        self.is_yaml = head::precedes_yaml(line);
    }

    fn end_result(&mut self) {
        self.clear_events();
        self.begin(BlockKind::None, b"");
    }

    /// Updates the slot from `gap`, the text since the last event of the line or since its start; `level` is its
    /// level of quoting.
    pub(super) fn pass(&mut self, mut gap: &str, level: u8) {
        if !self.has_keys() {
            return;
        }
        if self.slot == Slot::Item {
            let Some((_, after)) = gap.split_once(") => ") else { return };
            (self.slot, gap) = (Slot::Body, after);
        }
        if self.is_yaml || self.is_text {
            return;
        }
        if let Some(runner) = &mut self.runner {
            runner.in_data |= gap.contains("\"event_data\"");
            if !runner.in_data {
                // It shows the result that follows as data.
                self.slot = Slot::Command;
                return;
            }
        }
        if let Some((key, escapes)) = last_key(gap) {
            self.slot = slot_of(key, self.base_level() | level.saturating_add(escapes));
        }
    }

    /// Sets the slot to a key of a result in YAML.
    pub(super) fn set_key(&mut self, key: &[u8]) {
        if self.kind == BlockKind::Result {
            self.slot = slot_of(key, 0);
        }
    }

    /// Returns the first occurrence of an event that was seen in another slot of the same result.
    pub(super) fn seen(&mut self, content: Fingerprint, slot: Slot) -> Option<FirstOccurrence> {
        if self.kind == BlockKind::None {
            return None;
        }
        let nth = self.counts.entry((content, slot)).or_default();
        *nth += 1;
        let nth = *nth;
        self.firsts.get(&content)?.get(nth - 1).cloned()
    }

    /// Remembers the first occurrence of an event.
    pub(super) fn remember(&mut self, content: Fingerprint, line: u64, identified: &Event) {
        if self.kind == BlockKind::None {
            return;
        }
        if self.remembered >= BLOCK_EVENTS_MAX {
            self.clear_events();
        }
        self.remembered += 1;
        self.firsts.entry(content).or_default().push(FirstOccurrence { line, identified: identified.clone() });
    }

    fn clear_events(&mut self) {
        if self.remembered > 0 || !self.counts.is_empty() {
            self.counts.clear();
            self.firsts.clear();
            self.remembered = 0;
        }
    }
}

/// Returns the offset of the item in a line.
pub(super) fn item_in(line: &[u8]) -> Option<usize> {
    ITEM.find(line).map(|at| at + ITEM.needle().len())
}

/// Reports whether the context of a line is independent of the lines before it.
pub(super) fn resets_context(line: &[u8]) -> bool {
    let is = |head: &&[u8]| line.starts_with(head);
    let first = line.first().copied().unwrap_or(b' ');
    !matches!(first, b' ' | b'\t' | b'}')
        && (BANNERS.iter().any(is)
            || line.starts_with(ERROR)
            // A failed result belongs to the report before it.
            || RESULTS.iter().any(|head| is(head) && !head.starts_with(b"fa")))
}

/// Returns the slot of a key at a level of quoting.
fn slot_of(key: &[u8], level: u8) -> Slot {
    if COMMANDS.contains(&key) {
        return Slot::Command;
    }
    let mut hasher = DefaultHasher::new();
    (key, level).hash(&mut hasher);
    Slot::Key(hasher.finish())
}
