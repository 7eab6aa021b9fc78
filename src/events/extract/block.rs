//! The result of an Ansible task that a line belongs to, and which events of it were seen.
//!
//! A result begins with a line like `ok: [h1] => ..` and goes on over lines that are indented, blank
//! or begin with `}`. Ansible prints one text in several places of it; a place is a *slot*: the words
//! behind `(item=`, the nearest key (`msg`, `item`, `stdout`, `stdout_lines`), or the error message
//! that stands before the result of what failed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use memchr::memrchr;

use crate::events::identity::Fingerprint;
use crate::model::Event;

/// Different events of one result that are remembered; then all of them are forgotten, and what
/// comes after counts anew.
const BLOCK_EVENTS_MAX: usize = 10_000;
/// Keys whose texts are commands, not what they printed.
const COMMANDS: [&[u8]; 3] = [b"cmd", b"argv", b"_raw_params"];
/// How lines that begin a result begin.
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
/// How lines that begin a failure's report begin.
const ERROR: &[u8] = b"[ERROR]: ";
/// How lines that end a failure's report begin.
const BANNERS: [&[u8]; 4] = [b"TASK [", b"PLAY ", b"RUNNING HANDLER [", b"..."];

/// What begins the words of an item, and what ends them before a result.
static ITEM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("(item="));
static ITEM_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(") => {"));

/// A place in a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// Not in a named place.
    #[default]
    Body,
    /// Behind `(item=`.
    Item,
    /// In the report of a failure.
    Error,
    /// In a command.
    Command,
    /// At a key, by its hash.
    Key(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    /// From `[ERROR]: ` to the result it is about.
    Error,
    /// Lines of the playbook, as they are printed below an error.
    Excerpt,
    Result,
}

/// Where the present line stands.
#[derive(Debug, Default)]
pub(super) struct Block {
    kind: Kind,
    host: Vec<u8>,
    pub(super) slot: Slot,
    /// The words behind `(item=` go on in the next line.
    item_open: bool,
    /// The result is printed as YAML.
    pub(super) is_yaml: bool,
    counts: HashMap<(Fingerprint, Slot), usize>,
    firsts: HashMap<Fingerprint, Vec<First>>,
    remembered: usize,
}

/// An event that was not yet seen in its block.
#[derive(Clone, Debug)]
pub(super) struct First {
    pub(super) line: u64,
    pub(super) identified: Event,
}

impl Block {
    /// Takes the next line, without colours.
    pub(super) fn track(&mut self, line: &[u8]) {
        match line.first() {
            None | Some(b' ' | b'\t' | b'}') => {
                if self.kind == Kind::Result && !self.is_yaml {
                    self.key_of(line);
                }
            }
            Some(_) => self.heading(line),
        }
    }

    /// Whether the line is one of the playbook, printed to show where something failed.
    pub(super) fn is_excerpt(&self) -> bool {
        self.kind == Kind::Excerpt
    }

    /// The host of the present result.
    pub(super) fn host(&self) -> Option<&str> {
        let known = self.kind == Kind::Result && !self.host.is_empty();
        if known { std::str::from_utf8(&self.host).ok() } else { None }
    }

    /// Remembers the key that a line of JSON begins with.
    fn key_of(&mut self, line: &[u8]) {
        let start = line.iter().position(|byte| *byte != b' ').unwrap_or(line.len());
        let Some(text) = line[start..].strip_prefix(b"\"") else { return };
        if let Some(end) = memchr::memchr(b'"', text)
            && text.get(end + 1) == Some(&b':')
        {
            self.slot = slot_of(&text[..end]);
        }
    }

