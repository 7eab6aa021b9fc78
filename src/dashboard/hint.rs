//! What is to be said about the way of the events: is it live, and at which hop do they vanish.

use super::state::{Link, State};
use super::text::{age, thousands};
use crate::events::{TOKEN, clean};
use crate::model::Timestamp;

/// Whether events come, from where, and how long ago the last one did.
pub(super) fn stream(state: &State, now: Timestamp) -> String {
    let last = state.last.as_ref().map(|(at, source)| format!("({source}, {})", age(*at, now)));
    match (&state.link, last) {
        (Link::Open, None) => "waiting for the first event".to_owned(),
        (Link::Open, Some(last)) => format!("live {last}"),
        (Link::Broken { .. }, None) => "disconnected".to_owned(),
        (Link::Broken { .. }, Some(last)) => format!("disconnected {last}"),
        (Link::Ended, None) => format!("ended: {} brought no event", state.source),
        (Link::Ended, Some(last)) => format!("ended {last}"),
    }
}

/// What does not look right, the most pressing first. Clean.
pub(super) fn warnings(state: &State, now: Timestamp) -> Vec<String> {
    let mut all = Vec::new();
    if let Link::Broken { why, since, retry } = &state.link {
        let passed = now.as_millis().saturating_sub(since.as_millis());
        let left = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX).saturating_sub(passed).div_ceil(1000);
        let when = if left == 0 { "trying again".to_owned() } else { format!("retry in {left} s") };
        all.push(format!("disconnected, {when}: {why}"));
    }
    let counts = &state.counts;
    if counts.rejected_all() > 0 {
        let reasons: Vec<String> = counts.rejected.iter().map(|(word, count)| format!("{word} {count}")).collect();
        let last = state.last_rejected.as_ref().map(|why| format!(", the last: {why}")).unwrap_or_default();
        all.push(format!("{} rejected ({}){last}", thousands(counts.rejected_all()), reasons.join(", ")));
    }
    all.extend(state.trouble.clone());
    if counts.found == 0 && counts.named_only > 0 {
        let lines = if counts.named_only == 1 {
            "1 line of text names".to_owned()
        } else {
            format!("{} lines of text name", thousands(counts.named_only))
        };
        all.push(format!("{lines} {TOKEN}, but none of them holds an event that can be read"));
    }
    if let [first, second, ..] = &state.runs[..] {
        all.push(format!("events of several runs, shown as one: {first}, {second}"));
    }
    for hop in state.pipeline.iter().flat_map(|pipeline| &pipeline.stages) {
        if hop.dropped > 0 {
            all.push(format!("{} lost at the hop {}", thousands(hop.dropped), hop.name));
        }
        if let Some(fault) = &hop.last_error {
            all.push(format!("{} ({}): {}", hop.name, age(fault.at, now), fault.message));
        }
    }
    all.extend(state.run().into_iter().flat_map(|run| run.warnings.clone()));
    all.iter().map(|text| clean(text)).collect()
}
