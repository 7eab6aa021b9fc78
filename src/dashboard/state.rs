//! What the dashboard knows. Pure: no terminal and no clock; the present is passed in.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::collapse::{Collapser, Lane, Placement};
use super::counts::Counts;
use super::item::Item;
use super::keys::Action;
use super::log::Log;
use super::normal::{Results, is_failure_text, normalise, phase_and_host};
use super::row::{Level, Row};
use crate::events::{RunFold, TOKEN};
use crate::model::{Event, EventView, Pipeline, RunId, RunState, Timestamp};

/// Runs whose names are kept for the warning that there is more than one.
const RUNS_MAX: usize = 4;
/// Characters of a filter.
const FILTER_CHARS_MAX: usize = 200;

/// Which log is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Repetition in one row, and of a result that went well the first line.
    #[default]
    Summary,
    /// Every line and every event.
    All,
}

/// How the input stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Nothing has answered yet, or it is local and open.
    #[default]
    Open,
    /// The connection broke.
    Broken {
        /// Why.
        why: String,
        /// When it broke.
        since: Timestamp,
        /// How long after that it is tried again.
        retry: Duration,
    },
    /// The input is over.
    Ended,
}

/// What an action asks of whoever runs the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Go on.
    GoOn,
    /// The person wants to leave.
    Quit,
}

