//! An ordinary playbook, read from what Ansible prints: the play and the task that run, and the state of each host.

use super::normal::header;
use super::recap::count;
use crate::events::clean;
use crate::model::RunStatus;

/// Maximum number of hosts that are shown.
const HOSTS_MAX: usize = 1_000;
/// Maximum characters of a name.
const NAME_CHARS_MAX: usize = 200;

/// A playbook.
#[derive(Clone, Debug, Default)]
pub(super) struct PlaybookView {
    pub(super) play: String,
    pub(super) task: String,
    /// Number of tasks that have begun, handlers included.
    pub(super) tasks: u64,
    /// Whether the recap was printed.
    pub(super) ended: bool,
    pub(super) hosts: Vec<PlaybookHost>,
    /// Position of the host whose failure was the last line.
    last_failed: Option<usize>,
}

/// A host of a playbook.
#[derive(Clone, Debug)]
pub(super) struct PlaybookHost {
    pub(super) name: String,
    pub(super) play: String,
    pub(super) status: RunStatus,
    /// Number of tasks with a result.
    pub(super) tasks: u64,
    /// The last task, the one that failed, or the counts of the recap.
    pub(super) action: String,
    /// The last task with a result.
    counted: u64,
    /// The state before the last failure, which may be ignored.
    before: Option<(RunStatus, String)>,
}

/// The result of a task on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskOutcome {
    Good,
    Failed,
    Unreachable,
}

impl PlaybookView {
    /// Reports whether a playbook was seen.
    pub(super) fn is_seen(&self) -> bool {
        self.tasks > 0 || !self.play.is_empty() || self.ended
    }

    /// Returns the state of the whole playbook.
    pub(super) fn status(&self) -> RunStatus {
        match (self.hosts.iter().any(|host| host.status == RunStatus::Failed), self.ended) {
            (true, _) => RunStatus::Failed,
            (false, true) => RunStatus::Done,
            (false, false) => RunStatus::Running,
        }
    }

    /// Reads a line of text without colours.
    pub(super) fn read(&mut self, line: &str) {
        if line.starts_with("PLAY RECAP") {
            self.ended = true;
            self.task.clear();
        } else if let Some(name) = header(line) {
            self.begin(line.starts_with("PLAY "), name);
        } else if self.ended {
            self.read_recap(line);
        } else if line == "...ignoring" {
            self.forgive();
        } else if let Some((host, outcome)) = result(line) {
            self.read_result(host, outcome);
        }
    }

    fn begin(&mut self, is_play: bool, name: &str) {
        let name = short(name);
        // Another playbook of the same text.
        self.ended = false;
        if is_play {
            self.play = name;
            self.task.clear();
        } else {
            self.task = name;
            self.tasks += 1;
        }
        self.last_failed = None;
    }

    fn read_result(&mut self, host: &str, outcome: TaskOutcome) {
        let (play, task, number) = (self.play.clone(), self.task.clone(), self.tasks);
        let Some(at) = self.host(host) else { return };
        let Some(host) = self.hosts.get_mut(at) else { return };
        host.play = play;
        if host.counted != number {
            host.tasks += 1;
            host.counted = number;
        }
        if outcome == TaskOutcome::Good {
            if host.status == RunStatus::Running {
                host.action = task;
            }
            return;
        }
        if self.last_failed != Some(at) {
            host.before = Some((host.status, host.action.clone()));
        }
        host.status = RunStatus::Failed;
        host.action = if outcome == TaskOutcome::Unreachable { format!("{task}: unreachable") } else { task };
        self.last_failed = Some(at);
    }

    /// Returns the position of a host, which is added if there is room.
    fn host(&mut self, name: &str) -> Option<usize> {
        if let Some(at) = self.hosts.iter().position(|host| host.name == name) {
            return Some(at);
        }
        let room = self.hosts.len() < HOSTS_MAX;
        room.then(|| {
            self.hosts.push(PlaybookHost {
                name: name.to_owned(),
                play: self.play.clone(),
                status: RunStatus::Running,
                tasks: 0,
                action: String::new(),
                counted: 0,
                before: None,
            });
            self.hosts.len() - 1
        })
    }

    /// Restores the state of the host whose failure is ignored.
    fn forgive(&mut self) {
        let Some(host) = self.last_failed.take().and_then(|at| self.hosts.get_mut(at)) else { return };
        if let Some((status, action)) = host.before.take() {
            (host.status, host.action) = (status, action);
        }
    }

