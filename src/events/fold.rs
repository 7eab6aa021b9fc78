//! A run's state, rebuilt from its events one by one.
//!
//! - A benchmark's repetition has the status of its last *status* event. A log event sets the
//!   current action and starts a pending repetition; it never reopens one that has ended. Neither
//!   does a status event whose origin time is before the end.
//! - A pipeline's run and steps have the state of their last `new_state`, or the state that the
//!   event's type implies.

use std::collections::HashMap;

use crate::model::{
    EventSchema, EventView, FailedGate, PipelineStep, Repetition, RepetitionStatus, RunId, RunState, RunStatus,
    StepState, Timestamp,
};

/// Number of distinct warnings stored in the state.
const WARNINGS_MAX: usize = 20;
/// Maximum length of a stored action, error or reason, in characters.
const TEXT_CHARS_MAX: usize = 400;
/// Maximum number of repetitions, and of steps, in one run; events of further ones are only
/// counted.
pub const ROWS_MAX: usize = 10_000;

/// The state of a run after the events applied so far.
#[derive(Clone, Debug)]
pub struct RunFold {
    run: RunState,
    repetitions: HashMap<(String, String, u64), usize>,
    steps: HashMap<String, usize>,
}

/// The effect of an event on the statuses of the rows and of the run.
#[derive(PartialEq)]
enum StatusChange {
    Status,
    Nothing,
}

impl RunFold {
    /// Returns the state of a run without events.
    pub fn new(id: RunId) -> Self {
        let run = RunState {
            id,
            status: RunStatus::Pending,
            state: None,
            reason: None,
            started: None,
            ended: None,
            updated: None,
            source: None,
            events: 0,
            failures: 0,
            journal: Vec::new(),
            steps: Vec::new(),
            gates: Vec::new(),
            warnings: Vec::new(),
        };
        Self { run, repetitions: HashMap::new(), steps: HashMap::new() }
    }

    /// Applies the next event, received at `arrived`.
    pub fn apply(&mut self, event: &EventView<'_>, arrived: Timestamp) {
        let at = event.origin().unwrap_or(arrived);
        self.run.events += 1;
        self.run.failures += u64::from(event.is_failure());
        self.run.started = Some(self.run.started.map_or(at, |started| started.min(at)));
        self.run.updated = Some(arrived);
        if let Some(source) = &event.source {
            self.run.source = Some(source.to_string());
        }
        let change = match event.schema() {
            EventSchema::Pipeline => self.pipeline(event, at),
            EventSchema::Benchmark => self.benchmark(event, at),
        };
        // Visits every row, so it is skipped for log events, of which there may be millions.
        if change == StatusChange::Status {
            self.update_status(at);
        }
    }

    /// Returns the current state of the run.
    pub fn run(&self) -> &RunState {
        &self.run
    }

