//! The flags of every `tasktail events` command, as clap reads them and `--help` shows them.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use crate::model::RunId;
use crate::model::units;

/// `tasktail events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each works on a file of events, one JSON object a line (events.jsonl in the
current folder where none is named), or with --run on a run at a server. What
is wrong in a file is told on stderr and passed over.

Examples:
  tasktail events record --type step.started --step build
  tasktail events tail -n 20
  tasktail events follow --run nightly-7 --until-end --exit-status
  tasktail events failures --budget 2000
  ansible-playbook site.yml | tasktail events extract > events.jsonl")]
pub struct EventsArgs {
    #[command(subcommand)]
    pub(super) command: EventsCommand,
}

/// What can be done with events.
#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// Make an event and append it
    Record(Box<RecordArgs>),
    /// Print the last events
    Tail(TailArgs),
    /// Print events as they come
    Follow(FollowArgs),
    /// Print the events that tell of a failure, oldest first
    Failures(FailuresArgs),
    /// Show where the run is, rebuilt from its events
    Status(StatusArgs),
    /// Print one line for each event, with the time between them
    Timeline(TimelineArgs),
    /// Follow a growing file of events into a run at a server
    Ship(ShipArgs),
    /// Find the events in any text (LB_EVENT lines)
    Extract(ExtractArgs),
}

/// Where events are.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// The file of events [default: events.jsonl]
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// A run at a server instead of a file
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    pub(super) run: Option<RunId>,
}

/// How events look, and which of them.
#[derive(Clone, Debug, Args)]
pub(super) struct ViewArgs {
    /// One line of text for people instead of JSON
    #[arg(long, conflicts_with = "fields")]
    pub(super) pretty: bool,
    /// Only these fields, in this order; absent ones are left out
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) fields: Option<Vec<String>>,
    /// Only events of these types, such as `step.*,gate.failed`; a benchmark's are `status` and `log`
    #[arg(long = "type", value_name = "T,..", value_delimiter = ',')]
    pub(super) types: Vec<String>,
}

/// `events record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the event's id. It gets an event_id and the time, and the run's id:
--run-id, or TASKTAIL_RUN, or the name of the file's folder. --type makes a
pipeline's event, --host and --workload one of a benchmark, which is a log
event unless --status says otherwise. A value of --field that is JSON stays
what it is.

Examples:
  tasktail events record --type run.created --state created runs/nightly-7/events.jsonl
  tasktail events record --type step.failed --step verify --error-class hard_gate_failed --reason '95 % < 97 %' --state failed
  tasktail events record --host h1 --workload fio --repetition 1/3 --status done --message duration=12.3s
  tasktail events record --run nightly-7 --type step.started --step build --field cores=8
  ./runner | tasktail events record --stdin --sync")]
pub(super) struct RecordArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Read events from stdin, one JSON object a line
    #[arg(long, conflicts_with_all = ["kind", "step", "actor", "attempt", "error_class", "reason", "state",
        "previous", "fields", "host", "workload", "repetition", "status", "level", "message", "error_type"])]
    pub(super) stdin: bool,
    /// The run that the event names [default: TASKTAIL_RUN, or the name of the file's folder]
    #[arg(long, value_name = "ID", env = "TASKTAIL_RUN", hide_env_values = true)]
    pub(super) run_id: Option<RunId>,
    /// Wait until it is on the disk
    #[arg(long)]
    pub(super) sync: bool,
    /// The event's type: run.created, step.started, gate.failed, ...
    #[arg(long = "type", value_name = "T", required_unless_present_any = ["stdin", "host", "workload"],
        conflicts_with_all = ["host", "workload", "repetition", "status", "level", "message"])]
    pub(super) kind: Option<String>,
    /// The step
    #[arg(long, value_name = "S", requires = "kind")]
    pub(super) step: Option<String>,
    /// Who says it [default: manual]
    #[arg(long, value_name = "A", requires = "kind")]
    pub(super) actor: Option<String>,
    /// Which try, from 0 [default: 0]
    #[arg(long, value_name = "N", requires = "kind")]
    pub(super) attempt: Option<u64>,
    /// The error's class, such as hard_gate_failed
    #[arg(long, value_name = "C", requires = "kind")]
    pub(super) error_class: Option<String>,
    /// Why
    #[arg(long, value_name = "R", requires = "kind")]
    pub(super) reason: Option<String>,
    /// The state of the run or step from now on
    #[arg(long, value_name = "NEW", requires = "kind")]
    pub(super) state: Option<String>,
    /// Its state before
    #[arg(long, value_name = "OLD", requires = "state")]
    pub(super) previous: Option<String>,
    /// The host of a benchmark's event
    #[arg(long, value_name = "H", requires_all = ["workload", "repetition"])]
    pub(super) host: Option<String>,
    /// The workload
    #[arg(long, value_name = "W", requires_all = ["host", "repetition"])]
    pub(super) workload: Option<String>,
    /// The repetition, of how many: `1/3`, or `1`
    #[arg(long, value_name = "N/M", requires = "host", value_parser = repetition)]
    pub(super) repetition: Option<(u64, Option<u64>)>,
    /// Where the repetition is: running, done, failed, skipped, ...
    #[arg(long, value_name = "S", requires = "host")]
    pub(super) status: Option<String>,
    /// The level of a log event: DEBUG, INFO, WARNING, ERROR
    #[arg(long, value_name = "L", requires = "host")]
    pub(super) level: Option<String>,
    /// What happened
    #[arg(long, value_name = "TEXT", requires = "host")]
    pub(super) message: Option<String>,
    /// The error's kind
    #[arg(long, value_name = "E", requires = "host")]
    pub(super) error_type: Option<String>,
    /// A field of your own; may be repeated
    #[arg(long = "field", value_name = "K=V", value_parser = field, action = ArgAction::Append)]
    pub(super) fields: Vec<(String, serde_json::Value)>,
}

