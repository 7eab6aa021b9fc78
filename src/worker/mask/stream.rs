//! Replaces every secret in one channel's bytes, which may be cut anywhere.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

/// Replacement for a secret.
const MASK: &[u8] = b"***";

/// An automaton that matches all forms at once.
pub(super) struct MaskPatterns {
    automaton: NFA,
    start: StateID,
    /// Bytes that begin a form.
    first_bytes: [bool; 256],
    /// Count of the newest bytes that may still become a secret, by the automaton's state.
    open_bytes: HashMap<StateID, usize>,
}

impl MaskPatterns {
    /// Builds the automaton; returns `None` if there are no forms.
    pub(super) fn new(forms: BTreeSet<Vec<u8>>) -> Option<Self> {
        if forms.is_empty() {
            return None;
        }
        // Reports overlapping matches, each as soon as its last byte arrives.
        let automaton = NFA::builder().match_kind(MatchKind::Standard).prefilter(false).build(&forms).ok()?;
        let start = automaton.start_state(Anchored::No).ok()?;
        let mut first_bytes = [false; 256];
        let mut depths = HashMap::new();
        // States from which a longer form can be reached.
        let mut inner = HashSet::new();
        for form in &forms {
            form.first().iter().for_each(|first| first_bytes[usize::from(**first)] = true);
            let mut state = start;
            for (index, byte) in form.iter().enumerate() {
                inner.insert(state);
                state = automaton.next_state(Anchored::No, state, *byte);
                depths.insert(state, index + 1);
            }
        }
        let after =
            |bytes: &[u8]| bytes.iter().fold(start, |state, byte| automaton.next_state(Anchored::No, state, *byte));
        let mut open_bytes = depths.clone();
        for form in &forms {
            let end = after(form);
            // At the end of a form that no other form extends, only a shorter suffix is still open.
            let mut rest = form.as_slice();
            let mut state = end;
            while state != start && !inner.contains(&state) {
                rest = rest.get(1..).unwrap_or_default();
                state = after(rest);
                let depth = depths.get(&state).copied().unwrap_or(0);
                rest = rest.get(rest.len() - depth..).unwrap_or_default();
            }
            open_bytes.insert(end, rest.len());
        }
        Some(Self { automaton, start, first_bytes, open_bytes })
    }

    /// Returns the length of the longest form that ends in this state, if any.
    fn match_bytes(&self, state: StateID) -> Option<usize> {
        if !self.automaton.is_match(state) {
            return None;
        }
        let all = (0..self.automaton.match_len(state)).map(|n| self.automaton.match_pattern(state, n));
        all.map(|pattern| self.automaton.pattern_len(pattern)).max()
    }
}

/// A masker for one stream.
///
/// Invariants: the complete output does not depend on where the input is cut. Bytes that may still become a
/// secret are held back, at most as many as the longest secret has. All others are written at once.
pub struct Masker {
    patterns: Arc<MaskPatterns>,
    state: StateID,
    /// Newest bytes, which may still become a secret.
    held: Vec<u8>,
    /// Matches in `held` and the current input, in order and without overlaps.
    matches: Vec<MaskMatch>,
    /// The first match began before `held`, and its mask was written.
    mask_written: bool,
}

#[derive(Clone, Copy)]
struct MaskMatch {
    from: usize,
    to: usize,
}

impl Masker {
    pub(super) fn new(patterns: Arc<MaskPatterns>) -> Self {
        let state = patterns.start;
        Self { patterns, state, held: Vec::new(), matches: Vec::new(), mask_written: false }
    }

    /// Processes `input` and appends the decided bytes to `out`.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let patterns = Arc::clone(&self.patterns);
        let before = self.held.len();
        let mut state = self.state;
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            if state == patterns.start {
                let Some(skipped) = rest.iter().position(|byte| patterns.first_bytes[usize::from(*byte)]) else {
                    break;
                };
                at += skipped;
            }
            let Some(byte) = input.get(at) else { break };
            state = patterns.automaton.next_state(Anchored::No, state, *byte);
            at += 1;
            if let Some(bytes) = patterns.match_bytes(state) {
                self.add_match(MaskMatch { from: before + at - bytes, to: before + at });
            }
        }
        self.state = state;
        let open = patterns.open_bytes.get(&state).copied().unwrap_or(0);
        self.flush(input, before + input.len() - open, out);
    }

    /// Ends the input and appends the remaining bytes to `out`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.state = self.patterns.start;
        self.flush(&[], self.held.len(), out);
    }

    fn add_match(&mut self, mut found: MaskMatch) {
        while let Some(last) = self.matches.pop_if(|last| last.to > found.from) {
            found.from = found.from.min(last.from);
        }
        self.matches.push(found);
    }

    /// Writes everything before the position `decided` in `held` followed by `input`, and holds the rest.
    fn flush(&mut self, input: &[u8], decided: usize, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let both = |from: usize, to: usize| {
            let middle = held.len();
            let near = held.get(from.min(middle)..to.min(middle)).unwrap_or_default();
            [near, input.get(from.max(middle) - middle..to.max(middle) - middle).unwrap_or_default()]
        };
        let mut from = 0;
        let mut mask_written = std::mem::take(&mut self.mask_written);
        for found in std::mem::take(&mut self.matches) {
            if found.from >= decided && !mask_written {
                self.matches.push(MaskMatch { from: found.from - decided, to: found.to - decided });
                continue;
            }
            both(from, found.from).iter().for_each(|bytes| out.extend_from_slice(bytes));
            if !mask_written {
                out.extend_from_slice(MASK);
            }
            mask_written = false;
            from = found.to.min(decided);
            // A form neither begins nor ends with a line end, so more of the match follows each line end.
            let covered = both(found.from, from);
            for _ in covered.iter().flat_map(|bytes| bytes.iter()).filter(|byte| **byte == b'\n') {
                out.push(b'\n');
                out.extend_from_slice(MASK);
            }
            if found.to > decided {
                self.matches.push(MaskMatch { from: 0, to: found.to - decided });
                self.mask_written = true;
            }
        }
        both(from, decided).iter().for_each(|bytes| out.extend_from_slice(bytes));
        self.held = both(decided, held.len() + input.len()).concat();
    }
}

impl fmt::Debug for Masker {
    /// Formats without the secrets or the held bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("held_bytes", &self.held.len()).finish_non_exhaustive()
    }
}