    /// A line that begins at the first column.
    fn heading(&mut self, line: &[u8]) {
        if let Some(head) = RESULTS.iter().find(|head| line.starts_with(head)) {
            let failed = head.starts_with(b"fa");
            if !(failed && matches!(self.kind, Kind::Error | Kind::Excerpt)) {
                self.forget();
            }
            self.kind = Kind::Result;
            self.host.clear();
            self.host.extend_from_slice(host_in(&line[head.len()..]));
            let item = item_in(line).is_some();
            self.slot = if item { Slot::Item } else { Slot::Body };
            self.is_yaml = false;
            self.item_open = item;
            self.end_of_head(line);
        } else if line.starts_with(ERROR) {
            self.forget();
            (self.kind, self.slot, self.item_open, self.is_yaml) = (Kind::Error, Slot::Error, false, false);
        } else if self.kind == Kind::None {
            // As between all results.
        } else if BANNERS.iter().any(|banner| line.starts_with(banner)) {
            self.leave();
        } else if matches!(self.kind, Kind::Error | Kind::Excerpt) {
            let shows = line.starts_with(b"Origin: ") || self.kind == Kind::Excerpt && line[0].is_ascii_digit();
            self.kind = if shows { Kind::Excerpt } else { Kind::Error };
        } else if self.item_open {
            self.end_of_head(line);
        } else {
            self.leave();
        }
    }

    /// Whether the words of the item end on this line, and what comes after them.
    fn end_of_head(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        let ends = line.ends_with(b"=> {") || line.ends_with(b"=>") || line.ends_with(b")");
        if ends || ITEM_END.find(line).is_some() {
            self.item_open = false;
        }
        self.is_yaml = line.ends_with(b"=>");
    }

    fn leave(&mut self) {
        self.forget();
        (self.kind, self.slot, self.item_open, self.is_yaml) = (Kind::None, Slot::Body, false, false);
    }

    /// The slot of what stands behind `gap`, the text since the last event of a line or its begin.
    pub(super) fn pass(&mut self, mut gap: &str) {
        if self.kind != Kind::Result {
            return;
        }
        if self.slot == Slot::Item {
            let Some((_, behind)) = gap.split_once(") => ") else { return };
            (self.slot, gap) = (Slot::Body, behind);
        }
        if self.is_yaml {
            return;
        }
        let mut before = gap;
        while let Some(colon) = memrchr(b':', before.as_bytes()) {
            before = &before[..colon];
            // An escaped quote is in a text, not at its end.
            if let Some(head) = before.strip_suffix('"').filter(|head| !head.ends_with('\\'))
                && let Some(quote) = memrchr(b'"', head.as_bytes())
            {
                self.slot = slot_of(&head.as_bytes()[quote + 1..]);
                return;
            }
        }
    }

    /// Another key of a result in YAML.
    pub(super) fn set_key(&mut self, key: &[u8]) {
        if self.kind == Kind::Result {
            self.slot = slot_of(key);
        }
    }

    /// The same event, if it was seen in another place of the same result.
    pub(super) fn seen(&mut self, content: Fingerprint, slot: Slot) -> Option<First> {
        if self.kind == Kind::None {
            return None;
        }
        let nth = self.counts.entry((content, slot)).or_default();
        *nth += 1;
        let nth = *nth;
        self.firsts.get(&content)?.get(nth - 1).cloned()
    }

    /// Remembers one that was not.
    pub(super) fn remember(&mut self, content: Fingerprint, line: u64, identified: &Event) {
        if self.kind == Kind::None {
            return;
        }
        if self.remembered >= BLOCK_EVENTS_MAX {
            self.forget();
        }
        self.remembered += 1;
        self.firsts.entry(content).or_default().push(First { line, identified: identified.clone() });
    }

    fn forget(&mut self) {
        if self.remembered > 0 || !self.counts.is_empty() {
            self.counts.clear();
            self.firsts.clear();
            self.remembered = 0;
        }
    }
}

/// Where the words of an item begin in a line.
pub(super) fn item_in(line: &[u8]) -> Option<usize> {
    ITEM.find(line).map(|at| at + ITEM.needle().len())
}

/// Whether what the line is part of does not depend on the lines before it.
pub(super) fn begins_anew(line: &[u8]) -> bool {
    let is = |head: &&[u8]| line.starts_with(head);
    let first = line.first().copied().unwrap_or(b' ');
    !matches!(first, b' ' | b'\t' | b'}')
        && (BANNERS.iter().any(is)
            || line.starts_with(ERROR)
            // What failed goes on with the report before it.
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

/// `h1 -> other] ..`: the first of them.
fn host_in(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b']', text).unwrap_or(0);
    let host = &text[..end];
    memmem::find(host, b" -> ").map_or(host, |end| &host[..end])
}