    fn benchmark(&mut self, event: &EventView<'_>, at: Timestamp) -> StatusChange {
        let (Some(host), Some(workload), Some(number)) = (&event.host, &event.workload, event.repetition) else {
            return StatusChange::Nothing;
        };
        let total = event.repetitions();
        if total.is_some_and(|total| number.0 > total) {
            self.warn(format!("{host} {workload}: repetition {} of {}", number.0, total.unwrap_or(0)));
        }
        let key = (host.to_string(), workload.to_string(), number.0);
        let index = match self.repetitions.get(&key) {
            Some(index) => *index,
            None if self.run.journal.len() >= ROWS_MAX => {
                self.warn(format!("over {ROWS_MAX} repetitions: the rest are not in the journal"));
                return StatusChange::Nothing;
            }
            None => {
                let index = self.run.journal.len();
                let (host, workload) = (key.0.clone(), key.1.clone());
                self.run.journal.push(Repetition { host, workload, repetition: number.0, ..Repetition::default() });
                self.repetitions.insert(key, index);
                index
            }
        };
        let Some(item) = self.run.journal.get_mut(index) else { return StatusChange::Nothing };
        item.events += 1;
        item.total_repetitions = total.or(item.total_repetitions);
        let message = event.message.as_deref().filter(|text| !text.is_empty());
        if event.is_log() {
            let starts = item.status == RepetitionStatus::Pending;
            if starts {
                item.status = RepetitionStatus::Running;
                item.started = Some(at);
            }
            if !item.status.is_end() {
                item.action = message.map(brief).or(item.action.take());
            }
            if event.is_failure() {
                item.error_type = event.error_type.as_deref().map(brief).or(item.error_type.take());
                item.error = message.map(brief).or(item.error.take());
            }
            return if starts { StatusChange::Status } else { StatusChange::Nothing };
        }
        let status = RepetitionStatus::from_word(event.status.as_deref().unwrap_or_default());
        let late = item.status.is_end() && item.ended.is_some_and(|ended| at < ended);
        if late {
            return StatusChange::Nothing;
        }
        if status == RepetitionStatus::Running && item.status != RepetitionStatus::Running {
            let number = item.repetition;
            let (host, workload) = (std::mem::take(&mut item.host), std::mem::take(&mut item.workload));
            let (total_repetitions, events) = (item.total_repetitions, item.events);
            *item =
                Repetition { host, workload, repetition: number, total_repetitions, events, ..Repetition::default() };
            item.started = Some(at);
        }
        item.status = status;
        item.action = message.map(brief).or(item.action.take());
        if status.is_end() {
            item.ended = Some(at);
            let parsed = message.and_then(parse_duration);
            item.duration_s = parsed.or_else(|| item.started.map(|started| seconds(started, at)));
        }
        if status == RepetitionStatus::Failed {
            item.error_type = event.error_type.as_deref().map(brief).or(item.error_type.take());
            item.error = message.map(brief).or(item.error.take());
        }
        StatusChange::Status
    }

    fn pipeline(&mut self, event: &EventView<'_>, at: Timestamp) -> StatusChange {
        let kind = event.event_type.as_deref().unwrap_or_default();
        let reason = event.reason.as_deref().map(brief);
        if let Some(of) = kind.strip_prefix("run.") {
            if let Some(state) = event.new_state.as_deref().or((of == "created").then_some("created")) {
                let known = self.run.state.as_deref();
                let expected = event.previous_state.as_deref();
                if let (Some(known), Some(expected)) = (known, expected)
                    && known != expected
                {
                    let text = format!("{kind} reports the previous state {expected}, but the run was {known}");
                    self.warn(text);
                }
                self.run.state = Some(brief(state));
                self.run.reason = reason;
            } else if of == "completed" {
                self.run.state.get_or_insert_with(|| "completed".to_owned());
            }
            if of == "completed" || matches!(event.new_state.as_deref(), Some("succeeded" | "failed" | "rolled_back")) {
                self.run.ended = Some(at);
            } else if of == "state_changed" {
                self.run.ended = None;
            }
            return StatusChange::Status;
        }
        let Some(id) = event.step_id.as_deref() else { return StatusChange::Nothing };
        if kind == "gate.failed" {
            let error_class = event.error_class.as_deref().map(brief);
            if self.run.gates.len() < ROWS_MAX {
                self.run.gates.push(FailedGate { step_id: id.to_owned(), error_class, reason, at: Some(at) });
            }
            return StatusChange::Nothing;
        }
        let Some(step) = self.step(id) else { return StatusChange::Nothing };
        let Some(state) = event.new_state.as_deref().and_then(step_state).or_else(|| implied(kind)) else {
            return StatusChange::Nothing;
        };
        step.attempt = event.attempt.map_or(step.attempt, |count| count.0);
        step.retries += u64::from(kind == "step.retried");
        match state {
            StepState::Running => {
                (step.started, step.ended, step.duration_s) = (Some(at), None, None);
                (step.error_class, step.reason) = (None, reason);
            }
            StepState::Pending => step.reason = reason,
            _ => {
                step.ended = Some(at);
                step.duration_s = step.started.map(|started| seconds(started, at));
                step.error_class = event.error_class.as_deref().map(brief);
                step.reason = reason;
            }
        }
        step.state = state;
        StatusChange::Status
    }

