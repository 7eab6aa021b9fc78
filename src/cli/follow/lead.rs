//! The text before a line: the task's name, the time, and a mark of tasktail's own lines.

use std::rc::Rc;

use super::stamp::{LineClock, TimeMode};
use super::view::TaskView;
use crate::model::{Channel, Timestamp};

/// Maximum characters of a name; a longer one is cut in its middle.
const NAME_CHARS_MAX: usize = 32;
/// Colours of the names, by their SGR codes.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// The prefix of a line.
#[derive(Clone, Debug)]
pub(super) struct LeadStyle {
    pub(super) time: Option<TimeMode>,
    /// Whether the name of the task precedes its lines.
    pub(super) prefix: bool,
    /// Whether stdout and stderr support colours.
    pub(super) colours: [bool; 2],
    /// Width of the longest name so far.
    pub(super) name_width: usize,
}

impl LeadStyle {
    /// Makes room for a name.
    pub(super) fn fit(&mut self, name: &str) {
        self.name_width = self.name_width.max(shortened(name).chars().count());
    }

    /// Returns what precedes the next line of a task.
    pub(super) fn of_line(&self, view: &mut TaskView, time: Timestamp, channel: Channel) -> Rc<str> {
        let before = view.clock;
        if let Some(mode) = self.time {
            view.clock.stamp(mode, time);
        }
        self.of(before, (view.id.as_str(), view.place), time, channel)
    }

    /// Returns what precedes a line, with the name and the place of its task.
    pub(super) fn of(
        &self,
        mut clock: LineClock,
        (name, place): (&str, usize),
        time: Timestamp,
        channel: Channel,
    ) -> Rc<str> {
        let mut lead = String::new();
        if self.prefix {
            let [stdout, stderr] = self.colours;
            let (name, width) = (shortened(name), self.name_width);
            let coloured = if channel == Channel::Stdout { stdout } else { stderr };
            if coloured {
                let colour = COLOURS.get(place % COLOURS.len()).copied().unwrap_or_default();
                lead.push_str(&format!("\x1b[{colour}m{name:<width$} |\x1b[0m "));
            } else {
                lead.push_str(&format!("{name:<width$} | "));
            }
        }
        if let Some(mode) = self.time {
            lead.push_str(&clock.stamp(mode, time));
            lead.push(' ');
        }
        if channel == Channel::Internal {
            lead.push_str("# ");
        }
        lead.into()
    }
}

/// Returns a name of at most [`NAME_CHARS_MAX`] characters; ids are ASCII.
fn shortened(name: &str) -> String {
    let cut = name.len().checked_sub(NAME_CHARS_MAX - 1).filter(|cut| *cut > 1);
    let half = NAME_CHARS_MAX / 2;
    match cut.and_then(|cut| Some((name.get(..half)?, name.get(half + cut..)?))) {
        Some((start, end)) => format!("{start}…{end}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_aligned_and_cut() {
        let mut style = LeadStyle { time: Some(TimeMode::Utc), prefix: true, colours: [true, false], name_width: 0 };
        style.fit("web");
        style.fit("database");
        let lead = |channel| style.of(LineClock::default(), ("web", 7), Timestamp::from_millis(0), channel);
        assert_eq!(&*lead(Channel::Stdout), "\x1b[33mweb      |\x1b[0m 1970-01-01T00:00:00.000Z ");
        assert_eq!(&*lead(Channel::Internal), "web      | 1970-01-01T00:00:00.000Z # ");
        let long = shortened(&"abcdefgh".repeat(16));
        assert_eq!(long, "abcdefghabcdefgh…bcdefghabcdefgh");
        assert_eq!(shortened(&"x".repeat(32)), "x".repeat(32));
    }
}
