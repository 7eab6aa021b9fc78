//! `tasktail run`: runs a command and shows its output here and at a server.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use parking_lot::Mutex;
use tokio::time::timeout;
use ulid::Ulid;

use super::locate::{Locator, Purpose, reconnect};
use super::mask::MaskArgs;
use super::notify::EndNotice;
use super::output::Output;
use super::progress::RunProgress;
use super::settings::{PtyArgs, SpoolArgs};
use super::shell_hint;
use super::values::{key_value, repetition};
use super::{Context, EXIT_BEFORE_START, rejected};
use crate::client::Endpoint;
use crate::config::TokenSource;
use crate::model::{AttemptMode, RunId, TaskId, units};
use crate::worker::{LocalLogOptions, Masks, StartingFn, Worker, WorkerError, WorkerOptions, WorkerOutcome};

/// Maximum number of characters of the command's name in a task's id.
const NAME_CHARS_MAX: usize = 40;
/// Values of `LB_ENABLE_EVENT_LOGGING` that disable events; case is ignored.
const OFF_WORDS: [&str; 3] = ["0", "false", "no"];
/// An address that cannot be reached, for a worker without a server.
const UNREACHABLE_URL: &str = "http://127.0.0.1:0";

/// Maximum time for which the command waits for a server. It starts then, whether there is one or not.
const START_WAIT: Duration = Duration::from_secs(3);

/// `tasktail run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Creates a task: one log of one command. A task is not a run: a run of a
workflow collects events, possibly of many tasks (see `tasktail events`).

Prints `watch: URL` on stderr first. The exit code is the command's: 128+N
for signal N, 127 if the command does not exist, 126 if it cannot be executed,
125 if tasktail failed before starting it. The command's environment contains
TASKTAIL_URL and TASKTAIL_TASK. If no server is running, this process serves
the task itself until the command ends; `tasktail open` serves its page again.
If the server does not answer, the command runs and its lines are sent later.

If stdout is a terminal, the command gets a terminal of its own (--pty auto):
colours, progress bars and keys work as without tasktail, and its stdout and
stderr are one stream. --pty never keeps them apart.

A secret (--mask-env, --mask-file) is replaced before anything is shown,
stored or sent, also URL-encoded, as a JSON string or in base64; a secret of
several lines also line by line, for lines of 16 bytes and more. Output that
may be the start of a secret is held back until that is decided. A secret needs
at least 4 bytes. It is not found in pieces with other text between them, nor
in other encodings.

All output is kept in a local file until the server has confirmed it: neither
a burst nor an outage of hours loses lines or slows the command. The file has
no name and ends with tasktail. With --spool it is kept in a folder, survives a
kill of tasktail (a power cut: all but the last 200 ms), and the rest can be
sent with `tasktail spool send`. Beyond --spool-bytes-max, and on a full disk,
--overflow decides. After the command's end its output is sent as long as there
is progress, and if no server was ever reached, that is tried for 10 s; Ctrl-C
stops both. The last line on stderr reports how many lines were kept, or what
is missing and why.

Examples:
  tasktail run -- make -j8
  tasktail run --task nightly-7 --label branch=main --tee build.log -- ./build.sh
  tasktail run --task nightly -- ./nightly.sh        every night: nightly, nightly.2, ...; `nightly` opens the newest
  tasktail run --pty always -- cargo build > build.log           keep the colours in the file
  tasktail run --notify -- cargo build --release                 tell when it ends
  tasktail run --spool /var/spool/tasktail -- ./nightly.sh
  tasktail run --mask-env DB_PASSWORD --mask-file deploy.pem -- ./deploy.sh
  tasktail --url http://logs.example:7117 run -- ./job
  tasktail run --run nightly-7 -- ansible-playbook site.yml      collect its LB_EVENT lines as events of that run
  tasktail run --emit-events --workload dfaas --repetition 1/3 -- k6 run load.js")]
