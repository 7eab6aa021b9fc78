//! `tasktail events record`: creates an event and appends it.

use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{ArgAction, Args};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;
use ulid::Ulid;

use super::ship::{self, BATCH_BYTES, EventPoster};
use super::source::{self, FILE_DEFAULT, SourceArgs};
use crate::cli::Context;
use crate::cli::locate::{Locator, Purpose};
use crate::cli::output::Output;
use crate::events::{EventLog, SyncMode, clean, excerpt};
use crate::model::{Event, EventError, RunId, Timestamp, events_in_line, limits};

/// Maximum number of lines that are read ahead of the append.
const LINES_MAX: usize = 1_024;

/// `events record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the event's id. Adds an event_id, the time and the run's id (--run-id,
TASKTAIL_RUN, or the name of the file's folder). --type creates an event of a
pipeline, --host and --workload one of a benchmark, which is a log event unless
--status is given. A JSON value of --field is kept as JSON.

Examples:
  tasktail events record --type run.created --state created runs/nightly-7/events.jsonl
  tasktail events record --type step.failed --step verify --error-class hard_gate_failed --reason '95 % < 97 %' --state failed
  tasktail events record --host h1 --workload fio --repetition 1/3 --status done --message duration=12.3s
  tasktail events record --run nightly-7 --type step.started --step build --field cores=8
  ./runner | tasktail events record --stdin --sync")]
pub(super) struct RecordArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Read events from stdin, one JSON object per line
    #[arg(long, conflicts_with_all = ["kind", "step", "actor", "attempt", "error_class", "reason", "state",
        "previous", "fields", "host", "workload", "repetition", "status", "level", "message", "error_type"])]
    stdin: bool,
    /// Set the run of the event [default: TASKTAIL_RUN, or the name of the file's folder]
    #[arg(long, value_name = "ID", env = "TASKTAIL_RUN", hide_env_values = true)]
    run_id: Option<RunId>,
    /// Wait until the event is synced to disk
    #[arg(long)]
    sync: bool,
    /// Set the event's type: run.created, step.started, gate.failed, ...
    #[arg(long = "type", value_name = "T", required_unless_present_any = ["stdin", "host", "workload"],
        conflicts_with_all = ["host", "workload", "repetition", "status", "level", "message"])]
    kind: Option<String>,
    /// Set the step
    #[arg(long, value_name = "S", requires = "kind")]
    step: Option<String>,
    /// Set the actor [default: manual]
    #[arg(long, value_name = "A", requires = "kind")]
    actor: Option<String>,
    /// Set the attempt, counted from 0 [default: 0]
    #[arg(long, value_name = "N", requires = "kind")]
    attempt: Option<u64>,
    /// Set the error's class, such as hard_gate_failed
    #[arg(long, value_name = "C", requires = "kind")]
    error_class: Option<String>,
    /// Set the reason
    #[arg(long, value_name = "R", requires = "kind")]
    reason: Option<String>,
    /// Set the new state of the run or step
    #[arg(long, value_name = "NEW", requires = "kind")]
    state: Option<String>,
    /// Set the previous state
    #[arg(long, value_name = "OLD", requires = "state")]
    previous: Option<String>,
    /// Set the host of a benchmark's event
    #[arg(long, value_name = "H", requires_all = ["workload", "repetition"])]
    host: Option<String>,
    /// Set the workload
    #[arg(long, value_name = "W", requires_all = ["host", "repetition"])]
    workload: Option<String>,
    /// Set the repetition and the total: `1/3`, or `1`
    #[arg(long, value_name = "N/M", requires = "host", value_parser = repetition)]
    repetition: Option<(u64, Option<u64>)>,
    /// Set the repetition's status: running, done, failed, skipped, ...
    #[arg(long, value_name = "S", requires = "host")]
    status: Option<String>,
    /// Set the level of a log event: DEBUG, INFO, WARNING, ERROR
    #[arg(long, value_name = "L", requires = "host")]
    level: Option<String>,
    /// Set the message
    #[arg(long, value_name = "TEXT", requires = "host")]
    message: Option<String>,
    /// Set the error's type
    #[arg(long, value_name = "E", requires = "host")]
    error_type: Option<String>,
    /// Add a custom field; repeatable
    #[arg(long = "field", value_name = "K=V", value_parser = field, action = ArgAction::Append)]
    fields: Vec<(String, serde_json::Value)>,
}

