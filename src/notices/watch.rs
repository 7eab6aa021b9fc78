//! The watch of one task: applies the conditions of all rules until it ends.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::active::ActiveRules;
use super::notice::Happening;
use super::rule::NoticeTrigger;
use crate::model::{Channel, Task, TaskStatus, Timestamp};
use crate::tasks::{FollowEvent, FollowStart, LogPage, TaskFollower, TaskHandle, Tasks, TasksError};

/// Number of good runs that the usual duration is the median of, and the smallest number of them.
const USUAL_RUNS: usize = 10;
const USUAL_RUNS_MIN: usize = 3;

/// The usual duration of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UsualDuration {
    /// It is not looked up yet.
    Unread,
    /// There are too few good runs.
    Unknown,
    Known(Duration),
}

/// The watch of one task.
pub(super) struct TaskWatch {
    task: TaskHandle,
    tasks: Tasks,
    rules: watch::Receiver<ActiveRules>,
    base: Arc<str>,
    start: FollowStart,
    /// Reads the lines, if a rule needs them.
    follower: Option<TaskFollower>,
    /// The status that was reported last.
    reported: TaskStatus,
    /// Names of the rules whose line was found, or whose time is over.
    fired: HashSet<String>,
    /// Names of the rules whose silence was reported.
    silent: HashSet<String>,
    /// Time of the last line.
    last_output: Instant,
    usual: UsualDuration,
}

impl TaskWatch {
    pub(super) fn new(
        task: TaskHandle,
        tasks: Tasks,
        rules: watch::Receiver<ActiveRules>,
        base: Arc<str>,
        start: FollowStart,
    ) -> Self {
        // The status that an open task has at the start is no news.
        let reported = if start == FollowStart::Tail(0) { task.live_status().0 } else { TaskStatus::Running };
        Self {
            task,
            tasks,
            rules,
            base,
            start,
            follower: None,
            reported,
            fired: HashSet::new(),
            silent: HashSet::new(),
            last_output: Instant::now(),
            usual: UsualDuration::Unread,
        }
    }

