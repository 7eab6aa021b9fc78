//! The last bytes of a channel whose output is being skipped, and a count of all its lines.

use memchr::{memchr, memchr_iter, memrchr_iter};

use crate::model::Timestamp;

/// Counts the lines of everything pushed, keeps the newest bytes. Costs no more than finding the
/// newlines and copying `bytes_max` bytes a push.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    bytes_max: usize,
    lines_max: usize,
    /// Newlines in everything that was pushed.
    newlines: u64,
    /// Something before `bytes` is gone.
    cut: bool,
    at: Timestamp,
}

impl Tail {
    /// Keeps at least the newest `bytes_max` bytes, gives back at most `lines_max` lines of them.
    pub(super) fn new(bytes_max: usize, lines_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, lines_max, newlines: 0, cut: false, at: Timestamp::default() }
    }

    /// Takes output that is skipped.
    pub(super) fn push(&mut self, input: &[u8], at: Timestamp) {
        if input.is_empty() {
            return;
        }
        self.at = at;
        self.newlines += memchr_iter(b'\n', input).count() as u64;
        let newest = input.len().saturating_sub(self.bytes_max);
        if newest > 0 {
            self.cut = true;
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(input.get(newest..).unwrap_or_default());
        // Cut only now and then, so that small pushes do not move the whole tail each time.
        if self.bytes.len() > 2 * self.bytes_max {
            self.cut = true;
            self.bytes.drain(..self.bytes.len() - self.bytes_max);
        }
    }

    /// When the newest bytes were pushed.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// Whole lines from the newest ones, and the line in progress.
    pub(super) fn kept(&self) -> &[u8] {
        let mut kept = self.bytes.as_slice();
        if self.cut {
            // A line that has lost its head is left out, unless it is all there is.
            let whole = memchr(b'\n', kept).map(|end| end + 1);
            let code_point = || kept.iter().position(|byte| byte & 0xc0 != 0x80);
            kept = kept.get(whole.or_else(code_point).unwrap_or(0)..).unwrap_or_default();
        }
        let too_old = memrchr_iter(b'\n', kept).nth(self.lines_max);
        kept.get(too_old.map_or(0, |end| end + 1)..).unwrap_or_default()
    }

    /// How many of the lines pushed are not, or not whole, in [`Tail::kept`].
    pub(super) fn missing(&self) -> u64 {
        let headless = self.cut && memchr(b'\n', &self.bytes).is_none();
        self.newlines + u64::from(headless) - memchr_iter(b'\n', self.kept()).count() as u64
    }
}
