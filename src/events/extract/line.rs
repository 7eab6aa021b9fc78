//! One physical line, and the lines that are held back because a scalar goes on.

use std::borrow::Cow;

use super::block::Slot;
use super::scan::{self, Finding, scan};
use super::settle::{Place, Settle};
use super::unescape::{Quoting, unescape, without_colours};
use super::yaml::{Part, Style};
use super::{Extractor, Form, Found, HELD_BYTES_MAX};

/// A line, or a piece of one that is longer than the limit.
#[derive(Clone, Copy)]
pub(super) struct Physical<'a> {
    pub(super) line: u64,
    pub(super) offset: u64,
    /// Without the newline.
    pub(super) bytes: &'a [u8],
    /// It is the begin of its line.
    pub(super) begins: bool,
    /// The line goes on behind it.
    pub(super) cut: bool,
}

/// A scalar with a token in it that is not yet at its end.
#[derive(Debug)]
pub(super) struct Held {
    style: Style,
    slot: Slot,
    /// As it stands there, without the indentation.
    raw: String,
    places: Vec<Place>,
    /// Its lines, with their text if that is asked for.
    lines: Vec<(u64, String)>,
}

impl Extractor {
    /// Takes the next line.
    pub(super) fn physical(&mut self, physical: Physical<'_>, token: bool, each: &mut dyn FnMut(Found<'_>)) {
        let bytes = physical.bytes;
        let quiet = !token && self.held.is_none() && !self.yaml.is_open() && !self.block.is_yaml;
        if quiet && bytes.first() != Some(&0x1b) {
            if physical.begins {
                self.block.track(bytes.strip_suffix(b"\r").unwrap_or(bytes));
            }
            return self.text(&physical, each);
        }
        let plain = without_colours(bytes.strip_suffix(b"\r").filter(|_| !physical.cut).unwrap_or(bytes));
        if !physical.begins {
            self.release(each);
            return self.whole(&physical, &lossy(&plain), each);
        }
        if plain.first().is_some_and(|byte| *byte != b' ') {
            self.release(each);
            self.yaml.close();
        }
        self.block.track(&plain);
        if !token && self.held.is_none() {
            let (block, indented) = (&mut self.block, plain.first().is_none_or(|byte| *byte == b' '));
            if indented && (block.is_yaml || self.yaml.is_open()) {
                self.yaml.line(&plain, &mut |key| block.set_key(key));
            }
            return self.text(&physical, each);
        }
        let line = lossy(&plain);
        self.visible(&physical, &line, token, each);
    }

    /// A line that may be part of a scalar, or holds a token.
    fn visible(&mut self, physical: &Physical<'_>, line: &str, token: bool, each: &mut dyn FnMut(Found<'_>)) {
        let indented = line.is_empty() || line.starts_with(' ');
        let block = &mut self.block;
        let part = if indented && (block.is_yaml || self.yaml.is_open()) {
            self.yaml.line(line.as_bytes(), &mut |key| block.set_key(key))
        } else if token && indented {
            self.yaml.guess(line.as_bytes())
        } else {
            None
        };
        match (self.held.take(), part) {
            (Some(held), Some(part)) if part.goes_on => {
                self.held = Some(held);
                return self.go_on(physical, line, part, each);
            }
            (Some(held), _) => self.settle_held(held, each),
            (None, _) => {}
        }
        if !token || self.block.is_excerpt() {
            return self.text(physical, each);
        }
        match part {
            Some(part) if part.style != Style::Literal && begins_with_tokens(line, part) => {
                let held = Held {
                    style: part.style,
                    slot: self.block.slot,
                    raw: String::new(),
                    places: Vec::new(),
                    lines: Vec::new(),
                };
                self.held = Some(held);
                self.go_on(physical, line, part, each);
            }
            _ => self.whole(physical, line, each),
        }
    }

    /// Adds a line to the scalar that is held, and gives it if it is at its end.
    fn go_on(&mut self, physical: &Physical<'_>, line: &str, part: Part, each: &mut dyn FnMut(Found<'_>)) {
        let Some(mut held) = self.held.take() else { return };
        let scalar = line[part.start..part.end.unwrap_or(line.len())].trim_end_matches(' ');
        if !held.lines.is_empty() {
            held.raw.push('\n');
        }
        held.raw.push_str(scalar);
        held.places.extend(places(physical));
        let text = if self.options.texts { shown(physical) } else { Cow::Borrowed("") };
        held.lines.push((physical.line, text.into_owned()));
        let closed = part.end.is_some();
        // Nothing tells the end of a scalar without quotes; where an object may end it is tried.
        let may_end = is_unquoted(held.style) && (held.lines.len() == 1 || scalar.contains(['}', ']']));
        if held.raw.len() > HELD_BYTES_MAX {
            self.overflow(held, each);
        } else if closed || (may_end && !self.is_half(&held)) {
            self.settle_held(held, each);
            if let Some(end) = part.end.filter(|end| scan::next_token(&line.as_bytes()[*end..], 0).is_some()) {
                self.generic(physical, line, end, each);
            }
        } else {
            self.held = Some(held);
        }
    }

    /// Gives what is held, whole or not.
    pub(super) fn release(&mut self, each: &mut dyn FnMut(Found<'_>)) {
        if let Some(held) = self.held.take() {
            self.settle_held(held, each);
        }
    }

    /// Whether a scalar ends before an object in it does.
    fn is_half(&self, held: &Held) -> bool {
        let (text, _) = decoded(held);
        let mut half = false;
        scan(&text, false, &mut |finding| {
            half |= finding.is_half();
            true
        });
        half
    }

    fn settle_held(&mut self, held: Held, each: &mut dyn FnMut(Found<'_>)) {
        let (text, breaks) = decoded(&held);
        // A line is where the newlines before it end; a run of them gave one place several times.
        let line_of = |at: usize| breaks.partition_point(|newline| *newline < at).min(held.lines.len() - 1);
        let mut next_text = 0;
        let mut settle = Settle::of(self, held.places.clone(), Some(held.slot));
        scan(&text, false, &mut |finding| {
            let (first, last) = (line_of(finding.span.0), line_of(finding.span.1));
            let mut found = None;
            let is_json = settle.take(&finding, |_, _| Form::Yaml, &mut |it| found = Some(owned(it)));
            if let Some(found) = found {
                give_texts(settle.texts(), held.lines.get(next_text..first).unwrap_or_default(), each);
                next_text = next_text.max(last + 1);
                each(found);
            }
            is_json
        });
        give_texts(settle.texts(), held.lines.get(next_text..).unwrap_or_default(), each);
    }

    fn overflow(&mut self, held: Held, each: &mut dyn FnMut(Found<'_>)) {
        let place = held.places.first().copied().unwrap_or_default();
        self.yaml.close();
        each(super::settle::too_long(place, held.raw.len(), &held.raw));
    }

    /// A line with tokens that is whole in itself.
    fn whole(&mut self, physical: &Physical<'_>, line: &str, each: &mut dyn FnMut(Found<'_>)) {
        if !self.generic(physical, line, 0, each) {
            self.text(physical, each);
        }
    }

    /// What stands in a line from a place on. Answers whether anything was found.
    fn generic(&mut self, physical: &Physical<'_>, line: &str, from: usize, each: &mut dyn FnMut(Found<'_>)) -> bool {
        let form = if self.block.is_yaml && line.starts_with(' ') { Some(Form::Yaml) } else { None };
        let (before, line) = line.split_at(from);
        let passed = scan::tokens(before.as_bytes()).count();
        let mut settle = Settle::of(self, places(physical).skip(passed).collect(), None);
        let mut any = false;
        let (items, rest) = settle.split_repr(line);
        let mut give = |finding: Finding<'_>| {
            settle.pass(finding.gap);
            if physical.cut && finding.is_half() {
                any = true;
                return settle.too_long(&finding, each);
            }
            let of = |slot, level| match (slot, level) {
                (Slot::Item, _) => Form::Item,
                (_, 0) => Form::Plain,
                (_, level) => Form::Escaped(level),
            };
            settle.take(&finding, |slot, level| form.unwrap_or(of(slot, level)), &mut |found| {
                any = true;
                each(found);
            })
        };
        if !items.is_empty() {
            scan(items, true, &mut give);
        }
        let before = scan::tokens(items.as_bytes()).count();
        scan(rest, false, &mut |mut finding| {
            finding.nth += before;
            give(finding)
        });
        any
    }

    /// Gives a line in which nothing was found.
    fn text(&self, physical: &Physical<'_>, each: &mut dyn FnMut(Found<'_>)) {
        if self.options.texts {
            each(Found::Text { line: physical.line, text: &shown(physical) });
        }
    }
}

