//! The last bytes of a channel whose output is being skipped, and a count of all its lines.

use memchr::{memchr, memchr_iter};

use crate::model::Timestamp;

/// A ring that counts the lines of everything pushed and stores the newest bytes. A push costs no more than
/// finding the newlines and copying `bytes_max` bytes.
#[derive(Debug)]
pub(super) struct OutputTail {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// Newlines in everything that was pushed.
    newlines: u64,
    /// Earlier bytes were discarded.
    cut: bool,
    at: Timestamp,
}

impl OutputTail {
    /// Creates a tail of at least the newest `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, newlines: 0, cut: false, at: Timestamp::default() }
    }

    /// Appends skipped output.
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
        // Trim only occasionally, so that small pushes do not move the whole tail each time.
        if self.bytes.len() > 2 * self.bytes_max {
            self.cut = true;
            self.bytes.drain(..self.bytes.len() - self.bytes_max);
        }
    }

    /// Returns the time of the newest bytes.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the newest whole lines and the line in progress.
    pub(super) fn retained(&self) -> &[u8] {
        let mut retained = self.bytes.as_slice();
        if self.cut {
            // Omit a line whose beginning was discarded, unless there is no other.
            let whole = memchr(b'\n', retained).map(|end| end + 1);
            let code_point = || retained.iter().position(|byte| byte & 0xc0 != 0x80);
            retained = retained.get(whole.or_else(code_point).unwrap_or(0)..).unwrap_or_default();
        }
        retained
    }

    /// Returns how many of the pushed lines are missing or incomplete in [`OutputTail::retained`].
    pub(super) fn missing(&self) -> u64 {
        let headless = self.cut && memchr(b'\n', &self.bytes).is_none();
        self.newlines + u64::from(headless) - memchr_iter(b'\n', self.retained()).count() as u64
    }
}