fn repetition(text: &str) -> Result<(u64, Option<u64>), String> {
    let bad = || format!("`{text}` is not a repetition: use N/M, such as 1/3, or N");
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
        _ => Err(format!("`{text}` is not a field: use KEY=VALUE, such as cores=8")),
    }
}

/// The destination of recorded events.
enum RecordTarget {
    File(EventLog, SyncMode),
    Run(Box<EventPoster>),
}

pub(super) async fn run(args: RecordArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let (mut target, run_id) = match &args.source.run {
        Some(id) => {
            let locator = Locator::new(settings, output, Purpose::Query);
            let poster = EventPoster::new(locator, id.clone(), output, Some(ship::RETRY_FOR)).await?;
            (RecordTarget::Run(Box::new(poster)), id.clone())
        }
        None => {
            let path = args.source.file.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
            let Some(id) = args.run_id.clone().or_else(|| source::folder_run(&path)) else {
                bail!("the name of the file's folder is not a run id; set the run with --run-id ID");
            };
            (RecordTarget::File(EventLog::new(path), if args.sync { SyncMode::Disk } else { SyncMode::Flush }), id)
        }
    };
    let result = match args.stdin {
        true => from_stdin(&mut target, &run_id, output).await,
        false => one(&args, &mut target, &run_id, output).await,
    };
    if let RecordTarget::Run(poster) = target {
        poster.close().await;
    }
    result
}

async fn one(args: &RecordArgs, target: &mut RecordTarget, run: &RunId, output: Output) -> anyhow::Result<u8> {
    let event = build_event(args, run)?;
    let id = id_of(&event);
    if !target.append(vec![event]).await?.is_empty() {
        return Ok(1);
    }
    print_id(&id, output)?;
    Ok(0)
}

/// Appends each line of stdin as an event. Lines that are available together are appended as a batch.
async fn from_stdin(target: &mut RecordTarget, run: &RunId, output: Output) -> anyhow::Result<u8> {
    let mut lines = read_stdin();
    let (mut number, mut rejected) = (0u64, 0u64);
    while let Some(line) = lines.recv().await {
        let (mut events, mut bytes, mut next) = (Vec::new(), 0, Some(line));
        while let Some(line) = next {
            let line = line.context("cannot read stdin")?;
            number += 1;
            events_in_line(&line, &mut |part| match part.event.and_then(|event| complete(&event, run)) {
                Ok(event) => events.push(event),
                Err(fault) => {
                    rejected += 1;
                    let text = excerpt(line.get(part.offset..).unwrap_or_default());
                    output.announce(format_args!("stdin:{number}: {}: {text}", clean(&fault.to_string())));
                }
            });
            bytes += line.len();
            next = if bytes < BATCH_BYTES { lines.try_recv().ok() } else { None };
        }
        if events.is_empty() {
            continue;
        }
        let ids: Vec<String> = events.iter().map(id_of).collect();
        let refused = target.append(events).await?;
        rejected += refused.len() as u64;
        for (at, id) in ids.iter().enumerate() {
            if !refused.contains(&at) {
                print_id(id, output)?;
            }
        }
    }
    if rejected > 0 {
        output.note(format_args!("{rejected} of {number} lines were not recorded"));
    }
    Ok(u8::from(rejected > 0))
}

