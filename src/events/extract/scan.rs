//! Finds tokens in a text and the objects after them, through any levels of JSON escaping.
//!
//! A token is followed by an object. If a backslash follows the brace, the token is inside a
//! string: one level of quoting is removed from the rest of that string, and the result is scanned
//! the same way. So an event is read the same however often it was quoted.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;

use super::unescape::{Quoting, unescape_string};
use super::{TASK_TOKEN, TOKEN};
use crate::model::EventError;
use crate::model::json::JsonObject;

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
    /// The outermost text between the previous match and this one.
    pub(super) gap: &'a str,
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
    gap: &'a str,
}

/// Finds all tokens of a text that are followed by a brace, in order. With `repr` the text is from
/// Python's `repr`, which quotes strings differently.
pub(super) fn scan(text: &str, repr: bool, each: &mut dyn FnMut(TokenMatch<'_>) -> IsJson) {
    let unmatched_bytes = text.len().saturating_mul(UNMATCHED_BYTES_PER_BYTE).saturating_add(1 << 16);
    let mut scan = TokenScanner { each, nth: 0, unmatched_bytes, span: (0, 0), gap: "" };
    let mut gap_start = 0;
    scan.level(text, 0, repr, &mut gap_start);
}

impl<'a> TokenScanner<'a, '_> {
    /// Scans a text at `level` levels of escaping.
    fn level(&mut self, text: &'a str, level: u8, repr: bool, gap_start: &mut usize) {
        let mut at = 0;
        while let Some((start, token)) = next_token(text.as_bytes(), at) {
            at = start + token.len();
            let rest = text[at..].trim_start();
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
            if let Some(quoting) = quoting.filter(|_| level < LEVELS_MAX) {
                let (inner, length) = unescape_string(&text[start..], quoting);
                let end = start + length;
                let mut deep = TokenScanner {
                    each: &mut *self.each,
                    nth: self.nth,
                    unmatched_bytes: self.unmatched_bytes,
                    span: if outer { (start, end) } else { self.span },
                    gap: if outer { &text[*gap_start..start] } else { self.gap },
                };
                deep.level(&inner, level + 1, false, &mut 0);
                (self.nth, self.unmatched_bytes) = (deep.nth, deep.unmatched_bytes);
                if !outer {
                    self.gap = "";
                }
                at = end;
            } else {
                at = self.object(text, (start, brace), token, level, *gap_start);
            }
            if outer {
                *gap_start = at;
            }
        }
    }

    /// Passes the object at `brace` to the callback. Returns the offset to continue at.
    fn object(
        &mut self,
        text: &'a str,
        position: (usize, usize),
        token: TokenKind,
        level: u8,
        gap_start: usize,
    ) -> usize {
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
        let complete_line = matches!(body, MatchBody::Object { .. });
        let span = if level == 0 { (start, stop) } else { self.span };
        let gap = if level == 0 { &text[gap_start..start] } else { std::mem::take(&mut self.gap) };
        let is_json = (self.each)(TokenMatch { token, nth, level, span, gap, body });
        if complete_line && !is_json {
            self.unmatched_bytes = self.unmatched_bytes.saturating_sub(stop - brace);
            return brace + 1;
        }
        // Tokens inside the object's strings are not matches, but they are counted.
        self.nth += tokens(&text.as_bytes()[brace..stop]).count();
        stop
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
