//! How telling each event is: one pass over them, a few bytes kept of each.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Scope;
use crate::model::{Event, EventSchema, EventView};

/// Lines before the first failure that may be shown.
const CONTEXT_MAX: usize = 10;
/// First failures of steps and repetitions that are shown with the line before them.
const FIRSTS_MAX: usize = 1_000;

/// An event that may be shown.
pub(super) struct Candidate {
    /// Its place.
    pub(super) at: usize,
    /// It is worth being cut to have room, and to be shown beside one that looks like it.
    pub(super) must: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Failure,
    /// It failed, or says how a run ended.
    Ending,
    Change,
    Warning,
    Rest,
}

struct Fact {
    class: Class,
    failure: bool,
    /// The step or the repetition.
    key: u32,
    /// Those that look alike.
    group: u32,
    /// The event of the same key before it that is no failure.
    before: Option<usize>,
}

/// What is known of all events.
pub(super) struct Facts {
    facts: Vec<Fact>,
    /// How many events look alike, by group.
    counts: Vec<usize>,
    /// Whether a key's last change of state was a failure, by key.
    failed: Vec<bool>,
}

impl Facts {
    pub(super) fn of(events: &[&Event]) -> Self {
        let (mut keys, mut groups) = (HashMap::new(), HashMap::new());
        let (mut counts, mut failed, mut last) = (Vec::new(), Vec::new(), Vec::<Option<usize>>::new());
        let mut facts = Vec::with_capacity(events.len());
        for (at, event) in events.iter().enumerate() {
            let view = event.view();
            let key = number(&mut keys, key(&view));
            let group = number(&mut groups, look(&view));
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
                // An error in a log that was followed by a good end was made good.
                *failed = if failure { true } else { *failed && class != Class::Change };
            }
            if let Some(last) = last.get_mut(slot).filter(|_| !failure) {
                *last = Some(at);
            }
            facts.push(Fact { class, failure, key, group, before });
        }
        Self { facts, counts, failed }
    }

    /// Events that tell of a failure.
    pub(super) fn failures(&self) -> usize {
        self.facts.iter().filter(|fact| fact.failure).count()
    }

    /// The group of the event at `at`.
    pub(super) fn group(&self, at: usize) -> u32 {
        self.facts.get(at).map_or(0, |fact| fact.group)
    }

    /// How many events are in a group.
    pub(super) fn count(&self, group: u32) -> usize {
        self.counts.get(group as usize).copied().unwrap_or(1)
    }

    /// Events that may be shown, the most telling first. Some come twice.
    pub(super) fn candidates(&self, scope: Scope) -> Vec<Candidate> {
        let mut order = Vec::new();
        let failures: Vec<usize> = self.places(|fact| fact.failure).collect();
        let first = failures.first().copied();
        if let Some(first) = first {
            order.push(Candidate { at: first, must: true });
            order.extend(self.before(first).map(|at| Candidate { at, must: true }));
            order.extend(first.checked_sub(1).map(may));
        }
        let last = failures.last().copied();
        let endings = self.places(|fact| fact.class == Class::Ending).rev().take(4);
        order.extend(endings.chain(last).map(|at| Candidate { at, must: true }));
        for at in self.firsts(&failures) {
            order.push(Candidate { at, must: true });
            order.extend(self.before(at).map(|at| Candidate { at, must: false }));
        }
        let mut others = failures;
        others.sort_by_key(|at| (self.count(self.group(*at)).ilog2(), std::cmp::Reverse(*at)));
        order.extend(others.into_iter().map(may));
        if scope == Scope::All {
            order.extend(self.places(|fact| fact.class == Class::Change).rev().map(may));
        }
        if let Some(first) = first {
            order.extend((0..first).rev().take(CONTEXT_MAX).map(may));
        }
        if scope == Scope::All {
            order.extend(self.places(|fact| fact.class == Class::Warning).rev().map(may));
            order.extend(self.places(|fact| fact.class == Class::Rest).rev().map(may));
        }
        order
    }

    /// The first failure of each key, the most telling first.
    fn firsts(&self, failures: &[usize]) -> Vec<usize> {
        let mut seen = vec![false; self.failed.len()];
        let mut firsts = Vec::new();
        for at in failures {
            let key = self.facts.get(*at).map_or(0, |fact| fact.key) as usize;
            if let Some(seen) = seen.get_mut(key).filter(|seen| !**seen) {
                *seen = true;
                let made_good = !self.failed.get(key).copied().unwrap_or(false);
                firsts.push((made_good, self.count(self.group(*at)).ilog2(), *at));
            }
        }
        firsts.sort_unstable();
        firsts.truncate(FIRSTS_MAX);
        firsts.into_iter().map(|(.., at)| at).collect()
    }

    /// The event that led to the failure at `at`: of the same step or repetition, else the one before.
    fn before(&self, at: usize) -> Option<usize> {
        self.facts.get(at)?.before.or_else(|| at.checked_sub(1))
    }

    fn places(&self, like: impl Fn(&Fact) -> bool) -> impl DoubleEndedIterator<Item = usize> {
        self.facts.iter().enumerate().filter(move |(_, fact)| like(fact)).map(|(at, _)| at)
    }
}

fn may(at: usize) -> Candidate {
    Candidate { at, must: false }
}

fn class(view: &EventView<'_>, failure: bool) -> Class {
    let kind = view.type_word();
    let warning = view.level.as_deref().is_some_and(|level| level.to_ascii_uppercase().starts_with("WARN"));
    match view.schema() {
        EventSchema::Pipeline if kind == "gate.failed" || kind == "run.completed" => Class::Ending,
        _ if failure => Class::Failure,
        EventSchema::Pipeline if kind.starts_with("run.") || kind.starts_with("step.") => Class::Change,
        EventSchema::Benchmark if !view.is_log() => Class::Change,
        _ if warning => Class::Warning,
        _ => Class::Rest,
    }
}

fn key(view: &EventView<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let words = [&view.step_id, &view.host, &view.workload];
    words.map(|word| word.as_deref().unwrap_or_default()).hash(&mut hasher);
    view.repetition.map(|number| number.0).hash(&mut hasher);
    hasher.finish()
}

/// What look-alikes have in common: everything but their time, their host, and words with a digit in them.
fn look(view: &EventView<'_>) -> u64 {
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
