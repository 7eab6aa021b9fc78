//! Tokens in one text and the objects behind them, through any levels of JSON escaping.
//!
//! A token is followed by an object. If what follows its brace is a backslash, the token stands
//! inside a string: one level of quoting is taken off the rest of that string, and the same is done
//! with what comes out. So an event reads the same however often it was quoted.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;

use super::unescape::{Quoting, unescape_string};
use super::{TASK_TOKEN, TOKEN};
use crate::model::EventError;
use crate::model::json::JsonObject;

/// Levels of escaping that are followed; each doubles the backslashes.
const LEVELS_MAX: u8 = 10;
/// Bytes that are looked at in vain for the end of broken objects, for each byte of a text; then the
/// rest of its tokens is rejected unread.
const VAIN_BYTES_PER_BYTE: usize = 8;

/// What both tokens begin with.
static BEGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("LB_"));

/// Which token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Event,
    Task,
}

impl Token {
    fn len(self) -> usize {
        match self {
            Token::Event => TOKEN.len(),
            Token::Task => TASK_TOKEN.len(),
        }
    }
}

/// The first token at or behind `from`.
pub(super) fn next_token(text: &[u8], mut from: usize) -> Option<(usize, Token)> {
    while let Some(found) = text.get(from..).and_then(|rest| BEGIN.find(rest)) {
        let at = from + found;
        let rest = &text[at..];
        if rest.starts_with(TOKEN.as_bytes()) {
            return Some((at, Token::Event));
        }
        if rest.starts_with(TASK_TOKEN.as_bytes()) {
            return Some((at, Token::Task));
        }
        from = at + 1;
    }
    None
}

/// Places of all tokens.
pub(super) fn tokens(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let (at, token) = next_token(text, from)?;
        from = at + token.len();
        Some(at)
    })
}

/// A token with a brace behind it.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    pub(super) token: Token,
    /// Which of the tokens of the outermost text it is, from 0.
    pub(super) nth: usize,
    /// Levels of escaping round it.
    pub(super) level: u8,
    /// What of the outermost text it takes: from its token on, with the rest of the string round it.
    pub(super) span: (usize, usize),
    /// The outermost text before it, back to the one before.
    pub(super) gap: &'a str,
    pub(super) body: Body<'a>,
}

/// What stands behind a token.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// Braces that close. Whether it is an event shows later.
    Object {
        text: &'a str,
        /// What was read of it, if it is usual.
        read: Option<JsonObject<'a>>,
    },
    /// No object.
    Broken {
        fault: EventError,
        text: &'a str,
        /// The text ended before the object did.
        half: bool,
    },
}

/// Whether what braces enclosed was JSON.
pub(super) type IsJson = bool;

/// Finds the tokens of one text.
pub(super) struct Scan<'a, 'f> {
    each: &'f mut dyn FnMut(Finding<'_>) -> IsJson,
    nth: usize,
    vain_bytes: usize,
    span: (usize, usize),
    gap: &'a str,
}

/// Finds all tokens of a text that have a brace behind them, in their order. With `repr` the text is
/// one of Python's, whose strings have another quoting.
pub(super) fn scan(text: &str, repr: bool, each: &mut dyn FnMut(Finding<'_>) -> IsJson) {
    let vain_bytes = text.len().saturating_mul(VAIN_BYTES_PER_BYTE).saturating_add(1 << 16);
    let mut scan = Scan { each, nth: 0, vain_bytes, span: (0, 0), gap: "" };
    let mut gap_start = 0;
    scan.level(text, 0, repr, &mut gap_start);
}

impl<'a> Scan<'a, '_> {
    /// Finds those of a text that stands `level` levels deep.
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
                let mut deep = Scan {
                    each: &mut *self.each,
                    nth: self.nth,
                    vain_bytes: self.vain_bytes,
                    span: if outer { (start, end) } else { self.span },
                    gap: if outer { &text[*gap_start..start] } else { self.gap },
                };
                deep.level(&inner, level + 1, false, &mut 0);
                (self.nth, self.vain_bytes) = (deep.nth, deep.vain_bytes);
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

    /// Gives the object at `brace`; where to go on.
    fn object(&mut self, text: &'a str, place: (usize, usize), token: Token, level: u8, gap_start: usize) -> usize {
        let (start, brace) = place;
        let rest = if self.vain_bytes == 0 { "" } else { &text[brace..] };
        let (end, read) = match JsonObject::read_first(rest) {
            Some((object, length)) => (Some(length), Some(object)),
            None => (object_end(rest.as_bytes()), None),
        };
        let nth = self.nth;
        self.nth += 1;
        let (stop, body) = match end {
            Some(length) => (brace + length, Body::Object { text: &text[brace..brace + length], read }),
            None => {
                let (fault, half) = self.why(&text[brace..]);
                let stop = if half { text.len() } else { brace + 1 };
                (stop, Body::Broken { fault, text: &text[start..], half })
            }
        };
        let whole = matches!(body, Body::Object { .. });
        let span = if level == 0 { (start, stop) } else { self.span };
        let gap = if level == 0 { &text[gap_start..start] } else { std::mem::take(&mut self.gap) };
        let is_json = (self.each)(Finding { token, nth, level, span, gap, body });
        if whole && !is_json {
            self.vain_bytes = self.vain_bytes.saturating_sub(stop - brace);
            return brace + 1;
        }
        // Tokens that the object holds in its texts are none, but they count.
        self.nth += tokens(&text.as_bytes()[brace..stop]).count();
        stop
    }

    /// Why there is no object at the begin of `text`, and whether only its end is missing.
    fn why(&mut self, text: &str) -> (EventError, bool) {
        if self.vain_bytes == 0 {
            return (EventError::NotJson("too many broken objects stand before it in one text".to_owned()), false);
        }
        self.vain_bytes = self.vain_bytes.saturating_sub(text.len());
        match serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>().next() {
            Some(Err(error)) => (EventError::NotJson(error.to_string()), error.is_eof()),
            _ => (EventError::NotJson("its end is not there".to_owned()), true),
        }
    }
}

/// Bytes from a brace to the one that closes it; strings are respected.
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
            // Outside of strings no capital stands in JSON: a token here means that the object is broken.
            b'L' => return None,
            _ => {}
        }
        at += 1;
    }
}