    fn step(&mut self, id: &str) -> Option<&mut PipelineStep> {
        let index = match self.steps.get(id) {
            Some(index) => *index,
            None if self.run.steps.len() >= ROWS_MAX => {
                self.warn(format!("over {ROWS_MAX} steps: the rest are not shown"));
                return None;
            }
            None => {
                self.run.steps.push(PipelineStep { step_id: id.to_owned(), ..PipelineStep::default() });
                self.steps.insert(id.to_owned(), self.run.steps.len() - 1);
                self.run.steps.len() - 1
            }
        };
        self.run.steps.get_mut(index)
    }

    /// Sets the run's status from its reported state, or else from its parts.
    fn update_status(&mut self, at: Timestamp) {
        let run = &mut self.run;
        run.status = match run.state.as_deref() {
            Some("succeeded" | "completed") => RunStatus::Done,
            Some("failed" | "rolled_back") => RunStatus::Failed,
            Some("blocked") => RunStatus::Blocked,
            Some(state) if state != "created" => RunStatus::Running,
            // The run reported no further state: derive it from the parts.
            _ => {
                let rows = run.rows();
                let status = overall(rows.iter().map(|row| row.status), &run.steps);
                run.ended = if status.is_end() { run.ended.or(Some(at)) } else { None };
                status
            }
        };
    }

    fn warn(&mut self, text: String) {
        let warnings = &mut self.run.warnings;
        if warnings.len() < WARNINGS_MAX && !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}

fn overall(rows: impl Iterator<Item = RunStatus>, steps: &[PipelineStep]) -> RunStatus {
    let steps = steps.iter().map(|step| match step.state {
        StepState::Pending => RunStatus::Pending,
        StepState::Running => RunStatus::Running,
        StepState::Succeeded => RunStatus::Done,
        StepState::Failed => RunStatus::Failed,
        StepState::Compensated | StepState::Skipped => RunStatus::Skipped,
    });
    let (mut open, mut began, mut failed, mut done, mut other) = (false, false, false, false, false);
    for status in rows.chain(steps) {
        open |= !status.is_end();
        began |= status != RunStatus::Pending;
        failed |= status == RunStatus::Failed;
        done |= matches!(status, RunStatus::Done | RunStatus::Partial);
        other |= matches!(status, RunStatus::Skipped | RunStatus::Partial);
    }
    match () {
        () if open && began => RunStatus::Running,
        () if open || !began => RunStatus::Pending,
        () if failed => RunStatus::Failed,
        () if done && other => RunStatus::Partial,
        () if done => RunStatus::Done,
        () => RunStatus::Skipped,
    }
}

fn step_state(word: &str) -> Option<StepState> {
    Some(match word {
        "pending" => StepState::Pending,
        "running" => StepState::Running,
        "succeeded" => StepState::Succeeded,
        "failed" => StepState::Failed,
        "compensated" => StepState::Compensated,
        "skipped" => StepState::Skipped,
        _ => return None,
    })
}

fn implied(kind: &str) -> Option<StepState> {
    match kind {
        "step.retried" => Some(StepState::Pending),
        "step.started" => Some(StepState::Running),
        _ => step_state(kind.strip_prefix("step.")?),
    }
}

/// Returns the seconds in `duration=12.3s`, if the message contains them.
fn parse_duration(message: &str) -> Option<f64> {
    let (_, rest) = message.split_once("duration=")?;
    let end = rest.find('s')?;
    rest[..end].parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
}

#[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds is far below 2^52")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.as_millis().saturating_sub(from.as_millis()) as f64 / 1000.0
}

