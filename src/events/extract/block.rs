//! The Ansible result that a line belongs to, and the events already seen in it.
//!
//! A result starts with a line like `ok: [h1] => ..` and continues over lines that are indented,
//! blank or start with `}`. Ansible prints one text in several places of it. A place is a *slot*:
//! the text after `(item=`, the nearest key (`msg`, `item`, `stdout`, `stdout_lines`), or the error
//! message before the result of a failed task.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use memchr::memrchr;

use crate::events::identity::Fingerprint;
use crate::model::Event;

/// Maximum number of distinct events remembered per result; beyond it the memory is cleared.
const BLOCK_EVENTS_MAX: usize = 10_000;
/// Keys whose values are commands, not output.
const COMMANDS: [&[u8]; 3] = [b"cmd", b"argv", b"_raw_params"];
/// Prefixes of a result's first line.
const RESULTS: [&[u8]; 8] = [
    b"ok: [",
    b"changed: [",
    b"failed: [",
    b"fatal: [",
    b"skipping: [",
    b"unreachable: [",
    b"rescued: [",
    b"FAILED - RETRYING: [",
];
/// Prefix of a failure report's first line.
const ERROR: &[u8] = b"[ERROR]: ";
/// Prefixes of lines that end a failure report.
const BANNERS: [&[u8]; 4] = [b"TASK [", b"PLAY ", b"RUNNING HANDLER [", b"..."];

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
}

/// The result around the current line.
#[derive(Debug, Default)]
pub(super) struct ResultBlock {
    kind: BlockKind,
    host: Vec<u8>,
    pub(super) slot: Slot,
    /// The item continues on the next line.
    item_open: bool,
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
            None | Some(b' ' | b'\t' | b'}') => {
                if self.kind == BlockKind::Result && !self.is_yaml {
                    self.key_of(line);
                }
            }
            Some(_) => self.heading(line),
        }
    }

    /// Reports whether the line is a quoted line of the playbook.
    pub(super) fn is_excerpt(&self) -> bool {
        self.kind == BlockKind::Excerpt
    }

    /// Returns the host of the current result.
    pub(super) fn host(&self) -> Option<&str> {
        let known = self.kind == BlockKind::Result && !self.host.is_empty();
        if known { std::str::from_utf8(&self.host).ok() } else { None }
    }

    /// Sets the slot to the key at the start of a line of JSON.
    fn key_of(&mut self, line: &[u8]) {
        let start = line.iter().position(|byte| *byte != b' ').unwrap_or(line.len());
        let Some(text) = line[start..].strip_prefix(b"\"") else { return };
        if let Some(end) = memchr::memchr(b'"', text)
            && text.get(end + 1) == Some(&b':')
        {
            self.slot = slot_of(&text[..end]);
        }
    }

    /// Processes a line that starts in the first column.
    fn heading(&mut self, line: &[u8]) {
        if let Some(head) = RESULTS.iter().find(|head| line.starts_with(head)) {
            let failed = head.starts_with(b"fa");
            if !(failed && matches!(self.kind, BlockKind::Error | BlockKind::Excerpt)) {
                self.clear_events();
            }
            self.kind = BlockKind::Result;
            self.host.clear();
            self.host.extend_from_slice(host_in(&line[head.len()..]));
            let item = item_in(line).is_some();
            self.slot = if item { Slot::Item } else { Slot::Body };
            self.is_yaml = false;
            self.item_open = item;
            self.end_of_head(line);
        } else if line.starts_with(ERROR) {
            self.clear_events();
            (self.kind, self.slot, self.item_open, self.is_yaml) = (BlockKind::Error, Slot::Error, false, false);
        } else if self.kind == BlockKind::None {
            // A line between results.
        } else if BANNERS.iter().any(|banner| line.starts_with(banner)) {
            self.end_result();
        } else if matches!(self.kind, BlockKind::Error | BlockKind::Excerpt) {
            let shows = line.starts_with(b"Origin: ") || self.kind == BlockKind::Excerpt && line[0].is_ascii_digit();
            self.kind = if shows { BlockKind::Excerpt } else { BlockKind::Error };
        } else if self.item_open {
            self.end_of_head(line);
        } else {
            self.end_result();
        }
    }

    /// Checks whether the item ends on this line, and whether YAML follows.
    fn end_of_head(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        let ends = line.ends_with(b"=> {") || line.ends_with(b"=>") || line.ends_with(b")");
        if ends || ITEM_END.find(line).is_some() {
            self.item_open = false;
        }
        self.is_yaml = line.ends_with(b"=>");
    }

    fn end_result(&mut self) {
        self.clear_events();
        (self.kind, self.slot, self.item_open, self.is_yaml) = (BlockKind::None, Slot::Body, false, false);
    }

    /// Updates the slot from `gap`, the text since the last event of the line or since its start.
    pub(super) fn pass(&mut self, mut gap: &str) {
        if self.kind != BlockKind::Result {
            return;
        }
        if self.slot == Slot::Item {
            let Some((_, after)) = gap.split_once(") => ") else { return };
            (self.slot, gap) = (Slot::Body, after);
        }
        if self.is_yaml {
            return;
        }
        let mut before = gap;
        while let Some(colon) = memrchr(b':', before.as_bytes()) {
            before = &before[..colon];
            // An escaped quote is part of a text, not its end.
            if let Some(head) = before.strip_suffix('"').filter(|head| !head.ends_with('\\'))
                && let Some(quote) = memrchr(b'"', head.as_bytes())
            {
                self.slot = slot_of(&head.as_bytes()[quote + 1..]);
                return;
            }
        }
    }

    /// Sets the slot to a key of a result in YAML.
    pub(super) fn set_key(&mut self, key: &[u8]) {
        if self.kind == BlockKind::Result {
            self.slot = slot_of(key);
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

fn slot_of(key: &[u8]) -> Slot {
    if COMMANDS.contains(&key) {
        return Slot::Command;
    }
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    Slot::Key(hasher.finish())
}

/// Returns the first host of `h1 -> other] ..`.
fn host_in(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b']', text).unwrap_or(0);
    let host = &text[..end];
    memmem::find(host, b" -> ").map_or(host, |end| &host[..end])
}
