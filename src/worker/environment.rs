//! The environment variables that a worker sets for its command.

use std::ffi::{OsStr, OsString};

use super::WorkerOptions;

/// Variables that name a pager and that every program asking for one respects.
const PAGERS: [&str; 2] = ["PAGER", "GIT_PAGER"];
/// Variables that take precedence over `PAGER` in one program; replaced only if set.
const OTHER_PAGERS: [&str; 7] =
    ["MANPAGER", "SYSTEMD_PAGER", "GH_PAGER", "AWS_PAGER", "BAT_PAGER", "DELTA_PAGER", "PSQL_PAGER"];

/// Returns the variables to set. `own` returns a variable of this process; `attended` is whether a person can
/// answer a pager.
pub(super) fn variables(
    options: &WorkerOptions,
    own: impl Fn(&str) -> Option<OsString>,
    attended: bool,
) -> Vec<(&'static str, OsString)> {
    let mut variables: Vec<(&str, OsString)> =
        vec![("TASKTAIL_URL", options.url.clone().into()), ("TASKTAIL_TASK", options.task.as_str().into())];
    if let Some(file) = options.ca_file.as_deref().and_then(|file| std::path::absolute(file).ok()) {
        variables.push(("TASKTAIL_CA_FILE", file.into()));
    }
    if options.pty {
        if own("TERM").is_none_or(|term| term.is_empty()) {
            variables.push(("TERM", "xterm-256color".into()));
        }
    } else if own("PYTHONUNBUFFERED").is_none() {
        // Otherwise Python collects 8 KiB of output before it writes to a pipe.
        variables.push(("PYTHONUNBUFFERED", "1".into()));
    }
    if !attended {
        let set = OTHER_PAGERS.into_iter().filter(|name| own(name).is_some());
        variables.extend(PAGERS.into_iter().chain(set).map(|name| (name, OsStr::new("cat").to_owned())));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pty: bool, attended: bool, own: &[(&str, &str)]) -> Vec<String> {
        let options = WorkerOptions { pty, ..WorkerOptions::new("http://127.0.0.1:1", "t".parse().unwrap()) };
        let own = |name: &str| own.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into());
        let all = variables(&options, own, attended).into_iter();
        all.skip(2).map(|(name, value)| format!("{name}={}", value.display())).collect()
    }

    #[test]
    fn python_is_unbuffered_only_in_a_pipe_and_only_if_the_user_has_not_decided() {
        assert_eq!(set(false, true, &[]), ["PYTHONUNBUFFERED=1"]);
        assert_eq!(set(false, true, &[("PYTHONUNBUFFERED", "")]), [""; 0]);
    }

    #[test]
    fn a_terminal_has_a_name() {
        assert_eq!(set(true, true, &[]), ["TERM=xterm-256color"]);
        assert_eq!(set(true, true, &[("TERM", "")]), ["TERM=xterm-256color"]);
        assert_eq!(set(true, true, &[("TERM", "screen")]), [""; 0]);
    }

    #[test]
    fn no_pager_waits_for_a_key_that_no_one_can_press() {
        let own = [("TERM", "vt100"), ("PAGER", "less"), ("MANPAGER", "most")];
        assert_eq!(set(true, false, &own), ["PAGER=cat", "GIT_PAGER=cat", "MANPAGER=cat"]);
        assert_eq!(set(true, true, &own), [""; 0]);
    }
}
