//! `tasktail events record`: makes an event and appends it.

use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;
use ulid::Ulid;

use super::args::RecordArgs;
use super::ship::{self, BATCH_BYTES, Poster};
use super::source::{self, FILE_DEFAULT};
use crate::cli::Context;
use crate::cli::locate::{Locator, Purpose};
use crate::cli::output::Output;
use crate::events::{EventLog, SyncMode, clean};
use crate::model::{Event, EventError, RunId, Timestamp, limits};

/// Lines of stdin that may wait while others are appended; then stdin waits.
const LINES_MAX: usize = 1_024;

/// Where events go.
enum Target {
    File(EventLog, SyncMode),
    Run(Box<Poster>),
}

pub(super) async fn run(args: RecordArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let (mut target, run_id) = match &args.source.run {
        Some(id) => {
            let locator = Locator::new(settings, output, Purpose::Look);
            let poster = Poster::new(locator, id.clone(), output, Some(ship::RETRY_FOR)).await?;
            (Target::Run(Box::new(poster)), id.clone())
        }
        None => {
            let path = args.source.file.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
            let Some(id) = args.run_id.clone().or_else(|| source::folder_run(&path)) else {
                bail!("the run has no name: give it with --run-id ID (the name of the file's folder is no id)");
            };
            (Target::File(EventLog::new(path), if args.sync { SyncMode::Disk } else { SyncMode::Flush }), id)
        }
    };
    let result = match args.stdin {
        true => from_stdin(&mut target, &run_id, output).await,
        false => one(&args, &mut target, &run_id, output).await,
    };
    if let Target::Run(poster) = target {
        poster.close().await;
    }
    result
}

async fn one(args: &RecordArgs, target: &mut Target, run: &RunId, output: Output) -> anyhow::Result<u8> {
    let event = make(args, run)?;
    let id = id_of(&event);
    if !target.append(vec![event]).await?.is_empty() {
        return Ok(1);
    }
    tell(&id, output)?;
    Ok(0)
}

/// Takes each line of stdin as an event, as it comes; those that are there at once go together.
async fn from_stdin(target: &mut Target, run: &RunId, output: Output) -> anyhow::Result<u8> {
    let mut lines = read_stdin();
    let (mut number, mut rejected) = (0u64, 0u64);
    while let Some(line) = lines.recv().await {
        let (mut events, mut bytes, mut next) = (Vec::new(), 0, Some(line));
        while let Some(line) = next {
            let line = line.context("cannot read stdin")?;
            number += 1;
            let text = String::from_utf8_lossy(&line);
            if !text.trim().is_empty() {
                match Event::parse(&text).and_then(|event| complete(&event, run)) {
                    Ok(event) => events.push(event),
                    Err(fault) => {
                        rejected += 1;
                        output.announce(format_args!("stdin:{number}: {}", clean(&fault.to_string())));
                    }
                }
            }
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
                tell(id, output)?;
            }
        }
    }
    if rejected > 0 {
        output.note(format_args!("{rejected} of {number} lines were not recorded"));
    }
    Ok(u8::from(rejected > 0))
}

/// Stdin line by line, read ahead a little.
fn read_stdin() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    tokio::spawn(async move {
        let mut stdin = BufReader::new(tokio::io::stdin());
        loop {
            let mut line = Vec::new();
            // A line that is longer than an event may be comes in parts, which are none.
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

fn tell(id: &str, output: Output) -> anyhow::Result<()> {
    if output.json() {
        output.object(&serde_json::json!({ "event_id": id }))?;
    } else {
        output.line(clean(id))?;
    }
    Ok(())
}

impl Target {
    /// Appends events; gives the places of those that were refused.
    async fn append(&mut self, events: Vec<Event>) -> anyhow::Result<Vec<usize>> {
        match self {
            Target::File(log, sync) => {
                log.append(&events, *sync)?;
                Ok(Vec::new())
            }
            Target::Run(poster) => poster.post(&events).await.map(|sent| sent.refused),
        }
    }
}

/// The event with what every event has: an id, its run and its time.
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

/// The event that the flags say, its fields in the order of the schema.
fn make(args: &RecordArgs, run: &RunId) -> anyhow::Result<Event> {
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
        let (number, total) = args.repetition.context("--repetition is missing: write it as 1/3, or 1")?;
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
            bail!("--field {name}: this field has a flag or a value of its own; leave it out");
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
    Event::parse(&object).map_err(|fault| anyhow::anyhow!("this is no event: {fault}"))
}
