//! What each hop of the way to the screen has seen, so that it shows where events vanish.

use std::collections::BTreeMap;

use super::text::thousands;
use crate::model::{Pipeline, Stage};

/// The hops inside this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines of text that were read.
    pub input: u64,
    /// Events that were found, echoes too.
    pub found: u64,
    /// What looked like an event and was none, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Events that were there already.
    pub repeated: u64,
    /// Events that the run's state took.
    pub run: u64,
    /// Events that the log on the screen took.
    pub screen: u64,
    /// Lines that name the token and gave neither an event nor a rejection.
    pub named_only: u64,
}

impl Counts {
    /// What was rejected, all told.
    pub fn rejected_all(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// The hops in this process, in order, each with what left it.
    pub fn here(&self, of_text: bool) -> Vec<String> {
        let rejected = match self.rejected_all() {
            0 => String::new(),
            count => format!(" ({} rejected)", thousands(count)),
        };
        let mut words = Vec::with_capacity(5);
        if of_text {
            words.push(format!("input {}", thousands(self.input)));
        }
        let name = if of_text { "extraction" } else { "arrived" };
        words.push(format!("{name} {}{rejected}", thousands(self.found)));
        let repeated = match self.repeated {
            0 => String::new(),
            count => format!(" ({} repeated)", thousands(count)),
        };
        words.push(format!("dedupe {}{repeated}", thousands(self.found - self.repeated)));
        words.push(format!("run {}", thousands(self.run)));
        words.push(format!("screen {}", thousands(self.screen)));
        words
    }
}

/// The hops of a server that have seen anything, in order, each with what left it.
pub(super) fn there(pipeline: &Pipeline) -> Vec<String> {
    pipeline.stages.iter().filter(|hop| is_used(hop)).map(hop).collect()
}

fn is_used(hop: &Stage) -> bool {
    hop.received > 0 || hop.dropped > 0 || !hop.rejected.is_empty() || hop.delivered > 0 || hop.stored > 0
}

fn hop(hop: &Stage) -> String {
    let rejected = hop.rejected.values().sum::<u64>();
    let left = [hop.delivered, hop.stored, hop.parsed].into_iter().find(|count| *count > 0);
    let left = left.unwrap_or_else(|| hop.received.saturating_sub(rejected + hop.deduplicated + hop.dropped));
    let losses = [(rejected, "rejected"), (hop.deduplicated, "repeated"), (hop.dropped, "LOST")];
    let losses: Vec<String> = losses
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{} {word}", thousands(*count)))
        .collect();
    let losses = if losses.is_empty() { String::new() } else { format!(" ({})", losses.join(", ")) };
    format!("{} {}{losses}", crate::events::clean(&hop.name), thousands(left))
}