/// Returns a channel of the lines of stdin, with a bounded read-ahead.
fn read_stdin() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    tokio::spawn(async move {
        let mut stdin = BufReader::new(tokio::io::stdin());
        loop {
            let mut line = Vec::new();
            // A line over the limit is split into parts, which are rejected as invalid events.
            let mut limited = (&mut stdin).take(limits::EVENT_BYTES_MAX as u64 * 2);
            let read = match limited.read_until(b'\n', &mut line).await {
                Ok(0) => return,
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.send(read).await.is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn id_of(event: &Event) -> String {
    event.view().event_id.map(|id| id.to_string()).unwrap_or_default()
}

fn print_id(id: &str, output: Output) -> anyhow::Result<()> {
    if output.json() {
        output.object(&serde_json::json!({ "event_id": id }))?;
    } else {
        output.line(clean(id))?;
    }
    Ok(())
}

impl RecordTarget {
    /// Appends events and returns the indexes of those that were rejected.
    async fn append(&mut self, events: Vec<Event>) -> anyhow::Result<Vec<usize>> {
        match self {
            RecordTarget::File(log, sync) => {
                log.append(&events, *sync)?;
                Ok(Vec::new())
            }
            RecordTarget::Run(poster) => poster.post(&events).await.map(|sent| sent.refused),
        }
    }
}

/// Returns the event with the fields that every event has: an id, its run and its time.
fn complete(event: &Event, run: &RunId) -> Result<Event, EventError> {
    let mut added = vec![("event_id", Value::from(new_id())), ("run_id", run.as_str().into())];
    if event.view().origin().is_none() {
        added.push(("timestamp_utc", Timestamp::now().to_string().into()));
    }
    let event = event.with(&added);
    let bytes = event.as_str().len();
    if bytes > limits::EVENT_BYTES_MAX { Err(EventError::TooLong(bytes)) } else { Ok(event) }
}

fn new_id() -> String {
    Ulid::generate().to_string().to_lowercase()
}

/// Builds the event that the flags describe, with its fields in the order of the schema.
fn build_event(args: &RecordArgs, run: &RunId) -> anyhow::Result<Event> {
    let mut fields: Vec<(&str, Option<Value>)> = vec![("event_id", Some(new_id().into()))];
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let (run, now) = (Some(Value::from(run.as_str())), Some(Value::from(Timestamp::now().to_string())));
    if args.kind.is_some() {
        fields.extend([
            ("event_type", text(&args.kind)),
            ("run_id", run),
            ("timestamp_utc", now),
            ("actor", Some(args.actor.as_deref().unwrap_or("manual").into())),
            ("attempt", Some(args.attempt.unwrap_or(0).into())),
            ("step_id", text(&args.step)),
            ("error_class", text(&args.error_class)),
            ("reason", text(&args.reason)),
            ("previous_state", text(&args.previous)),
            ("new_state", text(&args.state)),
        ]);
    } else {
        let (number, total) = args.repetition.context("--repetition is missing; set it, such as 1/3 or 1")?;
        let log = args.status.is_none();
        fields.extend([
            ("run_id", run),
            ("host", text(&args.host)),
            ("workload", text(&args.workload)),
            ("repetition", Some(number.into())),
            ("total_repetitions", total.map(Value::from)),
            ("status", Some(args.status.as_deref().unwrap_or("running").into())),
            ("type", Some(if log { "log" } else { "status" }.into())),
            ("level", text(&args.level).or_else(|| log.then(|| "INFO".into()))),
            ("message", text(&args.message)),
            ("error_type", text(&args.error_type)),
            ("timestamp_utc", now),
        ]);
    }
    for (name, value) in &args.fields {
        if fields.iter().any(|(known, value)| known == name && value.is_some()) {
            bail!("--field {name}: this field is set by its own flag or automatically; omit it");
        }
        fields.push((name, Some(value.clone())));
    }
    let mut object = String::new();
    for (name, value) in fields {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            object.push(if object.is_empty() { '{' } else { ',' });
            object.push_str(&format!("{}:{value}", Value::from(name)));
        }
    }
    object.push('}');
    Event::parse(&object).map_err(|fault| anyhow::anyhow!("invalid event: {fault}"))
}