/// `events tail`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail events tail
  tasktail events tail -n 20 --pretty runs/nightly-7/events.jsonl
  tasktail events tail --type 'step.*,gate.failed' --fields event_type,step_id,reason
  tasktail events tail --run nightly-7 --budget 2000        the most telling of all events in 2,000 bytes")]
pub(super) struct TailArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) view: ViewArgs,
    /// How many [default: 10, with --budget all]
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) lines: Option<usize>,
    /// The most telling of them in at most so many bytes, such as 2000 or 4KiB
    #[arg(long, value_name = "BYTES", value_parser = units::size)]
    pub(super) budget: Option<u64>,
}

/// `events follow`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with Ctrl-C, or with --until-end when the run has ended: at
run.completed, or when every step and repetition has. A file or a run that is
not there yet is waited for.

Examples:
  tasktail events follow
  tasktail events follow --from-start --pretty runs/nightly-7/events.jsonl
  tasktail events follow --run nightly-7 --type gate.failed
  tasktail events follow --run nightly-7 --until-end --exit-status && ./publish")]
pub(super) struct FollowArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) view: ViewArgs,
    /// Begin with the last N events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(super) lines: usize,
    /// Begin with the first event
    #[arg(long, conflicts_with = "lines")]
    pub(super) from_start: bool,
    /// End when the run has ended
    #[arg(long)]
    pub(super) until_end: bool,
    /// Exit with 1 if the run failed
    #[arg(long, requires = "until_end")]
    pub(super) exit_status: bool,
}

/// `events failures`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --budget: the first failure and what led to it, how the run ended, the
first failure of each step or repetition, then others. Look-alikes are one
line with `\"repeated\":N`, and the first line counts what is shown and what
is left out.

Examples:
  tasktail events failures
  tasktail events failures --before 3 --pretty
  tasktail events failures --run nightly-7 --budget 2000
  tasktail events failures --fields step_id,error_class,reason")]
pub(super) struct FailuresArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) view: ViewArgs,
    /// Print the N events before each failure too
    #[arg(short = 'B', long, value_name = "N", default_value_t = 0, conflicts_with = "budget")]
    pub(super) before: usize,
    /// The most telling in at most so many bytes, such as 2000 or 4KiB
    #[arg(long, value_name = "BYTES", value_parser = units::size)]
    pub(super) budget: Option<u64>,
}

/// `events status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail events status
  tasktail events status runs/nightly-7/events.jsonl
  tasktail events status --run nightly-7 --json | jq -r .status")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

/// `events timeline`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail events timeline
  tasktail events timeline -r --type 'step.*,run.*'        seconds since the first event
  tasktail events timeline --run nightly-7 --json")]
pub(super) struct TimelineArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Times since the first event instead of the time of day
    #[arg(short, long)]
    pub(super) relative: bool,
    /// Only events of these types, such as `step.*,gate.failed`
    #[arg(long = "type", value_name = "T,..", value_delimiter = ',')]
    pub(super) types: Vec<String>,
}

/// `events ship`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each event arrives once, also when the server or this command is started anew:
one that has no id gets one from what it says and where it stands. A server
that is away is waited for.

Examples:
  tasktail events ship runs/nightly-7/events.jsonl --run nightly-7
  tasktail events ship events.jsonl --run nightly-7 --no-follow")]
pub(super) struct ShipArgs {
    /// The file of events; one that is not there yet is waited for
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The run
    #[arg(long, value_name = "ID", env = "TASKTAIL_RUN", hide_env_values = true)]
    pub(super) run: RunId,
    /// Send what is there and end
    #[arg(long)]
    pub(super) no_follow: bool,
    /// Whether to begin with the file's first event, or with what is written from now on
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = ArgAction::Set)]
    pub(super) from_start: bool,
}

/// `events extract`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints each event as it was printed, compact, at once. One that Ansible
printed twice comes once. What looks like an event and cannot be read is told
on stderr.

Examples:
  ansible-playbook site.yml | tasktail events extract
  tasktail events extract --tasks run.log | jq -r .message
  ./runner | tasktail events extract --ids | tasktail events record --stdin --run nightly-7
  tasktail events extract --strict run.log > events.jsonl")]
pub(super) struct ExtractArgs {
    /// The text [default: stdin]
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Print the LB_TASK objects too
    #[arg(long)]
    pub(super) tasks: bool,
    /// Print each event as it is kept: with its event_id, without nulls
    #[arg(long)]
    pub(super) ids: bool,
    /// The host of events that name none
    #[arg(long, value_name = "H")]
    pub(super) host: Option<String>,
    /// Exit with 1 if something looked like an event and could not be read
    #[arg(long)]
    pub(super) strict: bool,
}

fn repetition(text: &str) -> Result<(u64, Option<u64>), String> {
    let bad = || format!("`{text}` is not a repetition: write N/M, such as 1/3, or N");
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    match text.split_once('/') {
        Some((number_of, total)) => Ok((number(number_of)?, Some(number(total)?))),
        None => Ok((number(text)?, None)),
    }
}

fn field(text: &str) -> Result<(String, serde_json::Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Ok((key.to_owned(), value))
        }
        _ => Err(format!("`{text}` is not a field: write KEY=VALUE, such as cores=8")),
    }
}