fn brief(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Event;

    fn run(lines: &[&str]) -> RunState {
        let mut fold = RunFold::new("r".parse().unwrap());
        for (at, line) in lines.iter().enumerate() {
            fold.apply(&Event::parse(line).unwrap().view(), Timestamp::from_millis(1000 * (at as u64 + 1)));
        }
        fold.run().clone()
    }

    fn status(status: &str, extra: &str) -> String {
        format!(r#"{{"host":"h","workload":"fio","repetition":1,"total_repetitions":2,"status":"{status}"{extra}}}"#)
    }

    #[test]
    fn formats_1_11_a_late_log_event_never_reopens_a_repetition() {
        let log = status("running", r#","type":"log","message":"late""#);
        let run = run(&[&status("running", ""), &status("done", r#","message":"duration=12.3s""#), &log]);
        let item = &run.journal[0];
        assert_eq!((item.status, item.duration_s, item.events), (RepetitionStatus::Done, Some(12.3), 3));
        let row = &run.rows()[0];
        assert_eq!((row.status, row.ended, row.total), (RunStatus::Running, 1, 2), "the second is still to come");
    }

    #[test]
    fn a_status_that_happened_before_the_end_does_not_reopen_it_but_a_later_one_does() {
        let at = |word: &str, s: u32| status(word, &format!(r#","timestamp":{s}"#));
        let ended = run(&[&at("running", 10), &at("done", 20), &at("running", 15)]);
        assert_eq!(ended.journal[0].status, RepetitionStatus::Done);
        let again = run(&[&at("running", 10), &at("failed", 20), &at("running", 25)]);
        assert_eq!((again.journal[0].status, again.journal[0].error.clone()), (RepetitionStatus::Running, None));
    }

    #[test]
    fn a_pipeline_that_fails_at_a_gate_is_told_whole() {
        let run = run(&[
            r#"{"event_type":"run.created","new_state":"created"}"#,
            r#"{"event_type":"run.state_changed","previous_state":"created","new_state":"executing"}"#,
            r#"{"event_type":"step.started","step_id":"bench","new_state":"running"}"#,
            r#"{"event_type":"step.failed","step_id":"bench","error_class":"hard_gate_failed","reason":"95 % below 97 %","new_state":"failed"}"#,
            r#"{"event_type":"gate.failed","step_id":"bench","error_class":"hard_gate_failed","reason":"95 % below 97 %"}"#,
            r#"{"event_type":"run.completed","reason":"Hard gate failed: bench","new_state":"failed"}"#,
        ]);
        assert_eq!((run.status, run.state.as_deref(), run.gates.len()), (RunStatus::Failed, Some("failed"), 1));
        assert_eq!((run.steps[0].state, run.steps[0].duration_s), (StepState::Failed, Some(1.0)));
        assert_eq!((run.failures, run.ended), (3, Some(Timestamp::from_millis(6000))));
        assert!(run.warnings.is_empty(), "{:?}", run.warnings);
    }

    #[test]
    fn a_run_that_was_only_created_is_what_its_steps_are() {
        let created = r#"{"event_type":"run.created","new_state":"created"}"#;
        let step = |word: &str| format!(r#"{{"event_type":"step.{word}","step_id":"s"}}"#);
        assert_eq!(run(&[created]).status, RunStatus::Pending);
        assert_eq!(run(&[created, &step("started")]).status, RunStatus::Running);
        assert_eq!(run(&[created, &step("started"), &step("failed")]).status, RunStatus::Failed);
    }

    #[test]
    fn unknown_repetitions_and_totals_are_shown_with_a_warning_not_ignored() {
        let run = run(&[r#"{"host":"h","workload":"w","repetition":5,"total_repetitions":3,"status":"running"}"#]);
        assert_eq!(run.journal.len(), 1);
        assert!(run.warnings[0].contains("repetition 5 of 3"), "{:?}", run.warnings);
    }
}
