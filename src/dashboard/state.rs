//! The dashboard's state. Pure: no terminal and no clock; the current time is an argument.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::collapse::{Collapser, Lane, Placement};
use super::counts::StageCounts;
use super::item::DashboardItem;
use super::keys::Action;
use super::log::LogPanel;
use super::normal::{ResultTracker, is_failure_text, normalise, phase_and_host};
use super::playbook::PlaybookView;
use super::recap::PlayRecap;
use super::row::{LogRow, RowLevel};
use super::text::thousands;
use crate::events::{RunFold, TOKEN};
use crate::model::{Event, EventView, Pipeline, RunId, RunState, Timestamp};

/// Maximum number of run names remembered for the warning about several runs.
const RUNS_MAX: usize = 4;
/// Maximum length of a filter, in characters.
const FILTER_CHARS_MAX: usize = 200;

/// The log to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogMode {
    /// Repetition in one row, and only the first line of a successful result.
    #[default]
    Summary,
    /// Every line and every event.
    All,
}

/// The state of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected yet, or connected, or local and open.
    #[default]
    Open,
    /// The connection broke.
    Broken {
        /// The error.
        why: String,
        /// Time of the error.
        since: Timestamp,
        /// Delay until the next attempt.
        retry: Duration,
    },
    /// The input has ended.
    Ended,
}

/// The effect of an action on the dashboard's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// Continue.
    Continue,
    /// Exit the dashboard.
    Quit,
}

