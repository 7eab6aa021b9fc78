//! Diagnostics of the event stream: whether it is live, and at which stage events are lost.

use super::state::{DashboardState, LinkState};
use super::text::{age, thousands};
use crate::events::{TOKEN, clean};
use crate::model::Timestamp;

/// Lines without an event after which the dashboard reports what it looks for.
const LINES_WITHOUT_EVENTS: u64 = 200;

/// Returns the state of the stream, with the source and the age of the last event.
pub(super) fn stream(state: &DashboardState, now: Timestamp) -> String {
    let last = state.last.as_ref().map(|(at, source)| format!("({source}, {})", age(*at, now)));
    match (&state.link, last) {
        (LinkState::Open, None) if state.is_missing => "no such run yet: waiting for its first event".to_owned(),
        (LinkState::Open, None) => "waiting for the first event".to_owned(),
        (LinkState::Open, Some(last)) => format!("live {last}"),
        (LinkState::Broken { .. }, None) => "disconnected".to_owned(),
        (LinkState::Broken { .. }, Some(last)) => format!("disconnected {last}"),
        (LinkState::Ended, None) => format!("ended: no events from {}", state.source),
        (LinkState::Ended, Some(last)) => format!("ended {last}"),
    }
}

/// Returns all warnings, the most urgent first. Their text is clean.
pub(super) fn warnings(state: &DashboardState, now: Timestamp) -> Vec<String> {
    let mut all = Vec::new();
    if let LinkState::Broken { why, since, retry } = &state.link {
        let passed = now.as_millis().saturating_sub(since.as_millis());
        let left = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX).saturating_sub(passed).div_ceil(1000);
        let when = if left == 0 { "trying again".to_owned() } else { format!("retry in {left} s") };
        all.push(format!("disconnected, {when}: {why}"));
    }
    let counts = &state.counts;
    if counts.rejected_all() > 0 {
        let reasons: Vec<String> = counts.rejected.iter().map(|(word, count)| format!("{word} {count}")).collect();
        let last = state.last_rejected.as_ref().map(|why| format!(", last: {why}")).unwrap_or_default();
        all.push(format!("{} rejected ({}){last}", thousands(counts.rejected_all()), reasons.join(", ")));
    }
    all.extend(state.input_failure.clone());
    if counts.input >= LINES_WITHOUT_EVENTS || state.link == LinkState::Ended {
        all.extend(state.nothing_found());
    }
    if counts.found == 0 && counts.named_only > 0 {
        let lines = if counts.named_only == 1 {
            "1 line of text contains".to_owned()
        } else {
            format!("{} lines of text contain", thousands(counts.named_only))
        };
        all.push(format!("{lines} {TOKEN} but no valid event"));
    }
    if let [first, second, ..] = &state.runs[..] {
        all.push(format!("events of several runs, shown as one: {first}, {second}"));
    }
    for hop in state.pipeline.iter().flat_map(|pipeline| &pipeline.stages) {
        if hop.dropped > 0 {
            all.push(format!("{} lost at stage {}", thousands(hop.dropped), hop.name));
        }
        if let Some(fault) = &hop.last_error {
            all.push(format!("{} ({}): {}", hop.name, age(fault.at, now), fault.message));
        }
    }
    all.extend(state.run().into_iter().flat_map(|run| run.warnings.clone()));
    all.iter().map(|text| clean(text)).collect()
}