    fn read_recap(&mut self, line: &str) {
        let Some((name, counts)) = line.split_once(": ok=").map(|(name, _)| (name, &line[name.len()..])) else {
            return;
        };
        let number = |of: &str| count(counts, &format!("{of}=")).unwrap_or(0);
        let shown = ["ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored"];
        let shown = shown.map(|of| (of, number(of))).into_iter().filter(|(_, count)| *count > 0);
        let action = shown.map(|(of, count)| format!("{count} {of}")).collect::<Vec<_>>().join(", ");
        let failed = number("failed") + number("unreachable") > 0;
        let Some(at) = self.host(&short(name.trim())) else { return };
        let Some(host) = self.hosts.get_mut(at) else { return };
        // The task that failed is more telling than the counts.
        host.action = if failed && !host.action.is_empty() { format!("{} · {action}", host.action) } else { action };
        host.status = if failed { RunStatus::Failed } else { RunStatus::Done };
    }
}

/// Returns the host and the outcome in the first line of a result.
fn result(line: &str) -> Option<(&str, TaskOutcome)> {
    let (word, rest) = line.split_once(": [")?;
    let (host, rest) = rest.split_once(']')?;
    let host = host.split_once(" -> ").map_or(host, |(host, _)| host);
    let outcome = match word {
        "ok" | "changed" | "skipping" => TaskOutcome::Good,
        "fatal" if rest.contains("UNREACHABLE!") => TaskOutcome::Unreachable,
        "fatal" | "failed" => TaskOutcome::Failed,
        _ => return None,
    };
    (!host.is_empty()).then_some((host, outcome))
}

fn short(name: &str) -> String {
    clean(name).chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PlaybookView {
        let mut playbook = PlaybookView::default();
        text.lines().for_each(|line| playbook.read(line));
        playbook
    }

    fn rows(playbook: &PlaybookView) -> Vec<(&str, RunStatus, u64, &str)> {
        playbook.hosts.iter().map(|host| (host.name.as_str(), host.status, host.tasks, host.action.as_str())).collect()
    }

    const BEGIN: &str = "PLAY [Prepare] ***\n\nTASK [Copy] ***\nchanged: [web1]\nok: [db1 -> localhost] => (item=a)\n\
                         ok: [db1] => (item=b)\n\nTASK [Loop] ***\nfailed: [db1] (item=1) => {\"rc\": 1}\nskipping: [web1]\n";

    #[test]
    fn a_running_playbook_shows_its_play_its_task_and_each_host() {
        let playbook = read(BEGIN);
        assert_eq!((playbook.play.as_str(), playbook.task.as_str(), playbook.tasks), ("Prepare", "Loop", 2));
        let wanted = [("web1", RunStatus::Running, 2, "Loop"), ("db1", RunStatus::Failed, 2, "Loop")];
        assert_eq!((rows(&playbook), playbook.status()), (wanted.into(), RunStatus::Failed));
        assert!(!PlaybookView::default().is_seen() && playbook.is_seen());
    }

    #[test]
    fn ignored_failures_are_no_failures() {
        let text = "PLAY [p] ***\nTASK [a] ***\nok: [h]\nTASK [b] ***\nfailed: [h] (item=1) => x\nfailed: [h] (item=2) => x\n...ignoring\n";
        assert_eq!(rows(&read(text)), [("h", RunStatus::Running, 2, "a")]);
        let away = format!("{text}TASK [c] ***\nfatal: [h]: UNREACHABLE! => {{}}\n");
        assert_eq!(rows(&read(&away)), [("h", RunStatus::Failed, 3, "c: unreachable")]);
    }

    #[test]
    fn the_recap_decides() {
        let recap = "PLAY RECAP ***\ndb1   : ok=1    changed=0    unreachable=0    failed=1    skipped=0\n\
                     web1  : ok=2    changed=1    unreachable=0    failed=0    skipped=1\n";
        let playbook = read(&format!("{BEGIN}\n{recap}"));
        let wanted = [
            ("web1", RunStatus::Done, 2, "2 ok, 1 changed, 1 skipped"),
            ("db1", RunStatus::Failed, 2, "Loop · 1 ok, 1 failed"),
        ];
        assert_eq!(rows(&playbook), wanted);
        // A rescued failure.
        let rescued = read(
            "PLAY [p] ***\nTASK [a] ***\nfatal: [h]: FAILED! => {}\nPLAY RECAP ***\nh : ok=2 changed=0 unreachable=0 failed=0 rescued=1\n",
        );
        assert_eq!((rows(&rescued)[0].1, rescued.status()), (RunStatus::Done, RunStatus::Done));
    }
}