pub struct RunArgs {
    /// Set the task's id; if it is in use, the log is ID.2, ID.3, ... [default: the command's name with a unique
    /// suffix]
    #[arg(long, value_name = "ID")]
    pub(super) task: Option<TaskId>,
    /// Delete the finished logs of this id first, and use the id again
    #[arg(long, requires = "task")]
    pub(super) replace: bool,
    /// Add a label to find the task by; repeatable
    #[arg(long = "label", value_name = "K=V", value_parser = key_value)]
    pub(super) labels: Vec<(String, String)>,
    /// Also write the command's raw output to this file
    #[arg(long, value_name = "FILE")]
    pub(super) tee: Option<PathBuf>,
    #[command(flatten)]
    pub(super) pty: PtyArgs,
    #[command(flatten)]
    pub(super) mask: MaskArgs,
    #[command(flatten)]
    pub(super) spool: SpoolArgs,
    /// Collect the output's events in this run unless they name another [default: the task's id]
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<RunId>,
    /// Ignore events in the output [env: LB_ENABLE_EVENT_LOGGING=0|false|no]
    #[arg(long, conflicts_with = "emit_events")]
    pub(super) no_events: bool,
    /// Create an event for each line and for the command's start and end, for tools without events
    #[arg(long, requires = "workload")]
    pub(super) emit_events: bool,
    /// Set the workload of these events
    #[arg(long, value_name = "NAME", requires = "emit_events")]
    pub(super) workload: Option<String>,
    /// Set the repetition of these events and the total, such as 1/3
    #[arg(long, value_name = "N/TOTAL", requires = "emit_events", value_parser = repetition)]
    pub(super) repetition: Option<String>,
    /// Set the host of these events [default: this machine]
    #[arg(long, value_name = "NAME", requires = "emit_events")]
    pub(super) host: Option<String>,
    /// Name the command's configuration in these events: `k6[NAME] stdout: ...` [default: stream]
    #[arg(long, value_name = "NAME", requires = "emit_events")]
    pub(super) config_name: Option<String>,
    /// At the end, ring the bell and show a notice with the exit code and the time (OSC 9 and OSC 777), if stderr is a
    /// terminal
    #[arg(long)]
    pub(super) notify: bool,
    /// Kill the command this long after SIGINT or SIGTERM if it has not ended
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub(super) grace: Duration,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

pub(super) async fn run(args: RunArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let task = match args.task.clone() {
        Some(task) => task,
        None => make_id(args.command.first().map(OsStr::new).unwrap_or_default())?,
    };
    let masks = args.mask.masks()?;
    let pty = settings.pty.is_on(std::io::stdout().is_terminal());
    // A configured server does not move, but the token in a file may change.
    let fixed = settings.url.is_some() && !matches!(settings.token, Some(TokenSource::File(_)));
    let local_log = LocalLogOptions {
        spool: settings.spool.clone(),
        bytes_max: settings.spool_bytes_max,
        overflow: settings.overflow,
    };
    let locator = Arc::new(Locator::new(settings, output, Purpose::Task));
    let found = locate_for_start(&locator, output).await;
    let page = found.clone();
    let endpoint = match found.or_else(|| locator.expected_endpoint()) {
        Some(endpoint) => endpoint,
        None => UNREACHABLE_URL.parse::<Endpoint>()?,
    };
    let mut options = WorkerOptions::new(endpoint.to_string(), task);
    options.ca_file = endpoint.ca_file().map(Path::to_owned);
    options.token = endpoint.token().map(|token| token.reveal().to_owned());
    options.attempt = match (&args.task, args.replace) {
        (None, _) => AttemptMode::Join,
        (Some(_), false) => AttemptMode::New,
        (Some(_), true) => AttemptMode::Replace,
    };
    if page.is_none() {
        // No server assigns an attempt before the command starts.
        options.start_wait = Duration::ZERO;
    }
    let log = Arc::new(Mutex::new(options.task.clone()));
    options.starting = Some(announce_page(page, Arc::clone(&log), output));
    options.labels = event_labels(&args, std::env::var("LB_ENABLE_EVENT_LOGGING").ok().as_deref());
    options.labels.extend(args.labels);
    options.tee = args.tee;
    options.pty = pty;
    options.job_control = pty;
    options.masks = masks.clone();
    options.local_log = local_log.clone();
    let progress = RunProgress::new(output);
    options.progress = Some(progress.reporter());
    options.kill_grace = args.grace;
    options.notes = Arc::new(move |text| output.note(text));
    if !fixed {
        options.reconnect = Some(reconnect(&locator));
    }
    let notice = args.notify.then(|| EndNotice::new(&args.command, &masks));
    let hint = shell_hint::of(&args.command, &options.masks);
    let result = Box::pin(Worker::run(options, args.command)).await;
    progress.clear();
    if let Ok(outcome) = &result {
        rejected::report(&endpoint, &outcome.task, output).await;
    }
    if locator.is_own().await {
        locator.close().await;
        output
            .note(format_args!("the page ends with this process; serve it again with `tasktail open {}`", log.lock()));
    }
    let code = report(result, &masks, &local_log, hint, output);
    if let Some(notice) = notice {
        notice.show(code);
    }
    Ok(code)
}

/// Reports the end of the command and returns the exit code.
fn report(
    result: Result<WorkerOutcome, WorkerError>,
    masks: &Masks,
    local_log: &LocalLogOptions,
    hint: Option<String>,
    output: Output,
) -> u8 {
    match result {
        Ok(outcome) => {
            let report = masks.text(&outcome.delivery.report(&outcome.task, local_log.spool.as_deref()));
            if outcome.delivery.is_whole() {
                output.note(report)
            } else {
                output.loss(report)
            }
            exit_byte(outcome.exit_code)
        }
        Err(error) => {
            let code = exit_byte(error.exit_code());
            let was_started = !matches!(error, WorkerError::NotFound { .. } | WorkerError::Setup { .. });
            output.error(&error.into());
            if let (Some(hint), false) = (hint, was_started) {
                output.note(format_args!("use: {hint}"));
            }
            code
        }
    }
}

/// Returns a function that prints the address of the log's page and stores the log's id.
fn announce_page(page: Option<Endpoint>, log: Arc<Mutex<TaskId>>, output: Output) -> StartingFn {
    Arc::new(move |task| {
        *log.lock() = task.clone();
        if let Some(page) = &page {
            output.announce(format_args!("watch: {}", page.task_page(task)));
        }
    })
}

/// Returns the server, if there is one by the time that the command should start. Otherwise the worker looks for one
/// while the command runs.
async fn locate_for_start(locator: &Arc<Locator>, output: Output) -> Option<Endpoint> {
    let search = Arc::clone(locator);
    // Spawned: a server that is being opened is used later.
    let search = tokio::spawn(async move { search.endpoint().await });
    let why = match timeout(START_WAIT, search).await {
        Ok(Ok(Ok(endpoint))) => return Some(endpoint),
        Ok(Ok(Err(error))) => super::output::chain(&error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("none has answered within {} s", START_WAIT.as_secs()),
    };
    output.note(format_args!("no server: {why}; the command runs, its lines are kept until a server answers"));
    None
}

/// Returns the labels that configure how the server processes events in the output.
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

/// Returns a readable unique id: the command's name and a time-ordered random part.
fn make_id(program: &OsStr) -> anyhow::Result<TaskId> {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().take(NAME_CHARS_MAX).map(keep).collect();
    let name = match name.trim_matches(['-', '.']) {
        "" => "task",
        name => name,
    };
    format!("{name}-{}", unique_suffix(&Ulid::generate())).parse().context("cannot make a task id")
}

/// Returns 12 characters of a ULID: its time without the digits that change every few years and the last one, so that
/// a few of them usually name one task, and random ones.
fn unique_suffix(ulid: &Ulid) -> String {
    let text = ulid.to_string().to_lowercase();
    let (time, random) = (text.get(2..9).unwrap_or(&text), text.get(10..15).unwrap_or_default());
    format!("{time}{random}")
}

/// Returns the low byte of an exit code, as the system does.
pub(super) fn exit_byte(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(EXIT_BEFORE_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_readable_valid_and_unique() {
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
