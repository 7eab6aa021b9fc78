//! One channel's bytes, cut anywhere, with every secret in them replaced.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

/// What stands for a secret.
const MASK: &[u8] = b"***";

/// Everything to look for at once.
pub(super) struct Patterns {
    automaton: NFA,
    start: StateID,
    /// Whether a byte is the first of something.
    begins: [bool; 256],
    /// How many of the newest bytes may still become something, by the automaton's state.
    open_bytes: HashMap<StateID, usize>,
}

impl Patterns {
    /// None if there is nothing to look for.
    pub(super) fn new(forms: BTreeSet<Vec<u8>>) -> Option<Self> {
        if forms.is_empty() {
            return None;
        }
        // Overlapping matches are wanted, each as soon as its last byte is there.
        let automaton = NFA::builder().match_kind(MatchKind::Standard).prefilter(false).build(&forms).ok()?;
        let start = automaton.start_state(Anchored::No).ok()?;
        let mut begins = [false; 256];
        let mut depths = HashMap::new();
        // States from which something longer can be reached.
        let mut inner = HashSet::new();
        for form in &forms {
            form.first().iter().for_each(|first| begins[usize::from(**first)] = true);
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
            // At the end of a form that no other goes on from, only a shorter suffix is still open.
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
        Some(Self { automaton, start, begins, open_bytes })
    }

    /// Bytes of the longest form that ends in this state, if one does.
    fn match_bytes(&self, state: StateID) -> Option<usize> {
        if !self.automaton.is_match(state) {
            return None;
        }
        let all = (0..self.automaton.match_len(state)).map(|n| self.automaton.match_pattern(state, n));
        all.map(|pattern| self.automaton.pattern_len(pattern)).max()
    }
}

/// Masks one stream.
///
/// Invariants: where the input is cut makes no difference to the output, all pieces together;
/// bytes that may still become a secret are held back, at most as many as the longest has; all
/// others are given at once.
pub struct Masker {
    patterns: Arc<Patterns>,
    state: StateID,
    /// The newest bytes, which may still become a secret.
    held: Vec<u8>,
    /// What is found in `held` and in the input at hand, in order, none overlapping another.
    found: Vec<Found>,
    /// The first of `found` began before `held`, and its mask is out.
    begun: bool,
}

#[derive(Clone, Copy)]
struct Found {
    from: usize,
    to: usize,
}

impl Masker {
    pub(super) fn new(patterns: Arc<Patterns>) -> Self {
        let state = patterns.start;
        Self { patterns, state, held: Vec::new(), found: Vec::new(), begun: false }
    }

    /// Takes `input`, appends to `out` what is decided.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let patterns = Arc::clone(&self.patterns);
        let before = self.held.len();
        let mut state = self.state;
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            if state == patterns.start {
                let Some(skipped) = rest.iter().position(|byte| patterns.begins[usize::from(*byte)]) else { break };
                at += skipped;
            }
            let Some(byte) = input.get(at) else { break };
            state = patterns.automaton.next_state(Anchored::No, state, *byte);
            at += 1;
            if let Some(bytes) = patterns.match_bytes(state) {
                self.find(Found { from: before + at - bytes, to: before + at });
            }
        }
        self.state = state;
        let open = patterns.open_bytes.get(&state).copied().unwrap_or(0);
        self.give(input, before + input.len() - open, out);
    }

    /// No more bytes: appends the rest.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.state = self.patterns.start;
        self.give(&[], self.held.len(), out);
    }

    fn find(&mut self, mut found: Found) {
        while let Some(last) = self.found.pop_if(|last| last.to > found.from) {
            found.from = found.from.min(last.from);
        }
        self.found.push(found);
    }

    /// Gives everything before `decided`, a place in `held` and `input` behind it, and holds the rest.
    fn give(&mut self, input: &[u8], decided: usize, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let both = |from: usize, to: usize| {
            let middle = held.len();
            let near = held.get(from.min(middle)..to.min(middle)).unwrap_or_default();
            [near, input.get(from.max(middle) - middle..to.max(middle) - middle).unwrap_or_default()]
        };
        let mut from = 0;
        let mut begun = std::mem::take(&mut self.begun);
        for found in std::mem::take(&mut self.found) {
            if found.from >= decided && !begun {
                self.found.push(Found { from: found.from - decided, to: found.to - decided });
                continue;
            }
            both(from, found.from).iter().for_each(|bytes| out.extend_from_slice(bytes));
            if !begun {
                out.extend_from_slice(MASK);
            }
            begun = false;
            from = found.to.min(decided);
            // A form neither begins nor ends with a line end: more of it follows each.
            let covered = both(found.from, from);
            for _ in covered.iter().flat_map(|bytes| bytes.iter()).filter(|byte| **byte == b'\n') {
                out.push(b'\n');
                out.extend_from_slice(MASK);
            }
            if found.to > decided {
                self.found.push(Found { from: 0, to: found.to - decided });
                self.begun = true;
            }
        }
        both(from, decided).iter().for_each(|bytes| out.extend_from_slice(bytes));
        self.held = both(decided, held.len() + input.len()).concat();
    }
}

impl fmt::Debug for Masker {
    /// Without the secrets, and without what may be one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("held_bytes", &self.held.len()).finish_non_exhaustive()
    }
}
