//! Ranks events by relevance: one pass over them, a few bytes stored per event.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::EventScope;
use crate::model::{Event, EventSchema, EventView};

/// Maximum number of lines shown before the first failure.
const CONTEXT_MAX: usize = 10;
/// Maximum number of steps and repetitions whose first failure is shown with the line before it.
const FIRSTS_MAX: usize = 1_000;

/// An event that may be shown.
pub(super) struct Candidate {
    /// Index of the event.
    pub(super) at: usize,
    /// It may be truncated to fit, and may be shown next to a similar event.
    pub(super) required: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EventClass {
    Failure,
    /// A failure or the end of a run.
    Ending,
    Change,
    Warning,
    Rest,
}

struct EventRank {
    class: EventClass,
    failure: bool,
    /// Number of the step or repetition.
    key: u32,
    /// Number of the group of similar events.
    group: u32,
    /// Index of the previous event with the same key that is not a failure.
    before: Option<usize>,
}

/// The relevance of all events of a run.
pub(super) struct EventRanking {
    facts: Vec<EventRank>,
    /// Number of events, by group.
    counts: Vec<usize>,
    /// The last state change of a key was a failure, by key.
    failed: Vec<bool>,
}

impl EventRanking {
    pub(super) fn of(events: &[&Event]) -> Self {
        let (mut keys, mut groups) = (HashMap::new(), HashMap::new());
        let (mut counts, mut failed, mut last) = (Vec::new(), Vec::new(), Vec::<Option<usize>>::new());
        let mut facts = Vec::with_capacity(events.len());
        for (at, event) in events.iter().enumerate() {
            let view = event.view();
            let key = number(&mut keys, key(&view));
            let group = number(&mut groups, similarity_key(&view));
            grow(&mut counts, group, 0);
            grow(&mut failed, key, false);
            grow(&mut last, key, None);
            let failure = view.is_failure();
            let class = class(&view, failure);
            let (slot, before) = (key as usize, last.get(key as usize).copied().flatten());
            if let Some(count) = counts.get_mut(group as usize) {
                *count += 1;
            }
            if let Some(failed) = failed.get_mut(slot) {
                // A logged error followed by a successful end counts as resolved.
                *failed = if failure { true } else { *failed && class != EventClass::Change };
            }
            if let Some(last) = last.get_mut(slot).filter(|_| !failure) {
                *last = Some(at);
            }
            facts.push(EventRank { class, failure, key, group, before });
        }
        Self { facts, counts, failed }
    }

    /// Returns the number of events that report a failure.
    pub(super) fn failures(&self) -> usize {
        self.facts.iter().filter(|fact| fact.failure).count()
    }

    /// Returns the group of the event at `at`.
    pub(super) fn group(&self, at: usize) -> u32 {
        self.facts.get(at).map_or(0, |fact| fact.group)
    }

    /// Returns the number of events in a group.
    pub(super) fn count(&self, group: u32) -> usize {
        self.counts.get(group as usize).copied().unwrap_or(1)
    }

    /// Returns the events that may be shown, the most relevant first. Some occur twice.
    pub(super) fn candidates(&self, scope: EventScope) -> Vec<Candidate> {
        let mut order = Vec::new();
        let failures: Vec<usize> = self.places(|fact| fact.failure).collect();
        let first = failures.first().copied();
        if let Some(first) = first {
            order.push(Candidate { at: first, required: true });
            order.extend(self.before(first).map(|at| Candidate { at, required: true }));
            order.extend(first.checked_sub(1).map(optional));
        }
        let last = failures.last().copied();
        let endings = self.places(|fact| fact.class == EventClass::Ending).rev().take(4);
        order.extend(endings.chain(last).map(|at| Candidate { at, required: true }));
        for at in self.firsts(&failures) {
            order.push(Candidate { at, required: true });
            order.extend(self.before(at).map(|at| Candidate { at, required: false }));
        }
        let mut others = failures;
        others.sort_by_key(|at| (self.count(self.group(*at)).ilog2(), std::cmp::Reverse(*at)));
        order.extend(others.into_iter().map(optional));
        if scope == EventScope::All {
            order.extend(self.places(|fact| fact.class == EventClass::Change).rev().map(optional));
        }
        if let Some(first) = first {
            order.extend((0..first).rev().take(CONTEXT_MAX).map(optional));
        }
        if scope == EventScope::All {
            order.extend(self.places(|fact| fact.class == EventClass::Warning).rev().map(optional));
            order.extend(self.places(|fact| fact.class == EventClass::Rest).rev().map(optional));
        }
        order
    }