    /// Applies the rules until the task ends, or until there are no rules.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.task.changes();
        loop {
            changes.mark_unchanged();
            let rules = self.rules.borrow_and_update().clone();
            if rules.is_empty() {
                return;
            }
            self.read_if_needed(&rules);
            self.check_status(&rules);
            if self.reported.is_final() {
                return;
            }
            self.find_usual(&rules).await;
            self.check_times(&rules);
            let due = self.next_due(&rules);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.look_once_more(&rules).await,
                changed = self.rules.changed() => if changed.is_err() { return },
                event = next_event(&mut self.follower) => match event {
                    Ok(Some(event)) => self.apply(&rules, event),
                    Ok(None) | Err(_) => return,
                },
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(due) => {}
            }
        }
    }

    /// Starts to read lines if a rule needs them.
    fn read_if_needed(&mut self, rules: &ActiveRules) {
        let needed = rules.iter().any(|active| active.rule.trigger.reads_lines());
        if !needed {
            self.follower = None;
        } else if self.follower.is_none() {
            self.follower = Some(self.task.follow(self.start));
        }
        // A rule that comes later is about later lines.
        self.start = FollowStart::Tail(0);
    }

    /// Reports a change of the status. With a follower, the end is reported after the last line.
    fn check_status(&mut self, rules: &ActiveRules) {
        let (status, _) = self.task.live_status();
        if status != self.reported && (self.follower.is_none() || !status.is_final()) {
            self.report_status(rules, &self.task.details());
        }
    }

    fn report_status(&mut self, rules: &ActiveRules, task: &Task) {
        self.reported = task.status;
        if task.status == TaskStatus::Running {
            return;
        }
        self.check_duration(rules, task);
        for active in rules.iter().filter(|active| active.rule.is_about(task)) {
            if let NoticeTrigger::Status(wanted) = &active.rule.trigger
                && wanted.iter().any(|status| status.matches(task))
            {
                active.report(task.clone(), &Happening::Status, &self.base);
            }
        }
    }

    fn apply(&mut self, rules: &ActiveRules, event: FollowEvent) {
        match event {
            FollowEvent::Page(page) => self.read(rules, &page),
            FollowEvent::End { task, .. } => self.report_status(rules, &task),
            FollowEvent::Open { .. } | FollowEvent::Partial(_) | FollowEvent::Status(_) | FollowEvent::Reset { .. } => {
            }
        }
    }

    /// Looks for the lines of rules.
    fn read(&mut self, rules: &ActiveRules, page: &LogPage) {
        let mut lines = page.lines.iter().filter(|line| line.channel != Channel::Internal).peekable();
        if lines.peek().is_none() {
            return;
        }
        self.last_output = Instant::now();
        self.silent.clear();
        let task = self.task.details();
        for active in rules.iter().filter(|active| active.rule.is_about(&task)) {
            let NoticeTrigger::Pattern(pattern) = &active.rule.trigger else { continue };
            if self.fired.contains(&active.rule.name) {
                continue;
            }
            if let Some(line) = lines.clone().find(|line| pattern.is_match(&line.line)) {
                self.fired.insert(active.rule.name.clone());
                active.report(task.clone(), &Happening::Matched(line), &self.base);
            }
        }
    }

    /// Looks up the usual duration, once the task has started.
    async fn find_usual(&mut self, rules: &ActiveRules) {
        let needed = rules.iter().any(|active| matches!(active.rule.trigger, NoticeTrigger::Slower(_)));
        if !needed || self.usual != UsualDuration::Unread {
            return;
        }
        let task = self.task.details();
        if task.started.is_none() && task.last_line == 0 {
            return;
        }
        self.usual = match self.tasks.good_runs(&task, USUAL_RUNS, |_| true).await {
            Ok(runs) => median(runs.iter().filter_map(duration).collect()),
            Err(error) => {
                tracing::warn!(task = %task.id, %error, "cannot read the durations of earlier runs");
                UsualDuration::Unknown
            }
        };
    }

    /// Returns the time from the start after which a rule reports the duration.
    fn slow_after(&self, factor: f64) -> Option<Duration> {
        match self.usual {
            UsualDuration::Known(usual) => Some(usual.mul_f64(factor)),
            UsualDuration::Unread | UsualDuration::Unknown => None,
        }
    }

    /// Reports silence and durations that are over.
    fn check_times(&mut self, rules: &ActiveRules) {
        if self.reported != TaskStatus::Running || !rules.iter().any(|active| self.is_timed(&active.rule.trigger)) {
            return;
        }
        let task = self.task.details();
        let quiet = self.last_output.elapsed();
        for active in rules.iter() {
            let NoticeTrigger::Silence(limit) = &active.rule.trigger else { continue };
            if quiet >= *limit && self.silent.insert(active.rule.name.clone()) && active.rule.is_about(&task) {
                active.report(task.clone(), &Happening::Silent(*limit), &self.base);
            }
        }
        self.check_duration(rules, &task);
    }

    fn is_timed(&self, trigger: &NoticeTrigger) -> bool {
        match trigger {
            NoticeTrigger::Silence(limit) => self.last_output.elapsed() >= *limit,
            NoticeTrigger::Slower(factor) => self.slow_after(*factor).is_some(),
            NoticeTrigger::Status(_) | NoticeTrigger::Pattern(_) => false,
        }
    }

    fn check_duration(&mut self, rules: &ActiveRules, task: &Task) {
        let took = elapsed(task);
        for active in rules.iter() {
            let NoticeTrigger::Slower(factor) = active.rule.trigger else { continue };
            let (Some(limit), UsualDuration::Known(usual)) = (self.slow_after(factor), self.usual) else { continue };
            if took > limit && self.fired.insert(active.rule.name.clone()) && active.rule.is_about(task) {
                active.report(task.clone(), &Happening::Slow(factor, usual), &self.base);
            }
        }
    }

    /// Returns the next time at which silence or a duration may be over.
    fn next_due(&self, rules: &ActiveRules) -> Instant {
        let far = Instant::now() + Duration::from_hours(24);
        if self.reported != TaskStatus::Running {
            return far;
        }
        let due = rules.iter().filter_map(|active| match &active.rule.trigger {
            NoticeTrigger::Silence(limit) if !self.silent.contains(&active.rule.name) => {
                Some(self.last_output + *limit)
            }
            NoticeTrigger::Slower(factor) if !self.fired.contains(&active.rule.name) => {
                let left = self.slow_after(*factor)?.saturating_sub(elapsed(&self.task.details()));
                // Just after the limit, which the duration must exceed.
                Some(Instant::now() + left + Duration::from_millis(2))
            }
            _ => None,
        });
        due.min().unwrap_or(far)
    }

    /// Reports what has already happened when the server shuts down.
    async fn look_once_more(mut self, rules: &ActiveRules) {
        self.check_status(rules);
        while self.task.has_ended() && !self.reported.is_final() {
            match next_event(&mut self.follower).await {
                Ok(Some(event)) => self.apply(rules, event),
                Ok(None) | Err(_) => break,
            }
        }
    }
}

/// Returns the next event of a follower; never without one.
async fn next_event(follower: &mut Option<TaskFollower>) -> Result<Option<FollowEvent>, TasksError> {
    match follower {
        Some(follower) => follower.next().await,
        None => std::future::pending().await,
    }
}

/// Returns the time from the start of a task to its end or to now.
fn elapsed(task: &Task) -> Duration {
    let end = task.ended.unwrap_or_else(Timestamp::now);
    Duration::from_millis(end.as_millis().saturating_sub(task.started.unwrap_or(task.created).as_millis()))
}

fn duration(task: &Task) -> Option<Duration> {
    task.ended.map(|_| elapsed(task))
}

/// Returns the median, if there are enough durations.
fn median(mut durations: Vec<Duration>) -> UsualDuration {
    if durations.len() < USUAL_RUNS_MIN {
        return UsualDuration::Unknown;
    }
    durations.sort_unstable();
    durations.get(durations.len() / 2).map_or(UsualDuration::Unknown, |usual| UsualDuration::Known(*usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_duration_needs_three_runs() {
        let seconds = |all: &[u64]| median(all.iter().map(|s| Duration::from_secs(*s)).collect());
        assert_eq!(seconds(&[5, 5]), UsualDuration::Unknown);
        assert_eq!(seconds(&[9, 1, 4]), UsualDuration::Known(Duration::from_secs(4)));
    }
}
