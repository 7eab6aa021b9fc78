//! `tasktail run`: a command, its output here and at a server.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use ulid::Ulid;

use super::args::RunArgs;
use super::locate::{Locator, Purpose};
use super::{Context, EXIT_BEFORE_START};
use crate::client::Endpoint;
use crate::config::TokenSource;
use crate::model::TaskId;
use crate::worker::{SpoolOptions, Worker, WorkerOptions};

/// Characters of the command's name in a task's id.
const NAME_CHARS_MAX: usize = 40;
/// What turns events off in `LB_ENABLE_EVENT_LOGGING`, in any case.
const OFF_WORDS: [&str; 3] = ["0", "false", "no"];
/// Where nobody is, and nobody can be: for a worker that has no server yet.
const NOWHERE: &str = "http://127.0.0.1:0";

pub(super) async fn run(args: RunArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let task = match args.task.clone() {
        Some(task) => task,
        None => make_id(args.command.first().map(OsStr::new).unwrap_or_default())?,
    };
    let masks = args.mask.masks()?;
    // A server that was named is the one; a token in a file may be another one later.
    let settled = settings.url.is_some() && !matches!(settings.token, Some(TokenSource::File(_)));
    let spool = settings.spool.clone().map(|dir| SpoolOptions { dir, bytes_max: settings.spool_bytes_max });
    let locator = Arc::new(Locator::new(settings, output, Purpose::Task));
    let endpoint = match locator.endpoint().await {
        Ok(endpoint) => {
            output.announce(format_args!("watch: {}", endpoint.task_page(&task)));
            endpoint
        }
        Err(error) => {
            let why = super::output::chain(&error);
            output.note(format_args!("no server: {why}; the command runs, its output is only here"));
            NOWHERE.parse::<Endpoint>()?
        }
    };
    let mut options = WorkerOptions::new(endpoint.to_string(), task);
    options.ca_file = endpoint.ca_file().map(Path::to_owned);
    options.token = endpoint.token().map(|token| token.reveal().to_owned());
    options.labels = event_labels(&args, std::env::var("LB_ENABLE_EVENT_LOGGING").ok().as_deref());
    options.labels.extend(args.labels);
    options.tee = args.tee;
    options.pty = args.pty;
    options.masks = masks;
    options.spool = spool;
    options.kill_grace = args.grace;
    options.notes = Arc::new(move |text| output.note(text));
    if !settled {
        options.reconnect = Some(reconnect(&locator));
    }
    let result = Box::pin(Worker::run(options, args.command)).await;
    if locator.is_own().await {
        locator.close().await;
    }
    match result {
        Ok(outcome) => Ok(exit_byte(outcome.exit_code)),
        Err(error) => {
            let code = exit_byte(error.exit_code());
            output.error(&error.into());
            Ok(code)
        }
    }
}

/// What the server is to do with events in the output, as labels of the task.
fn event_labels(args: &RunArgs, logging: Option<&str>) -> BTreeMap<String, String> {
    let off = args.no_events || logging.is_some_and(|word| OFF_WORDS.iter().any(|off| word.eq_ignore_ascii_case(off)));
    let events = match (args.emit_events, off) {
        (true, _) => Some("lines".to_owned()),
        (false, true) => Some("off".to_owned()),
        (false, false) => None,
    };
    let labels = [
        ("events", events),
        ("run", args.run.as_ref().map(ToString::to_string)),
        ("workload", args.workload.clone()),
        ("repetition", args.repetition.clone()),
        ("host", args.host.clone()),
        ("config", args.config_name.clone()),
    ];
    labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// When the server we used has gone with the process it lived in, its place is taken here.
pub(super) fn reconnect(locator: &Arc<Locator>) -> crate::worker::Reconnect {
    let locator = Arc::clone(locator);
    Arc::new(move || {
        let locator = Arc::clone(&locator);
        Box::pin(async move {
            match locator.endpoint().await {
                Ok(endpoint) => Some(endpoint),
                Err(error) => {
                    tracing::debug!("no server: {error:#}");
                    None
                }
            }
        })
    })
}

/// A readable id that no other task has: the command's name and a time-ordered random part.
fn make_id(program: &OsStr) -> anyhow::Result<TaskId> {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().take(NAME_CHARS_MAX).map(keep).collect();
    let name = match name.trim_matches(['-', '.']) {
        "" => "task",
        name => name,
    };
    format!("{name}-{}", Ulid::generate().to_string().to_lowercase()).parse().context("cannot make a task id")
}

/// What the system keeps of an exit code.
pub(super) fn exit_byte(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(EXIT_BEFORE_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_are_readable_valid_and_unique() {
        for (program, prefix) in
            [("/usr/bin/make", "make-"), ("./my build.sh", "my-build.sh-"), ("…", "task-"), ("", "task-")]
        {
            let id = make_id(OsStr::new(program)).unwrap();
            assert!(id.as_str().starts_with(prefix), "{id}");
            assert_ne!(id, make_id(OsStr::new(program)).unwrap());
        }
        assert!(make_id(OsStr::new(&"x".repeat(300))).is_ok());
    }

    #[test]
    fn exit_codes_are_bytes() {
        assert_eq!((exit_byte(0), exit_byte(137), exit_byte(256), exit_byte(-1)), (0, 137, 0, 255));
    }
}
