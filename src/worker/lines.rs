//! Splits bytes into lines, independently of how the bytes were cut into chunks.

use std::collections::VecDeque;

use memchr::memchr;

use crate::model::limits::LINE_BYTES_MAX;

/// A line of output, or a piece of one that is too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitLine {
    /// Text without its newline; includes `\r`.
    pub text: String,
    /// The line continues in the next piece.
    pub partial: bool,
    /// Invalid UTF-8 or NUL bytes were replaced by U+FFFD.
    pub lossy: bool,
}

/// A splitter that cuts one channel's bytes at newlines and overlong lines at the limit.
///
/// Invariants: no piece has more than `bytes_max` bytes. A cut never falls inside a code point. Memory is
/// bounded by `bytes_max` bytes for the line in progress. A line without its newline stays buffered until the
/// newline arrives or [`LineSplitter::finish`] is called.
#[derive(Debug)]
pub struct LineSplitter {
    /// Line in progress: at most `bytes_max` bytes, no newline.
    pending: Vec<u8>,
    /// Pieces of a line that exceeded the limit when its bytes were replaced.
    ready: VecDeque<SplitLine>,
    bytes_max: usize,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX)
    }
}

impl LineSplitter {
    /// Creates a splitter whose pieces have at most `bytes_max` bytes, at least 4.
    pub fn new(bytes_max: usize) -> Self {
        Self { pending: Vec::new(), ready: VecDeque::new(), bytes_max: bytes_max.max(4) }
    }

    /// Consumes the bytes of the next line from `input` and returns the line; `None` once `input` is used up.
    pub fn next_line(&mut self, input: &mut &[u8]) -> Option<SplitLine> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(piece);
        }
        // A newline further away than this cannot end the current piece.
        let room = self.bytes_max - self.pending.len();
        let (near, _) = input.split_at(input.len().min(room + 1));
        match memchr(b'\n', near) {
            Some(end) => {
                let (line, rest) = input.split_at(end);
                *input = rest.get(1..).unwrap_or_default();
                Some(self.complete(line))
            }
            None if near.len() <= room => {
                self.pending.extend_from_slice(near);
                *input = &[];
                None
            }
            None => {
                let (head, rest) = input.split_at(room);
                self.pending.extend_from_slice(head);
                let cut = code_point_floor(&self.pending, rest.first().copied());
                *input = rest;
                let held_back = self.pending.split_off(cut);
                let piece = std::mem::replace(&mut self.pending, held_back);
                Some(self.emit(piece, true))
            }
        }
    }

    /// Returns the remaining line, which has no newline.
    pub fn finish(&mut self) -> Option<SplitLine> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(piece);
        }
        let rest = std::mem::take(&mut self.pending);
        if rest.is_empty() { None } else { Some(self.emit(rest, false)) }
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
        bytes
    }

    fn complete(&mut self, end: &[u8]) -> SplitLine {
        if self.pending.is_empty() {
            return self.emit(end.to_vec(), false);
        }
        let mut line = std::mem::take(&mut self.pending);
        line.extend_from_slice(end);
        self.emit(line, false)
    }

    fn emit(&mut self, mut bytes: Vec<u8>, partial: bool) -> SplitLine {
        let nul = memchr(0, &bytes).is_some();
        if nul {
            // 0xff is never valid UTF-8, so the replacement below covers it.
            bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0xff);
        }
        match String::from_utf8(bytes) {
            Ok(text) => SplitLine { text, partial, lossy: false },
            Err(error) => self.emit_replaced(&String::from_utf8_lossy(error.as_bytes()), partial),
        }
    }

    /// A replaced byte becomes the three bytes of U+FFFD, so the line may exceed the limit now.
    fn emit_replaced(&mut self, mut text: &str, partial: bool) -> SplitLine {
        while text.len() > self.bytes_max {
            let (piece, rest) = text.split_at(text.floor_char_boundary(self.bytes_max));
            self.ready.push_back(SplitLine { text: piece.to_owned(), partial: true, lossy: true });
            text = rest;
        }
        self.ready.push_back(SplitLine { text: text.to_owned(), partial, lossy: true });
        self.ready.pop_front().unwrap_or_default()
    }
}