    /// Returns the first failure of each key, the most relevant first.
    fn firsts(&self, failures: &[usize]) -> Vec<usize> {
        let mut seen = vec![false; self.failed.len()];
        let mut firsts = Vec::new();
        for at in failures {
            let key = self.facts.get(*at).map_or(0, |fact| fact.key) as usize;
            if let Some(seen) = seen.get_mut(key).filter(|seen| !**seen) {
                *seen = true;
                let resolved = !self.failed.get(key).copied().unwrap_or(false);
                firsts.push((resolved, self.count(self.group(*at)).ilog2(), *at));
            }
        }
        firsts.sort_unstable();
        firsts.truncate(FIRSTS_MAX);
        firsts.into_iter().map(|(.., at)| at).collect()
    }

    /// Returns the event that led to the failure at `at`: the previous one of its step or
    /// repetition, else the one before.
    fn before(&self, at: usize) -> Option<usize> {
        self.facts.get(at)?.before.or_else(|| at.checked_sub(1))
    }

    fn places(&self, like: impl Fn(&EventRank) -> bool) -> impl DoubleEndedIterator<Item = usize> {
        self.facts.iter().enumerate().filter(move |(_, fact)| like(fact)).map(|(at, _)| at)
    }
}

fn optional(at: usize) -> Candidate {
    Candidate { at, required: false }
}

fn class(view: &EventView<'_>, failure: bool) -> EventClass {
    let kind = view.type_word();
    let warning = view.level.as_deref().is_some_and(|level| level.to_ascii_uppercase().starts_with("WARN"));
    match view.schema() {
        EventSchema::Pipeline if kind == "gate.failed" || kind == "run.completed" => EventClass::Ending,
        _ if failure => EventClass::Failure,
        EventSchema::Pipeline if kind.starts_with("run.") || kind.starts_with("step.") => EventClass::Change,
        EventSchema::Benchmark if !view.is_log() => EventClass::Change,
        _ if warning => EventClass::Warning,
        _ => EventClass::Rest,
    }
}

fn key(view: &EventView<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let words = [&view.step_id, &view.host, &view.workload];
    words.map(|word| word.as_deref().unwrap_or_default()).hash(&mut hasher);
    view.repetition.map(|number| number.0).hash(&mut hasher);
    hasher.finish()
}

/// Hashes the common part of similar events: all fields but time, host, and words with a digit.
fn similarity_key(view: &EventView<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    view.type_word().hash(&mut hasher);
    let words = [&view.step_id, &view.workload, &view.status, &view.new_state, &view.level, &view.error_class];
    words.map(|word| word.as_deref().unwrap_or_default()).hash(&mut hasher);
    for text in [&view.error_type, &view.reason, &view.message] {
        let text = text.as_deref().unwrap_or_default();
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            if word.bytes().any(|byte| byte.is_ascii_digit()) { "#" } else { word }.hash(&mut hasher);
        }
        0xffu8.hash(&mut hasher);
    }
    hasher.finish()
}

fn number(known: &mut HashMap<u64, u32>, hash: u64) -> u32 {
    let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
    *known.entry(hash).or_insert(next)
}

fn grow<T: Clone>(list: &mut Vec<T>, index: u32, with: T) {
    let wanted = index as usize + 1;
    if list.len() < wanted {
        list.resize(wanted, with);
    }
}