fn is_unquoted(style: Style) -> bool {
    matches!(style, Style::Flow(Quoting::Plain) | Style::Folded)
}

/// Whether a scalar has tokens, and nothing before it in its line does: places are counted by them.
fn begins_with_tokens(line: &str, part: Part) -> bool {
    let (before, scalar) = line[..part.end.unwrap_or(line.len())].split_at(part.start);
    let has = |text: &str| scan::next_token(text.as_bytes(), 0).is_some();
    has(scalar) && !has(before)
}

/// The scalar's text, and where its lines begin in it.
fn decoded(held: &Held) -> (String, Vec<usize>) {
    let quoting = match held.style {
        Style::Flow(quoting) => quoting,
        Style::Folded | Style::Literal => Quoting::Plain,
    };
    unescape(&held.raw, quoting)
}

fn places(physical: &Physical<'_>) -> impl Iterator<Item = Place> {
    let (line, offset) = (physical.line, physical.offset);
    scan::tokens(physical.bytes).map(move |at| Place { line, offset: offset + at as u64 })
}

fn shown<'a>(physical: &Physical<'a>) -> Cow<'a, str> {
    let bytes = physical.bytes;
    lossy(bytes.strip_suffix(b"\r").filter(|_| !physical.cut).unwrap_or(bytes))
}

/// The same as the standard's, which goes byte by byte also where nothing is wrong.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn give_texts(asked: bool, lines: &[(u64, String)], each: &mut dyn FnMut(Found<'_>)) {
    for (line, text) in lines.iter().filter(|_| asked) {
        each(Found::Text { line: *line, text });
    }
}

/// What is no text owns all it has.
fn owned(found: Found<'_>) -> Found<'static> {
    match found {
        Found::Event(event) => Found::Event(event),
        Found::Echo { again, of } => Found::Echo { again, of },
        Found::Task(task) => Found::Task(task),
        Found::Rejected(rejected) => Found::Rejected(rejected),
        Found::Text { line, .. } => Found::Text { line, text: "" },
    }
}