/// The state of the whole dashboard.
#[derive(Debug)]
pub struct DashboardState {
    /// Name of the input, for events without a source.
    pub(super) source: String,
    /// The input is text that may contain events.
    pub(super) of_text: bool,
    pub(super) named: Option<RunId>,
    pub(super) fold: Option<RunFold>,
    pub(super) runs: Vec<String>,
    /// Ids of all events so far, 16 bytes each: a bounded window would accept old duplicates again.
    seen: HashSet<u128>,
    pub(super) counts: StageCounts,
    pub(super) pipeline: Option<Pipeline>,
    /// The server has no such run yet.
    pub(super) is_missing: bool,
    pub(super) recap: PlayRecap,
    /// The output of Ansible for an ordinary playbook.
    pub(super) playbook: PlaybookView,
    pub(super) link: LinkState,
    /// Time and source of the newest event.
    pub(super) last: Option<(Timestamp, String)>,
    /// The newest failure of a part of the input.
    pub(super) input_failure: Option<String>,
    pub(super) last_rejected: Option<String>,
    pub(super) mode: LogMode,
    pub(super) filter: String,
    pub(super) typing: bool,
    pub(super) help: bool,
    pub(super) hidden: u64,
    summary: LogPanel,
    all: LogPanel,
    collapser: Collapser,
    results: ResultTracker,
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl DashboardState {
    /// Creates an empty state. `source` names the input; `named` is the requested run.
    pub fn new(source: impl Into<String>, of_text: bool, named: Option<RunId>) -> Self {
        Self {
            source: source.into(),
            of_text,
            named,
            fold: None,
            runs: Vec::new(),
            seen: HashSet::new(),
            counts: StageCounts::default(),
            pipeline: None,
            is_missing: false,
            recap: PlayRecap::default(),
            playbook: PlaybookView::default(),
            link: LinkState::Open,
            last: None,
            input_failure: None,
            last_rejected: None,
            mode: LogMode::default(),
            filter: String::new(),
            typing: false,
            help: false,
            hidden: 0,
            summary: LogPanel::default(),
            all: LogPanel::default(),
            collapser: Collapser::default(),
            results: ResultTracker::default(),
            hasher: BuildHasherDefault::default(),
        }
    }

    /// Applies an item.
    pub fn apply(&mut self, item: DashboardItem, now: Timestamp) {
        match item {
            DashboardItem::Read { lines } => self.counts.input += lines,
            DashboardItem::Event { event, in_result } => self.apply_event(&event, in_result, now),
            DashboardItem::Echo => {
                self.counts.found += 1;
                self.counts.repeated += 1;
                self.results.begin();
            }
            DashboardItem::Task(json) => self.apply_task(&json, now),
            DashboardItem::Text(text) => self.apply_text(&text, now),
            DashboardItem::Rejected { reason, message, excerpt } => {
                *self.counts.rejected.entry(reason).or_default() += 1;
                let text = format!("not an event: {message}: {excerpt}");
                self.last_rejected = Some(message);
                self.both(LogRow { lines: 0, ..LogRow::text(&text, RowLevel::Warning, now) });
            }
            DashboardItem::Note(text) => self.note(&text, now),
            DashboardItem::InputFailure(text) => {
                self.both(LogRow { lines: 0, ..LogRow::text(&text, RowLevel::Warning, now) });
                self.input_failure = Some(text);
            }
            DashboardItem::Connected => self.link = LinkState::Open,
            DashboardItem::Disconnected { why, retry } => self.link = LinkState::Broken { why, since: now, retry },
            DashboardItem::Reset => self.reset(now),
            DashboardItem::Pipeline(pipeline) => self.pipeline = Some(pipeline),
            DashboardItem::NoRun => {
                self.is_missing = self.counts.found == 0;
                let run = self.named.as_ref().map(ToString::to_string).unwrap_or_default();
                self.note(&format!("there is no run `{run}` yet; waiting for its first event"), now);
            }
            DashboardItem::End => {
                self.link = LinkState::Ended;
                self.note(&format!("{} has ended", self.source), now);
                if let Some(text) = self.nothing_found() {
                    self.note(&text, now);
                }
            }
        }
    }

    /// Returns what the dashboard looks for, if the text has contained nothing of it.
    pub(super) fn nothing_found(&self) -> Option<String> {
        let is_empty = self.counts.found == 0 && self.counts.rejected_all() == 0 && !self.playbook.is_seen();
        (self.of_text && is_empty).then(|| {
            format!(
                "no events in {} lines: an event is a line with {TOKEN} and a JSON object; `tasktail dashboard --help` shows one",
                thousands(self.counts.input)
            )
        })
    }

    /// Applies an action.
    pub fn apply_action(&mut self, action: Action) -> ActionOutcome {
        let filter = std::mem::take(&mut self.filter);
        let log = self.log_mut();
        match action {
            Action::Quit => return ActionOutcome::Quit,
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
                // Rows on the paused screen must not change.
                self.collapser.end_all();
            }
            Action::Mode => self.mode = if self.mode == LogMode::Summary { LogMode::All } else { LogMode::Summary },
            Action::Filter => self.typing = true,
            Action::Type(_) | Action::Erase | Action::Keep => {}
            Action::Clear if self.help => self.help = false,
            Action::Clear => {
                self.typing = false;
                return ActionOutcome::Continue;
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
        ActionOutcome::Continue
    }

    /// Returns the state of the run, if any event was applied.
    pub fn run(&self) -> Option<&RunState> {
        self.fold.as_ref().map(RunFold::run)
    }

    /// Returns the log that is shown.
    pub fn log(&self) -> &LogPanel {
        if self.mode == LogMode::Summary { &self.summary } else { &self.all }
    }

    /// Returns the log with every line and every event.
    pub fn all(&self) -> &LogPanel {
        &self.all
    }

    /// Returns the number of lines that the summary omits.
    pub fn hidden(&self) -> u64 {
        self.hidden
    }

    /// Returns the counters of each stage.
    pub fn counts(&self) -> &StageCounts {
        &self.counts
    }

    /// Returns the outcome of a playbook in the text.
    pub fn recap(&self) -> &PlayRecap {
        &self.recap
    }

    /// Returns the state of the input.
    pub fn link(&self) -> &LinkState {
        &self.link
    }

    /// Reports whether letters are added to the filter.
    pub fn is_typing(&self) -> bool {
        self.typing
    }

    pub(super) fn log_mut(&mut self) -> &mut LogPanel {
        if self.mode == LogMode::Summary { &mut self.summary } else { &mut self.all }
    }

    fn apply_event(&mut self, event: &Event, in_result: bool, now: Timestamp) {
        if in_result {
            self.results.begin();
        }
        self.counts.found += 1;
        self.is_missing = false;
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
        let row = LogRow::event(view, view.origin().unwrap_or(arrived));
        self.all.push(row.clone());
        let part = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let lane = Lane::Event(format!(
            "{}\n{}\n{}\n{}",
            part(view.host.as_deref()),
            part(view.workload.as_deref()),
            view.repetition.map_or(0, |number| number.0),
            part(view.logger.as_deref()),
        ));
        if !view.is_log() || row.level > RowLevel::Info {
            self.collapser.end(&lane);
            return self.summary.push(row);
        }
        self.collapse(&lane, row);
    }

    fn apply_text(&mut self, text: &str, now: Timestamp) {
        self.counts.named_only += u64::from(text.contains(TOKEN));
        let text = anstream::adapter::strip_str(text).to_string();
        self.recap.read(&text);
        self.playbook.read(text.trim_end());
        let failed = is_failure_text(&text);
        let row = LogRow::text(&text, if failed { RowLevel::Error } else { RowLevel::Text }, now);
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

    /// Applies `LB_TASK` details like Ansible's line about the end of a task.
    fn apply_task(&mut self, json: &str, now: Timestamp) {
        let task: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let part = |name: &str| task.get(name).and_then(serde_json::Value::as_str).unwrap_or("?");
        let seconds = task.get("duration_s").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        let end = match part("status") {
            "ok" | "changed" => format!("done in {seconds:.1}s"),
            status => status.to_owned(),
        };
        self.apply_text(&format!("• [task] ({}) {} {end}", part("host"), part("task")), now);
    }

    fn collapse(&mut self, lane: &Lane, row: LogRow) {
        let text = row.texts.first().map_or("", |text| text);
        let (key, exact) = (self.hasher.hash_one(normalise(text)), self.hasher.hash_one(text));
        let placement = self.collapser.place(lane, key, exact, self.summary.next_id());
        self.summary.place(row, &placement);
    }

    fn note(&mut self, text: &str, now: Timestamp) {
        self.both(LogRow { lines: 0, ..LogRow::text(text, RowLevel::Note, now) });
    }

    fn both(&mut self, row: LogRow) {
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
        self.both(LogRow {
            lines: 0,
            ..LogRow::text("the run's log was recreated; reloading all events", RowLevel::Note, now)
        });
    }
}

fn fingerprint(identity: &str) -> u128 {
    let digest = Sha256::digest(identity.as_bytes());
    digest.iter().take(16).fold(0, |all, byte| all << 8 | u128::from(*byte))
}