/// Returns where to cut `bytes` so that no code point is split.
fn code_point_floor(bytes: &[u8], next: Option<u8>) -> usize {
    let continues = |byte: u8| byte & 0xc0 == 0x80;
    if !next.is_some_and(continues) {
        return bytes.len();
    }
    // A code point has at most three continuation bytes; a longer run is invalid UTF-8 anyway.
    let head = bytes.iter().rev().take(3).position(|byte| !continues(*byte));
    match head {
        Some(back) if back + 1 < bytes.len() => bytes.len() - back - 1,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]], bytes_max: usize) -> Vec<SplitLine> {
        let mut splitter = LineSplitter::new(bytes_max);
        let mut lines = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(line) = splitter.next_line(&mut input) {
                lines.push(line);
            }
        }
        lines.extend(std::iter::from_fn(|| splitter.finish()));
        lines
    }

    fn texts(input: &[u8], bytes_max: usize) -> Vec<String> {
        split(&[input], bytes_max).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_end_at_newlines_and_carriage_returns_stay() {
        assert_eq!(texts(b"a\n\nb\r\n10%\r20%", 64), ["a", "", "b\r", "10%\r20%"]);
        assert_eq!(texts(b"", 64), [""; 0]);
        assert_eq!(texts(b"\n", 64), [""]);
    }

    #[test]
    fn formats_1_12_chunk_borders_do_not_split_lines() {
        let line = "k6 remote: running (0m05.0s), 10/10 VUs, 48 complete and 0 interrupted iterations";
        let text = format!("{line}\n{line}\n");
        for cut in 0..text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            let lines: Vec<String> = split(&[one, two], 256).into_iter().map(|line| line.text).collect();
            assert_eq!(lines, [line, line], "cut at {cut}");
        }
    }

    #[test]
    fn a_long_line_is_cut_at_the_limit_and_marked() {
        let lines = split(&[b"abcdefghij\nk"], 4);
        let seen: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.partial)).collect();
        assert_eq!(seen, [("abcd", true), ("efgh", true), ("ij", false), ("k", false)]);
        assert_eq!(texts(b"abcd\n", 4), ["abcd"], "exactly the limit is not cut");
    }

    #[test]
    fn a_cut_never_splits_a_code_point() {
        assert_eq!(texts("abcé".as_bytes(), 4), ["abc", "é"]);
        assert_eq!(texts("a😀😀".as_bytes(), 4), ["a", "😀", "😀"]);
    }

    #[test]
    fn invalid_utf8_is_replaced_and_marked() {
        let lines = split(&[b"a\xffb\nc\0d\n\xc3\xa9\n"], 64);
        let seen: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.lossy)).collect();
        assert_eq!(seen, [("a\u{fffd}b", true), ("c\u{fffd}d", true), ("é", false)]);
    }

    #[test]
    fn memory_of_a_100_mb_line_is_bounded() {
        let mut splitter = LineSplitter::default();
        let chunk = vec![b'x'; 256 * 1024];
        let mut bytes = 0;
        for _ in 0..400 {
            let mut input = chunk.as_slice();
            while let Some(line) = splitter.next_line(&mut input) {
                assert!(line.partial && line.text.len() == LINE_BYTES_MAX);
                bytes += line.text.len();
            }
            assert!(splitter.pending.capacity() <= 2 * LINE_BYTES_MAX);
        }
        let rest = splitter.finish().map_or(0, |line| line.text.len());
        assert_eq!(bytes + rest, 400 * chunk.len());
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'\n'), Just(b'a'), Just(0u8), Just(0xc3), Just(0xa9), Just(0xf0), any::<u8>()];
        prop::collection::vec(byte, 0..200)
    }

    proptest! {
        #[test]
        fn chunking_does_not_change_lines(input in bytes(), cuts in prop::collection::vec(0usize..200, 0..8), max in 4usize..24) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts {
                chunks.push(&input[from..cut]);
                from = cut;
            }
            chunks.push(&input[from..]);
            let whole = split(&[&input], max);
            prop_assert!(whole.iter().all(|line| line.text.len() <= max && !line.text.contains(['\n', '\0'])));
            prop_assert_eq!(split(&chunks, max), whole);
        }

        #[test]
        fn text_round_trips(input in "[a-c\né😀\r]{0,80}", max in 4usize..24) {
            let lines = split(&[input.as_bytes()], max);
            let mut joined = String::new();
            for line in &lines {
                prop_assert!(!line.lossy);
                joined.push_str(&line.text);
                if !line.partial {
                    joined.push('\n');
                }
            }
            let mut wanted = input.clone();
            if !wanted.is_empty() && !wanted.ends_with('\n') {
                wanted.push('\n');
            }
            prop_assert_eq!(joined, wanted);
        }
    }
}
