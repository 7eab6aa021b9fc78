//! Finds tokens in a text and the objects after them, through any levels of JSON escaping.
//!
//! A token is followed by an object. If a backslash follows the brace, the token is inside a
//! string: one level of quoting is removed from the rest of that string, and the result is scanned
//! the same way. So an event is read the same however often it was quoted.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;

use super::trace;
use super::unescape::{Quoting, unescape_string};
use super::{TASK_TOKEN, TOKEN};
use crate::model::json::{JsonObject, lenient};
use crate::model::{Event, EventError};

/// Maximum levels of escaping; each doubles the backslashes.
const LEVELS_MAX: u8 = 10;
/// Bytes scanned for the end of broken objects, per byte of text; beyond that the remaining tokens
/// are rejected unread.
const UNMATCHED_BYTES_PER_BYTE: usize = 8;

/// The common prefix of both tokens.
static BEGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("LB_"));

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Event,
    Task,
}

impl TokenKind {
    fn len(self) -> usize {
        match self {
            TokenKind::Event => TOKEN.len(),
            TokenKind::Task => TASK_TOKEN.len(),
        }
    }
}

/// Returns the first token at or after `from`.
pub(super) fn next_token(text: &[u8], mut from: usize) -> Option<(usize, TokenKind)> {
    while let Some(found) = text.get(from..).and_then(|rest| BEGIN.find(rest)) {
        let at = from + found;
        let rest = &text[at..];
        if rest.starts_with(TOKEN.as_bytes()) {
            return Some((at, TokenKind::Event));
        }
        if rest.starts_with(TASK_TOKEN.as_bytes()) {
            return Some((at, TokenKind::Task));
        }
        from = at + 1;
    }
    None
}

/// Returns the offsets of all tokens.
pub(super) fn tokens(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let (at, token) = next_token(text, from)?;
        from = at + token.len();
        Some(at)
    })
}

/// A token followed by a brace.
#[derive(Debug)]
pub(super) struct TokenMatch<'a> {
    pub(super) token: TokenKind,
    /// Index of the token in the outermost text, from 0.
    pub(super) nth: usize,
    /// Levels of escaping around it.
    pub(super) level: u8,
    /// Its range in the outermost text: from the token on, including the rest of the enclosing
    /// string.
    pub(super) span: (usize, usize),
    /// The text between the previous match and this one, and its level of escaping: that of the match, or the
    /// one around it.
    pub(super) gap: &'a str,
    pub(super) gap_level: u8,
    /// It is part of a command that prints it.
    pub(super) in_command: bool,
    pub(super) body: MatchBody<'a>,
}

/// The text after a token.
#[derive(Debug)]
pub(super) enum MatchBody<'a> {
    /// Balanced braces. Whether it is an event is checked later.
    Object {
        text: &'a str,
        /// The parsed object, if it could be parsed in one pass.
        read: Option<JsonObject<'a>>,
    },
    /// Not an object.
    Broken {
        fault: EventError,
        text: &'a str,
        /// The text ended before the object did.
        truncated: bool,
    },
}

/// Reports whether the text in braces was JSON.
pub(super) type IsJson = bool;

