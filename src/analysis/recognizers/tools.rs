//! Other programs whose messages say why a job failed: make, npm, Ansible, apt, git, the shell, sanitizers.

use super::{Finding, annotation, captures, group, patterns};
use crate::analysis::view::Severity;

patterns! {
    MAKE = r"^(?:g?make|ninja)(?:\[\d+\])?: \*\*\* (.+)$";
    NPM = r"^npm (?:ERR!|error) (?:code|[A-Z]?\d|.*(?:failed|not found|Missing|Invalid|Unable|Could not)).*$";
    ANSIBLE = r"^fatal: \[([^\]]{1,200})\]: (FAILED!|UNREACHABLE!)(?: => ?(.*))?$";
    ANSIBLE_ITEM = r"^failed: \[([^\]]{1,200})\] \(item=(.{0,200}?)\) => ?(.*)$";
    APT = r"^E: (.+)$";
    FATAL = r"^(?:fatal|ERROR|FATAL): (.+)$";
    SHELL = r"^(?:/\S+/)?(?:ba|da|z|k)?sh: (?:line )?(?:\d+: )?(.+: (?:not found|command not found|No such file or directory|Permission denied))$";
    SANITIZER = r"^==\d+== ?ERROR: (\w+Sanitizer: .+)$";
    SEGFAULT = r"^(?:.{0,200}: (?:line \d+: )?)?\s*(?:\d+ )?(Segmentation fault|Bus error|Aborted|Illegal instruction)(?: \(core dumped\)| {2,}.*)$";
    ASSERT = r"^.{0,300}: (Assertion [`'].+' failed\.?)$";
    YAML_MSG = r"^ {2,8}msg: ?(?:[|>]-?)?(.*)$";
    MSG = r#""msg": ?"((?:[^"\\]|\\.){1,400})"#;
}

/// Rows after the result of a task of Ansible in which its message may follow.
const RESULT_ROWS: u16 = 300;

/// The state of the recognizer.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// Rows in which the message of the last result of Ansible may follow.
    result_rows: u16,
    /// Whether `...ignoring` may follow a result of Ansible.
    may_be_ignored: bool,
}

impl Tools {
    /// Reports whether the next row may belong to the last ones.
    pub(super) fn is_open(&self) -> bool {
        self.result_rows > 0 || self.may_be_ignored
    }

    /// Examines a row.
    pub(super) fn examine(&mut self, n: u64, text: &str) -> Option<Finding> {
        if text == "...ignoring" && std::mem::take(&mut self.may_be_ignored) {
            self.result_rows = 0;
            return Some(Finding::Ignored);
        }
        if self.result_rows > 0 {
            self.result_rows -= 1;
            if let Some(found) = captures(&MSG, text).or_else(|| captures(&YAML_MSG, text)) {
                self.result_rows = 0;
                return Some(Finding::Detail(group(&found, 1).to_owned()));
            }
            if text.is_empty() {
                self.result_rows = 0;
            }
        }
        if self.may_be_ignored && text.starts_with("TASK [") {
            *self = Self::default();
        }
        self.examine_ansible(n, text).or_else(|| examine(n, text))
    }

    fn examine_ansible(&mut self, n: u64, text: &str) -> Option<Finding> {
        let (host, result) = match captures(&ANSIBLE, text) {
            Some(found) => (format!("{}: {}", group(&found, 1), group(&found, 2)), group(&found, 3)),
            None => {
                let found = captures(&ANSIBLE_ITEM, text)?;
                (format!("{} ({}): FAILED!", group(&found, 1), group(&found, 2)), group(&found, 3))
            }
        };
        self.may_be_ignored = true;
        let message = captures(&MSG, result).map(|found| group(&found, 1));
        // The result goes on in the next rows.
        self.result_rows = if message.is_none() && matches!(result, "" | "{") { RESULT_ROWS } else { 0 };
        let message = message.unwrap_or(if result == "{" { "" } else { result });
        Some(Finding::New(annotation(n, Severity::Error, "ansible", format!("{host} {message}").trim_end())))
    }
}

/// Examines a row of a format of single rows.
fn examine(n: u64, text: &str) -> Option<Finding> {
    let error = |source: &str, message: &str| Some(Finding::New(annotation(n, Severity::Error, source, message)));
    match text.as_bytes().first()? {
        b'm' | b'g' | b'n' if MAKE.as_ref()?.is_match(text) => error("make", text),
        b'n' if NPM.as_ref()?.is_match(text) => error("npm", text),
        b'f' => captures(&FATAL, text).and_then(|_| error("log", text)),
        b'E' | b'F' => {
            if let Some(found) = captures(&APT, text) {
                return error("apt", group(&found, 1));
            }
            captures(&FATAL, text).and_then(|_| error("log", text))
        }
        b'=' => captures(&SANITIZER, text).and_then(|found| error("sanitizer", group(&found, 1))),
        _ => {
            let shell = captures(&SHELL, text).map(|found| group(&found, 1));
            if let Some(message) = shell {
                return error("shell", message);
            }
            if text.ends_with('.') || text.ends_with("failed") {
                return captures(&ASSERT, text).and_then(|found| error("assert", group(&found, 1)));
            }
            let found = captures(&SEGFAULT, text)?;
            error("signal", group(&found, 1))
        }
    }
}
