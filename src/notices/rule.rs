//! Rules: a selection of tasks, a condition, and the receivers of the notices.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::sign::read_secret;
use crate::analysis::LogPattern;
use crate::client::Endpoint;
use crate::model::{StatusFilter, Task, TaskId, glob};

/// All rules, in the order of the settings file.
pub type NoticeRules = Arc<[NoticeRule]>;

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeRule {
    /// Its name, which is unique.
    pub name: String,
    /// Pattern of the ids or the names of tasks; all tasks without one.
    pub tasks: Option<String>,
    /// Labels that a task must have.
    pub labels: Vec<(String, String)>,
    /// Its condition.
    pub trigger: NoticeTrigger,
    /// Its receivers, at least one.
    pub actions: Vec<NoticeAction>,
}

/// The condition of a rule.
#[derive(Clone, Debug)]
pub enum NoticeTrigger {
    /// A task ends with one of these statuses, or is lost.
    Status(Vec<StatusFilter>),
    /// A line matches: the first one of each task.
    Pattern(Box<LogPattern>),
    /// A task that runs has no new line for this long.
    Silence(Duration),
    /// A task takes longer than this many times the median of its recent good runs.
    Slower(f64),
}

/// A receiver of notices.
#[derive(Clone, Debug, PartialEq)]
pub enum NoticeAction {
    /// A signed request with the notice as JSON.
    Webhook {
        /// The receiver.
        target: NoticeTarget,
        /// File of the secret that signs requests.
        secret_file: PathBuf,
    },
    /// A message of an ntfy server.
    Ntfy {
        /// The server, without the topic.
        target: NoticeTarget,
        /// The topic.
        topic: String,
        /// File of an access token of that server.
        token_file: Option<PathBuf>,
    },
    /// A program and its arguments, with the notice as JSON on stdin.
    Command(Vec<String>),
}

/// The URL of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeTarget {
    /// Scheme, host, port and certificates.
    pub(super) endpoint: Endpoint,
    /// Path and query.
    pub(super) path: String,
}

impl NoticeAction {
    /// Returns the kind, for metrics and messages.
    pub const fn kind(&self) -> &'static str {
        match self {
            NoticeAction::Webhook { .. } => "webhook",
            NoticeAction::Ntfy { .. } => "ntfy",
            NoticeAction::Command(_) => "command",
        }
    }

    /// Checks the file that is read for each notice.
    ///
    /// # Errors
    /// It cannot be read, or its contents cannot be used.
    pub fn check_file(&self) -> Result<(), (&Path, io::Error)> {
        match self {
            NoticeAction::Webhook { secret_file, .. } => {
                read_secret(secret_file).map(drop).map_err(|error| (secret_file.as_path(), error))
            }
            NoticeAction::Ntfy { token_file: Some(file), .. } => {
                std::fs::read_to_string(file).map(drop).map_err(|error| (file.as_path(), error))
            }
            NoticeAction::Ntfy { .. } | NoticeAction::Command(_) => Ok(()),
        }
    }
}

impl PartialEq for NoticeTrigger {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (NoticeTrigger::Status(one), NoticeTrigger::Status(other)) => one == other,
            (NoticeTrigger::Pattern(one), NoticeTrigger::Pattern(other)) => {
                one.regex().as_str() == other.regex().as_str()
            }
            (NoticeTrigger::Silence(one), NoticeTrigger::Silence(other)) => one == other,
            (NoticeTrigger::Slower(one), NoticeTrigger::Slower(other)) => one == other,
            _ => false,
        }
    }
}

impl NoticeTrigger {
    /// Returns the name of the setting.
    pub const fn kind(&self) -> &'static str {
        match self {
            NoticeTrigger::Status(_) => "status",
            NoticeTrigger::Pattern(_) => "pattern",
            NoticeTrigger::Silence(_) => "silence",
            NoticeTrigger::Slower(_) => "slower",
        }
    }

    /// Reports whether lines must be read for it.
    pub(super) const fn reads_lines(&self) -> bool {
        matches!(self, NoticeTrigger::Pattern(_) | NoticeTrigger::Silence(_))
    }
}

impl NoticeRule {
    /// Reports whether the rule is about a task.
    pub(super) fn is_about(&self, task: &Task) -> bool {
        let name = task.attempt.as_ref().map(|attempt| &attempt.of);
        let matches = |id: &TaskId, pattern: &str| glob::matches(pattern.as_bytes(), id.as_str().as_bytes());
        let is_named = |pattern: &String| matches(&task.id, pattern) || name.is_some_and(|name| matches(name, pattern));
        self.tasks.as_ref().is_none_or(is_named)
            && self.labels.iter().all(|(key, value)| task.labels.get(key) == Some(value))
    }
}