/// All that is shown.
#[derive(Debug)]
pub struct State {
    /// What the input is called where an event does not say where it came from.
    pub(super) source: String,
    /// The input is text in which events are looked for.
    pub(super) of_text: bool,
    pub(super) named: Option<RunId>,
    pub(super) fold: Option<RunFold>,
    pub(super) runs: Vec<String>,
    /// Ids of all events so far, as 16 bytes each: a window would let old duplicates pass again.
    seen: HashSet<u128>,
    pub(super) counts: Counts,
    pub(super) pipeline: Option<Pipeline>,
    pub(super) link: Link,
    /// When the last event came, and from where.
    pub(super) last: Option<(Timestamp, String)>,
    /// The newest thing that went wrong on the way.
    pub(super) trouble: Option<String>,
    pub(super) last_rejected: Option<String>,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) typing: bool,
    pub(super) help: bool,
    pub(super) hidden: u64,
    summary: Log,
    all: Log,
    collapser: Collapser,
    results: Results,
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl State {
    /// Nothing has come yet. `source` names the input; `named` is the run that was asked for.
    pub fn new(source: impl Into<String>, of_text: bool, named: Option<RunId>) -> Self {
        Self {
            source: source.into(),
            of_text,
            named,
            fold: None,
            runs: Vec::new(),
            seen: HashSet::new(),
            counts: Counts::default(),
            pipeline: None,
            link: Link::Open,
            last: None,
            trouble: None,
            last_rejected: None,
            mode: Mode::default(),
            filter: String::new(),
            typing: false,
            help: false,
            hidden: 0,
            summary: Log::default(),
            all: Log::default(),
            collapser: Collapser::default(),
            results: Results::default(),
            hasher: BuildHasherDefault::default(),
        }
    }

    /// Takes what came.
    pub fn take(&mut self, item: Item, now: Timestamp) {
        match item {
            Item::Read { lines } => self.counts.input += lines,
            Item::Event { event, in_result } => self.take_event(&event, in_result, now),
            Item::Echo => {
                self.counts.found += 1;
                self.counts.repeated += 1;
                self.results.begin();
            }
            Item::Task(json) => self.take_task(&json, now),
            Item::Text(text) => self.take_text(&text, now),
            Item::Rejected { reason, message, excerpt } => {
                *self.counts.rejected.entry(reason).or_default() += 1;
                let text = format!("not an event: {message}: {excerpt}");
                self.last_rejected = Some(message);
                self.both(Row { lines: 0, ..Row::text(&text, Level::Warning, now) });
            }
            Item::Note(text) => self.both(Row { lines: 0, ..Row::text(&text, Level::Note, now) }),
            Item::Trouble(text) => {
                self.both(Row { lines: 0, ..Row::text(&text, Level::Warning, now) });
                self.trouble = Some(text);
            }
            Item::Connected => self.link = Link::Open,
            Item::Disconnected { why, retry } => self.link = Link::Broken { why, since: now, retry },
            Item::Reset => self.reset(now),
            Item::Pipeline(pipeline) => self.pipeline = Some(pipeline),
            Item::End => {
                self.link = Link::Ended;
                let text = format!("{} has ended", self.source);
                self.both(Row { lines: 0, ..Row::text(&text, Level::Note, now) });
            }
        }
    }

    /// Does what a key asks for.
    pub fn act(&mut self, action: Action) -> Ending {
        let filter = std::mem::take(&mut self.filter);
        let log = self.log_mut();
        match action {
            Action::Quit => return Ending::Quit,
            Action::Scroll(by) => log.scroll(by, &filter),
            Action::Page(by) => log.scroll_pages(by, &filter),
            Action::Home => log.scroll(isize::MIN + 1, &filter),
            Action::End => log.to_end(),
            Action::Shift { right } => log.shift_by(right),
            Action::NextError => {
                log.to_next_failure(&filter);
            }
            Action::Pause => {
                self.summary.toggle_pause();
                self.all.toggle_pause();
                // What stands on the screen shall not change under the reader's eyes.
                self.collapser.end_all();
            }
            Action::Mode => self.mode = if self.mode == Mode::Summary { Mode::All } else { Mode::Summary },
            Action::Filter => self.typing = true,
            Action::Type(_) | Action::Erase | Action::Keep => {}
            Action::Clear if self.help => self.help = false,
            Action::Clear => {
                self.typing = false;
                return Ending::GoOn;
            }
            Action::Help => self.help = !self.help,
            Action::Redraw => {}
        }
        self.filter = filter;
        match action {
            Action::Type(c) if self.filter.chars().count() < FILTER_CHARS_MAX => self.filter.push(c),
            Action::Erase => self.filter.truncate(self.filter.char_indices().last().map_or(0, |(at, _)| at)),
            Action::Keep => self.typing = false,
            _ => {}
        }
        Ending::GoOn
    }

    /// The run as far as it is known.
    pub fn run(&self) -> Option<&RunState> {
        self.fold.as_ref().map(RunFold::run)
    }

    /// The log that is shown.
    pub fn log(&self) -> &Log {
        if self.mode == Mode::Summary { &self.summary } else { &self.all }
    }

    /// The log with every line and every event.
    pub fn all(&self) -> &Log {
        &self.all
    }

    /// Lines that the summary leaves out.
    pub fn hidden(&self) -> u64 {
        self.hidden
    }

    /// What each hop has seen.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How the input stands.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Whether letters go to the filter.
    pub fn is_typing(&self) -> bool {
        self.typing
    }

    pub(super) fn log_mut(&mut self) -> &mut Log {
        if self.mode == Mode::Summary { &mut self.summary } else { &mut self.all }
    }

    fn take_event(&mut self, event: &Event, in_result: bool, now: Timestamp) {
        if in_result {
            self.results.begin();
        }
        self.counts.found += 1;
        let view = event.view();
        let identity = view.event_id.as_deref().unwrap_or(event.as_str());
        if !self.seen.insert(fingerprint(identity)) {
            self.counts.repeated += 1;
            return;
        }
        let arrived = view.received().map_or(now, |received| received.min(now));
        let source = view.source.as_deref().map_or_else(|| self.source.clone(), crate::events::clean);
        if self.last.as_ref().is_none_or(|(last, _)| *last <= arrived) {
            self.last = Some((arrived, source));
        }
        self.note_run(&view);
        let id = self.named.clone().or_else(|| view.run_id.as_deref()?.parse().ok());
        let fold = match &mut self.fold {
            Some(fold) => fold,
            none => match id.or_else(|| "unnamed".parse().ok()) {
                Some(id) => none.insert(RunFold::new(id)),
                None => return,
            },
        };
        fold.apply(&view, arrived);
        self.counts.run += 1;
        self.show_event(&view, arrived);
        self.counts.screen += 1;
    }

    fn show_event(&mut self, view: &EventView<'_>, arrived: Timestamp) {
        let row = Row::event(view, view.origin().unwrap_or(arrived));
        self.all.push(row.clone());
        let part = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let lane = Lane::Event(format!(
            "{}\n{}\n{}\n{}",
            part(view.host.as_deref()),
            part(view.workload.as_deref()),
            view.repetition.map_or(0, |number| number.0),
            part(view.logger.as_deref()),
        ));
        if !view.is_log() || row.level > Level::Info {
            self.collapser.end(&lane);
            return self.summary.push(row);
        }
        self.collapse(&lane, row);
    }

    fn take_text(&mut self, text: &str, now: Timestamp) {
        self.counts.named_only += u64::from(text.contains(TOKEN));
        let text = anstream::adapter::strip_str(text).to_string();
        let failed = is_failure_text(&text);
        let row = Row::text(&text, if failed { Level::Error } else { Level::Text }, now);
        let blank = text.trim().is_empty();
        if !blank {
            self.all.push(row.clone());
        }
        if self.results.is_detail(&text) {
            self.hidden += u64::from(!blank);
            return;
        }
        let lane = Lane::Text(phase_and_host(&text).map_or_else(String::new, |(lane, _)| lane.to_owned()));
        if failed {
            self.collapser.end(&lane);
            return self.summary.push(row);
        }
        self.collapse(&lane, row);
    }

    /// `LB_TASK`: the same as a line of Ansible's that says how a task went.
    fn take_task(&mut self, json: &str, now: Timestamp) {
        let task: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let part = |name: &str| task.get(name).and_then(serde_json::Value::as_str).unwrap_or("?");
        let seconds = task.get("duration_s").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        let end = match part("status") {
            "ok" | "changed" => format!("done in {seconds:.1}s"),
            status => status.to_owned(),
        };
        self.take_text(&format!("• [task] ({}) {} {end}", part("host"), part("task")), now);
    }

    fn collapse(&mut self, lane: &Lane, row: Row) {
        let text = row.texts.first().map_or("", |text| text);
        let (key, exact) = (self.hasher.hash_one(normalise(text)), self.hasher.hash_one(text));
        let placement = self.collapser.place(lane, key, exact, self.summary.next_id());
        self.summary.place(row, &placement);
    }

    fn both(&mut self, row: Row) {
        self.all.push(row.clone());
        self.summary.place(row, &Placement::New);
    }

    fn note_run(&mut self, view: &EventView<'_>) {
        if let Some(id) = view.run_id.as_deref()
            && self.runs.len() < RUNS_MAX
            && !self.runs.iter().any(|known| known == id)
        {
            self.runs.push(id.to_owned());
        }
    }

    fn reset(&mut self, now: Timestamp) {
        self.fold = None;
        self.runs.clear();
        self.seen.clear();
        self.last = None;
        self.collapser.end_all();
        self.both(Row { lines: 0, ..Row::text("the run's log was made anew: all comes again", Level::Note, now) });
    }
}

fn fingerprint(identity: &str) -> u128 {
    let digest = Sha256::digest(identity.as_bytes());
    digest.iter().take(16).fold(0, |all, byte| all << 8 | u128::from(*byte))
}
