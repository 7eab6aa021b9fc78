//! Processes one physical line, and multi-line scalars that are held back.

use std::borrow::Cow;

use super::block::Slot;
use super::resolve::{MatchResolver, TokenPosition};
use super::scan::{self, TokenMatch, scan};
use super::unescape::{Quoting, unescape, without_colours};
use super::yaml::{ScalarPart, ScalarStyle};
use super::{EventNotation, ExtractedItem, Extractor, HELD_BYTES_MAX};

/// A line, or a piece of one that exceeds the limit.
#[derive(Clone, Copy)]
pub(super) struct PhysicalLine<'a> {
    pub(super) line: u64,
    pub(super) offset: u64,
    /// The bytes without the newline.
    pub(super) bytes: &'a [u8],
    /// This is the start of its line.
    pub(super) starts_line: bool,
    /// The line continues after it.
    pub(super) continued: bool,
}

/// An incomplete scalar with a token in it.
#[derive(Debug)]
pub(super) struct PartialScalar {
    style: ScalarStyle,
    slot: Slot,
    /// The scalar as written, without indentation.
    raw: String,
    positions: Vec<TokenPosition>,
    /// Its line numbers, with the text if requested.
    lines: Vec<(u64, String)>,
}

impl Extractor {
    /// Processes the next line.
    pub(super) fn process_line(
        &mut self,
        physical: PhysicalLine<'_>,
        token: bool,
        each: &mut dyn FnMut(ExtractedItem<'_>),
    ) {
        let bytes = physical.bytes;
        let quiet = !token && self.held.is_none() && !self.yaml.is_open() && !self.block.is_yaml;
        if quiet && bytes.first() != Some(&0x1b) {
            if physical.starts_line {
                self.block.track(bytes.strip_suffix(b"\r").unwrap_or(bytes));
            }
            return self.text(&physical, each);
        }
        let plain = without_colours(bytes.strip_suffix(b"\r").filter(|_| !physical.continued).unwrap_or(bytes));
        if !physical.starts_line {
            self.release(each);
            return self.complete_line(&physical, &lossy(&plain), each);
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
        self.process_scalar_line(&physical, &line, token, each);
    }

    /// Processes a line that has a token or may be part of a scalar.
    fn process_scalar_line(
        &mut self,
        physical: &PhysicalLine<'_>,
        line: &str,
        token: bool,
        each: &mut dyn FnMut(ExtractedItem<'_>),
    ) {
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
            (Some(held), Some(part)) if part.continues => {
                self.held = Some(held);
                return self.continue_scalar(physical, line, part, each);
            }
            (Some(held), _) => self.resolve_held(held, each),
            (None, _) => {}
        }
        if !token || self.block.is_excerpt() {
            return self.text(physical, each);
        }
        match part {
            Some(part) if part.style != ScalarStyle::Literal && begins_with_tokens(line, part) => {
                let held = PartialScalar {
                    style: part.style,
                    slot: self.block.slot,
                    raw: String::new(),
                    positions: Vec::new(),
                    lines: Vec::new(),
                };
                self.held = Some(held);
                self.continue_scalar(physical, line, part, each);
            }
            _ => self.complete_line(physical, line, each),
        }
    }

    /// Adds a line to the held scalar, and resolves the scalar if it is complete.
    fn continue_scalar(
        &mut self,
        physical: &PhysicalLine<'_>,
        line: &str,
        part: ScalarPart,
        each: &mut dyn FnMut(ExtractedItem<'_>),
    ) {
        let Some(mut held) = self.held.take() else { return };
        let scalar = line[part.start..part.end.unwrap_or(line.len())].trim_end_matches(' ');
        if !held.lines.is_empty() {
            held.raw.push('\n');
        }
        held.raw.push_str(scalar);
        let has_escapes = matches!(held.style, ScalarStyle::Flow(Quoting::Double));
        let is_token = |position: &TokenPosition| !has_escapes || !is_escaped(physical, position);
        held.positions.extend(positions(physical).filter(is_token));
        let text = if self.options.texts { shown(physical) } else { Cow::Borrowed("") };
        held.lines.push((physical.line, text.into_owned()));
        let closed = part.end.is_some();
        // Nothing marks the end of an unquoted scalar, so it is parsed wherever an object may end.
        let may_end = is_unquoted(held.style) && (held.lines.len() == 1 || scalar.contains(['}', ']']));
        if held.raw.len() > HELD_BYTES_MAX {
            self.overflow(held, each);
        } else if closed || (may_end && !self.is_truncated(&held)) {
            self.resolve_held(held, each);
            if let Some(end) = part.end.filter(|end| scan::next_token(&line.as_bytes()[*end..], 0).is_some()) {
                self.scan_line(physical, line, end, each);
            }
        } else {
            self.held = Some(held);
        }
    }

    /// Resolves the held scalar, complete or not.
    pub(super) fn release(&mut self, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        if let Some(held) = self.held.take() {
            self.resolve_held(held, each);
        }
    }

    /// Reports whether a scalar ends before an object in it does.
    fn is_truncated(&self, held: &PartialScalar) -> bool {
        let (text, _) = decoded(held);
        let mut truncated = false;
        scan(&text, false, &mut |token_match| {
            truncated |= token_match.is_truncated();
            true
        });
        truncated
    }

    fn resolve_held(&mut self, held: PartialScalar, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        let (text, breaks) = decoded(&held);
        // A line starts where the newlines before it end; a run of newlines repeats one offset.
        let line_of = |at: usize| breaks.partition_point(|newline| *newline < at).min(held.lines.len() - 1);
        let mut next_text = 0;
        let mut resolver = MatchResolver::of(self, held.positions.clone(), Some(held.slot));
        scan(&text, false, &mut |token_match| {
            let (first, last) = (line_of(token_match.span.0), line_of(token_match.span.1));
            let mut found = None;
            let is_json = resolver.resolve(&token_match, |_, _| EventNotation::Yaml, &mut |it| found = Some(owned(it)));
            if let Some(found) = found {
                emit_texts(resolver.texts(), held.lines.get(next_text..first).unwrap_or_default(), each);
                next_text = next_text.max(last + 1);
                each(found);
            }
            is_json
        });
        emit_texts(resolver.texts(), held.lines.get(next_text..).unwrap_or_default(), each);
    }

    fn overflow(&mut self, held: PartialScalar, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        let position = held.positions.first().copied().unwrap_or_default();
        self.yaml.close();
        each(super::resolve::too_long(position, held.raw.len(), &held.raw));
    }

    /// Processes a line that is complete on its own.
    fn complete_line(&mut self, physical: &PhysicalLine<'_>, line: &str, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        self.block.begin_line(line.as_bytes());
        let any = self.scan_line(physical, line, 0, each);
        self.block.end_line();
        if !any {
            self.text(physical, each);
        }
    }

    /// Processes the tokens of a line after `from`. Reports whether any was found.
    fn scan_line(
        &mut self,
        physical: &PhysicalLine<'_>,
        line: &str,
        from: usize,
        each: &mut dyn FnMut(ExtractedItem<'_>),
    ) -> bool {
        let form = if self.block.is_yaml && line.starts_with(' ') { Some(EventNotation::Yaml) } else { None };
        let (before, line) = line.split_at(from);
        let passed = scan::tokens(before.as_bytes()).count();
        let mut resolver = MatchResolver::of(self, positions(physical).skip(passed).collect(), None);
        resolver.skip_after(physical.offset);
        let mut any = false;
        let (items, rest) = resolver.split_repr(line);
        let mut resolve = |token_match: TokenMatch<'_>| {
            resolver.pass(token_match.gap, token_match.gap_level);
            if physical.continued && token_match.is_truncated() {
                any = true;
                return resolver.too_long(&token_match, each);
            }
            let of = |slot, level| match (slot, level) {
                (Slot::Item, _) => EventNotation::Item,
                (_, 0) => EventNotation::Plain,
                (_, level) => EventNotation::Escaped(level),
            };
            resolver.resolve(&token_match, |slot, level| form.unwrap_or(of(slot, level)), &mut |found| {
                any = true;
                each(found);
            })
        };
        if !items.is_empty() {
            scan(items, true, &mut resolve);
        }
        let before = scan::tokens(items.as_bytes()).count();
        scan(rest, false, &mut |mut token_match| {
            token_match.nth += before;
            resolve(token_match)
        });
        any
    }

    /// Passes on a line without any match.
    fn text(&self, physical: &PhysicalLine<'_>, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        if self.options.texts {
            each(ExtractedItem::Text { line: physical.line, text: &shown(physical) });
        }
    }
}

fn is_unquoted(style: ScalarStyle) -> bool {
    matches!(style, ScalarStyle::Flow(Quoting::Plain) | ScalarStyle::Folded)
}

/// Reports whether the first token of the line is in the scalar: positions are counted from there.
fn begins_with_tokens(line: &str, part: ScalarPart) -> bool {
    let (before, scalar) = line[..part.end.unwrap_or(line.len())].split_at(part.start);
    let has = |text: &str| scan::next_token(text.as_bytes(), 0).is_some();
    has(scalar) && !has(before)
}

/// Returns the scalar's text, and the offsets of its line breaks.
fn decoded(held: &PartialScalar) -> (String, Vec<usize>) {
    let quoting = match held.style {
        ScalarStyle::Flow(quoting) => quoting,
        ScalarStyle::Folded | ScalarStyle::Literal => Quoting::Plain,
    };
    unescape(&held.raw, quoting)
}

fn positions(physical: &PhysicalLine<'_>) -> impl Iterator<Item = TokenPosition> {
    let (line, offset) = (physical.line, physical.offset);
    scan::tokens(physical.bytes).map(move |at| TokenPosition { line, offset: offset + at as u64 })
}

/// Reports whether the first letter of a token is part of an escape sequence: `\L` is U+2028 between double quotes.
fn is_escaped(physical: &PhysicalLine<'_>, position: &TokenPosition) -> bool {
    let before = usize::try_from(position.offset - physical.offset).map_or(physical.bytes, |at| &physical.bytes[..at]);
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn shown<'a>(physical: &PhysicalLine<'a>) -> Cow<'a, str> {
    let bytes = physical.bytes;
    lossy(bytes.strip_suffix(b"\r").filter(|_| !physical.continued).unwrap_or(bytes))
}

/// Same as `String::from_utf8_lossy`, but faster for valid UTF-8.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn emit_texts(asked: bool, lines: &[(u64, String)], each: &mut dyn FnMut(ExtractedItem<'_>)) {
    for (line, text) in lines.iter().filter(|_| asked) {
        each(ExtractedItem::Text { line: *line, text });
    }
}

/// Detaches an item from its text; a line's text is dropped.
fn owned(found: ExtractedItem<'_>) -> ExtractedItem<'static> {
    match found {
        ExtractedItem::Event(event) => ExtractedItem::Event(event),
        ExtractedItem::Echo { again, of } => ExtractedItem::Echo { again, of },
        ExtractedItem::Task(task) => ExtractedItem::Task(task),
        ExtractedItem::Rejected(rejected) => ExtractedItem::Rejected(rejected),
        ExtractedItem::Text { line, .. } => ExtractedItem::Text { line, text: "" },
    }
}