/// A scanner for the tokens of one text.
pub(super) struct TokenScanner<'a, 'f> {
    each: &'f mut dyn FnMut(TokenMatch<'_>) -> IsJson,
    nth: usize,
    unmatched_bytes: usize,
    span: (usize, usize),
    /// The text before the first token, and its level, if the scanned text is the rest of a string.
    outside: (&'a str, u8),
    gap: (&'a str, u8),
    in_command: bool,
}

/// Finds all tokens of a text that are followed by a brace, in order. With `repr` the text is from
/// Python's `repr`, which quotes strings differently.
pub(super) fn scan(text: &str, repr: bool, each: &mut dyn FnMut(TokenMatch<'_>) -> IsJson) {
    let unmatched_bytes = text.len().saturating_mul(UNMATCHED_BYTES_PER_BYTE).saturating_add(1 << 16);
    let (outside, gap) = (("", 0), ("", 0));
    TokenScanner { each, nth: 0, unmatched_bytes, span: (0, 0), outside, gap, in_command: false }.level(text, 0, repr);
}

impl<'a> TokenScanner<'a, '_> {
    /// Scans a text at `level` levels of escaping.
    fn level(&mut self, text: &'a str, level: u8, repr: bool) {
        let (mut at, mut matched_to) = (0, 0);
        while let Some((start, token)) = next_token(text.as_bytes(), at) {
            at = start + token.len();
            let rest = text[at..].trim_start_matches(is_padding);
            if !rest.starts_with('{') {
                self.nth += 1;
                continue;
            }
            let brace = text.len() - rest.len();
            let inside = text[brace + 1..].trim_start_matches(' ');
            let quoting = match (repr, inside.starts_with('\\')) {
                (true, _) => Some(Quoting::Repr),
                (false, true) => Some(Quoting::Double),
                (false, false) => None,
            };
            let outer = level == 0;
            self.gap = if start == 0 { self.outside } else { (&text[matched_to..start], level) };
            let before = self.gap.0;
            self.in_command = self.in_command && !before.contains('\n')
                || trace::is_command(before, outer && matched_to == 0, quoting.is_some() || level > 0 && start == 0);
            if let Some(quoting) = quoting.filter(|_| level < LEVELS_MAX) {
                let (inner, length) = unescape_string(&text[start..], quoting);
                let end = start + length;
                let mut deep = TokenScanner {
                    each: &mut *self.each,
                    nth: self.nth,
                    unmatched_bytes: self.unmatched_bytes,
                    span: if outer { (start, end) } else { self.span },
                    outside: self.gap,
                    gap: self.gap,
                    in_command: self.in_command,
                };
                deep.level(&inner, level + 1, false);
                (self.nth, self.unmatched_bytes) = (deep.nth, deep.unmatched_bytes);
                // Another string may be the output of the command.
                self.in_command = false;
                at = end;
            } else {
                at = self.object(text, (start, brace), token, level);
            }
            matched_to = at;
        }
    }

    /// Passes the object at `brace` to the callback. Returns the offset to continue at.
    fn object(&mut self, text: &'a str, position: (usize, usize), token: TokenKind, level: u8) -> usize {
        let (start, brace) = position;
        let rest = if self.unmatched_bytes == 0 { "" } else { &text[brace..] };
        let (end, read) = match JsonObject::read_first(rest) {
            Some((object, length)) => (Some(length), Some(object)),
            None => (object_end(rest.as_bytes()), None),
        };
        let nth = self.nth;
        self.nth += 1;
        let (stop, body) = match end {
            Some(length) => (brace + length, MatchBody::Object { text: &text[brace..brace + length], read }),
            None => {
                let (fault, truncated) = self.diagnose(&text[brace..]);
                let stop = if truncated { text.len() } else { brace + 1 };
                (stop, MatchBody::Broken { fault, text: &text[start..], truncated })
            }
        };
        let is_object = matches!(body, MatchBody::Object { .. });
        let span = if level == 0 { (start, stop) } else { self.span };
        let ((gap, gap_level), in_command) = (self.gap, self.in_command);
        let is_json = (self.each)(TokenMatch { token, nth, level, span, gap, gap_level, in_command, body });
        if is_object && !is_json {
            self.unmatched_bytes = self.unmatched_bytes.saturating_sub(stop - brace);
            return brace + 1;
        }
        let stop = if is_object { self.further_objects(text, (start, stop), nth, level) } else { stop };
        // Tokens inside the object's strings are not matches, but they are counted.
        self.nth += tokens(&text.as_bytes()[brace..stop]).count();
        stop
    }

    /// Passes the events that follow an object without a token of their own to the callback, and returns the
    /// offset after them. `position` is the token's and the end of the object.
    fn further_objects(&mut self, text: &'a str, position: (usize, usize), nth: usize, level: u8) -> usize {
        let (start, mut stop) = position;
        loop {
            let rest = text[stop..].trim_start_matches(|c| c == ',' || is_padding(c));
            if !rest.starts_with("{\"") || self.unmatched_bytes == 0 {
                return stop;
            }
            let read = JsonObject::read_first(rest);
            let length = read.as_ref().map(|(_, length)| *length).or_else(|| Some(lenient::read_first(rest)?.1));
            let event = length.and_then(|length| Event::parse(&rest[..length]).ok().map(|_| length));
            let Some(length) = event else {
                self.unmatched_bytes = self.unmatched_bytes.saturating_sub(rest.len());
                return stop;
            };
            stop = text.len() - rest.len() + length;
            let body = MatchBody::Object { text: &rest[..length], read: read.map(|(object, _)| object) };
            let (span, in_command) = (if level == 0 { (start, stop) } else { self.span }, self.in_command);
            let (token, gap, gap_level) = (TokenKind::Event, "", level);
            (self.each)(TokenMatch { token, nth, level, span, gap, gap_level, in_command, body });
        }
    }

    /// Returns the reason why `text` does not start with an object, and whether only its end is
    /// missing.
    fn diagnose(&mut self, text: &str) -> (EventError, bool) {
        if self.unmatched_bytes == 0 {
            return (EventError::NotJson("too many broken objects before it in the same text".to_owned()), false);
        }
        self.unmatched_bytes = self.unmatched_bytes.saturating_sub(text.len());
        match serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>().next() {
            Some(Err(error)) => (EventError::NotJson(error.to_string()), error.is_eof()),
            _ => (EventError::NotJson("its end is missing".to_owned()), true),
        }
    }
}

/// Reports whether a character between a token and its object means nothing.
fn is_padding(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\0' | '\u{feff}')
}

/// Returns the length from a brace to its closing brace, skipping strings.
fn object_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += 1;
                loop {
                    at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
                    if bytes[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            // JSON has no capitals outside of strings: a token here means that the object is
            // broken.
            b'L' => return None,
            _ => {}
        }
        at += 1;
    }
}
