//! Splits bytes into lines, independently of how the bytes were cut into chunks.

use std::collections::VecDeque;

use memchr::memchr2;
use serde::{Deserialize, Serialize};

use super::utf16::{Following, Utf16Decoder};
use crate::model::cut;
use crate::model::limits::LINE_BYTES_MAX;

/// NUL bytes in a row that are counted instead of kept. A file that was truncated while a writer had it open
/// begins with millions of them; names that end with a NUL each are kept apart.
const NUL_RUN: u64 = 8;
/// Bytes of UTF-16 that are decoded at once.
const DECODE_BYTES: usize = 32 * 1024;
/// The byte order mark of UTF-8.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line of output, or a piece of one that is too long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitLine {
    /// Text without its newline; includes `\r`.
    pub text: String,
    /// The line continues in the next piece.
    pub partial: bool,
    /// Invalid UTF-8 or NUL bytes were replaced by U+FFFD, or left out ([`SplitLine::nuls`]).
    pub lossy: bool,
    /// NUL bytes that were left out because they were too many; [`SplitLine::nul_note`] reports them.
    pub nuls: u64,
}

impl SplitLine {
    /// Returns the internal line that precedes this line, if NUL bytes were left out.
    pub fn nul_note(&self) -> Option<String> {
        (self.nuls > 0).then(|| format!("[{} NUL bytes of the next line were left out]", self.nuls))
    }
}

/// A splitter that cuts one channel's bytes at newlines and overlong lines at the limit.
///
/// Invariants: no piece has more than `bytes_max` bytes. A cut never falls inside a code point, a composed
/// character or an escape sequence (unless that is longer than half a piece). Memory is bounded by `bytes_max`
/// bytes for the line in progress. A line without its newline stays buffered until the newline arrives or
/// [`LineSplitter::finish`] is called.
///
/// UTF-16 is decoded from a line on that begins with its byte order mark, until a line that is no UTF-16. The
/// byte order mark of UTF-8 at the start of the output is dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LineSplitter {
    /// Line in progress: at most `bytes_max` bytes, no newline.
    pending: Vec<u8>,
    /// NUL bytes after `pending`: kept if they are few.
    nul_run: u64,
    /// NUL bytes left out of the line in progress.
    nuls: u64,
    /// Pieces of a line that exceeded the limit when its bytes were replaced.
    ready: VecDeque<SplitLine>,
    /// Set in UTF-16 output.
    utf16: Option<Utf16Decoder>,
    /// Decoded output that is not split yet, and how much of it is.
    decoded: Vec<u8>,
    split: usize,
    /// A piece was returned.
    started: bool,
    #[serde(skip, default = "line_bytes_max")]
    bytes_max: usize,
}

fn line_bytes_max() -> usize {
    LINE_BYTES_MAX
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX)
    }
}

impl LineSplitter {
    /// Creates a splitter whose pieces have at most `bytes_max` bytes, at least 4.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            pending: Vec::new(),
            nul_run: 0,
            nuls: 0,
            ready: VecDeque::new(),
            utf16: None,
            decoded: Vec::new(),
            split: 0,
            started: false,
            bytes_max: bytes_max.max(4),
        }
    }

    /// Consumes the bytes of the next line from `input` and returns the line; `None` once `input` is used up.
    pub fn next_line(&mut self, input: &mut &[u8]) -> Option<SplitLine> {
        if let Some(text) = self.next_plain(input) {
            return Some(SplitLine { text: text.to_owned(), ..SplitLine::default() });
        }
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.split < self.decoded.len() {
                if let Some(line) = self.split_decoded() {
                    return Some(line);
                }
            } else if self.utf16.is_some() {
                if input.is_empty() {
                    return None;
                }
                self.decode(input);
            } else {
                let line = self.split(input);
                if line.is_some() || self.utf16.is_none() {
                    return line;
                }
            }
        }
    }

    /// Consumes and returns the next line of `input` if it is there as a whole and needs no change, so that it can
    /// be borrowed. Returns `None` for any other line, which [`LineSplitter::next_line`] returns.
    pub fn next_plain<'a>(&mut self, input: &mut &'a [u8]) -> Option<&'a str> {
        let is_between_lines = self.started
            && self.pending.is_empty()
            && self.nul_run == 0
            && self.nuls == 0
            && self.ready.is_empty()
            && self.utf16.is_none()
            && self.split == self.decoded.len();
        if !is_between_lines {
            return None;
        }
        let (near, _) = input.split_at(input.len().min(self.bytes_max + 1));
        let end = memchr2(b'\n', 0, near).filter(|end| near.get(*end) == Some(&b'\n'))?;
        let text = std::str::from_utf8(near.get(..end)?).ok()?;
        *input = input.get(end + 1..).unwrap_or_default();
        Some(text)
    }

    /// Returns the remaining line, which has no newline.
    pub fn finish(&mut self) -> Option<SplitLine> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(piece);
        }
        if self.utf16.is_none() && self.split == self.decoded.len() {
            if let Some(piece) = self.settle_nuls() {
                return Some(piece);
            }
            self.detect_utf16(&[]);
        }
        if let Some(mut decoder) = self.utf16.take() {
            decoder.finish(&mut self.decoded);
        }
        if let Some(line) = self.split_decoded() {
            return Some(line);
        }
        if let Some(piece) = self.settle_nuls() {
            return Some(piece);
        }
        let rest = std::mem::take(&mut self.pending);
        if rest.is_empty() && self.nuls == 0 { None } else { Some(self.emit(rest, false)) }
    }

    /// Returns the bytes of the line in progress that are kept; [`LineSplitter::pending_text`] is what to show.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Reports whether there are bytes of a line that was not returned.
    pub(super) fn is_inside_line(&self) -> bool {
        !self.pending.is_empty() || self.nul_run > 0 || !self.ready.is_empty() || self.split < self.decoded.len()
    }

    /// Reports whether a state that was read from a file is possible.
    pub(super) fn is_valid(&self) -> bool {
        self.pending.len() <= self.bytes_max && self.split <= self.decoded.len()
    }

    /// Drops the line in progress.
    pub fn discard(&mut self) {
        *self = Self { started: self.started, ..Self::new(self.bytes_max) };
    }

    /// Returns the text of the line in progress, `None` if there is none: what is known of a line before its
    /// newline. It has at most `bytes_max` bytes and ends with a whole character and escape sequence.
    pub fn pending_text(&self) -> Option<String> {
        if self.pending.is_empty() && self.nul_run == 0 && self.utf16.is_none() {
            return None;
        }
        let mut bytes = self.pending.clone();
        let nuls = if self.nul_run < NUL_RUN { self.nul_run } else { 0 };
        bytes.extend((0..nuls).map(|_| 0));
        if let Some(decoder) = &self.utf16 {
            decoder.clone().finish(&mut bytes);
        } else if let Some(mut decoder) = Utf16Decoder::detect(&bytes) {
            let raw = std::mem::take(&mut bytes);
            decoder.push(&mut raw.get(2..).unwrap_or_default(), &mut bytes);
        }
        bytes.truncate(cut::complete_code_points(&bytes));
        let whole = cut::open_escape(&bytes).unwrap_or(bytes.len());
        let shown = bytes.get(..whole).unwrap_or_default();
        let shown = if self.started { shown } else { shown.strip_prefix(UTF8_MARK).unwrap_or(shown) };
        let mut text = String::from_utf8_lossy(shown).replace('\0', "\u{fffd}");
        text.truncate(text.floor_char_boundary(self.bytes_max));
        (!text.is_empty()).then_some(text)
    }

    /// Removes and returns the buffered bytes that were not returned as lines.
    pub fn drain_pending(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in self.ready.drain(..) {
            bytes.extend_from_slice(piece.text.as_bytes());
            if !piece.partial {
                bytes.push(b'\n');
            }
        }
        bytes.append(&mut self.pending);
        bytes.extend(self.decoded.drain(..).skip(std::mem::take(&mut self.split)));
        bytes
    }

    fn decode(&mut self, input: &mut &[u8]) {
        let Some(decoder) = &mut self.utf16 else { return };
        self.decoded.clear();
        self.split = 0;
        let (mut near, far) = input.split_at(input.len().min(DECODE_BYTES));
        let following = decoder.push(&mut near, &mut self.decoded);
        *input = input.get(input.len() - far.len() - near.len()..).unwrap_or_default();
        if following == Following::Plain {
            self.utf16 = None;
        }
    }

    fn split_decoded(&mut self) -> Option<SplitLine> {
        let decoded = std::mem::take(&mut self.decoded);
        let mut rest = decoded.get(self.split..).unwrap_or_default();
        let line = self.split(&mut rest);
        self.split = decoded.len() - rest.len();
        self.decoded = decoded;
        line
    }

    /// Splits `input`. Returns `None` once it is used up, or if UTF-16 was detected.
    fn split(&mut self, input: &mut &[u8]) -> Option<SplitLine> {
        let was_utf16 = self.utf16.is_some();
        loop {
            if self.nul_run > 0 && input.first().is_some_and(|byte| *byte != 0) {
                let piece = self.settle_nuls();
                if piece.is_some() || self.utf16.is_some() != was_utf16 {
                    return piece;
                }
            }
            // A newline further away than this cannot end the current piece.
            let room = self.bytes_max - self.pending.len();
            let (near, _) = input.split_at(input.len().min(room + 1));
            match memchr2(b'\n', 0, near) {
                Some(at) if near.get(at) == Some(&0) => {
                    let (before, nuls) = input.split_at(at);
                    self.pending.extend_from_slice(before);
                    let run = nuls.iter().position(|byte| *byte != 0).unwrap_or(nuls.len());
                    self.nul_run += run as u64;
                    *input = nuls.get(run..).unwrap_or_default();
                }
                Some(end) => {
                    let (line, rest) = input.split_at(end);
                    *input = rest.get(1..).unwrap_or_default();
                    return self.complete(line);
                }
                None if near.len() <= room => {
                    self.pending.extend_from_slice(near);
                    *input = &[];
                    return None;
                }
                None => {
                    let (head, rest) = input.split_at(room);
                    self.pending.extend_from_slice(head);
                    *input = rest;
                    return self.cut(rest.first().copied().unwrap_or_default());
                }
            }
        }
    }

    /// Keeps or counts the NUL bytes read last, or decodes them if UTF-16 was detected. Returns a piece if there is no
    /// room for them.
    fn settle_nuls(&mut self) -> Option<SplitLine> {
        if self.nul_run >= NUL_RUN {
            self.nuls += std::mem::take(&mut self.nul_run);
            return None;
        }
        while self.nul_run > 0 {
            if self.pending.len() == self.bytes_max {
                let piece = self.cut(0);
                if let (None, Some(decoder)) = (&piece, &mut self.utf16) {
                    // Fewer than `NUL_RUN`.
                    let nuls = vec![0; usize::try_from(std::mem::take(&mut self.nul_run)).unwrap_or_default()];
                    decoder.push(&mut nuls.as_slice(), &mut self.decoded);
                }
                return piece;
            }
            self.pending.push(0);
            self.nul_run -= 1;
        }
        None
    }

    fn complete(&mut self, end: &[u8]) -> Option<SplitLine> {
        self.pending.extend_from_slice(end);
        if self.detect_utf16(b"\n") {
            return None;
        }
        let line = std::mem::take(&mut self.pending);
        Some(self.emit(line, false))
    }

    /// Returns the first part of a line that is too long; `None` if UTF-16 was detected.
    fn cut(&mut self, next: u8) -> Option<SplitLine> {
        if self.detect_utf16(&[]) {
            return None;
        }
        let held_back = self.pending.split_off(cut::position(&self.pending, next));
        let piece = std::mem::replace(&mut self.pending, held_back);
        Some(self.emit(piece, true))
    }

    /// Decodes the line in progress and its `end` if it begins with the byte order mark of UTF-16.
    fn detect_utf16(&mut self, end: &[u8]) -> bool {
        let Some(mut decoder) = Utf16Decoder::detect(&self.pending) else { return false };
        self.pending.extend_from_slice(end);
        let line = std::mem::take(&mut self.pending);
        self.decoded.clear();
        self.split = 0;
        decoder.push(&mut line.get(2..).unwrap_or_default(), &mut self.decoded);
        self.utf16 = Some(decoder);
        true
    }

    fn emit(&mut self, mut bytes: Vec<u8>, partial: bool) -> SplitLine {
        if !std::mem::replace(&mut self.started, true) && bytes.starts_with(UTF8_MARK) {
            bytes.drain(..UTF8_MARK.len());
        }
        let nuls = std::mem::take(&mut self.nuls);
        // 0xff is never valid UTF-8, so the replacement below covers it.
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0xff);
        match String::from_utf8(bytes) {
            Ok(text) => SplitLine { text, partial, lossy: nuls > 0, nuls },
            Err(error) => self.emit_replaced(&String::from_utf8_lossy(error.as_bytes()), partial, nuls),
        }
    }

    /// A replaced byte becomes the three bytes of U+FFFD, so the line may exceed the limit now.
    fn emit_replaced(&mut self, mut text: &str, partial: bool, nuls: u64) -> SplitLine {
        while text.len() > self.bytes_max {
            let (piece, rest) = text.split_at(cut::text_position(text, self.bytes_max));
            self.ready.push_back(SplitLine { text: piece.to_owned(), partial: true, lossy: true, nuls: 0 });
            text = rest;
        }
        self.ready.push_back(SplitLine { text: text.to_owned(), partial, lossy: true, nuls: 0 });
        let first = self.ready.pop_front().unwrap_or_default();
        SplitLine { nuls, ..first }
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
