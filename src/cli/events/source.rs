//! Reads events from a file, or from a run at a server.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;

use super::print;
use crate::cli::Context;
use crate::cli::locate::{Locator, Purpose};
use crate::cli::output::Output;
use crate::client::{ClientError, HttpClient};
use crate::events::{EventLog, LogFault, RunFold};
use crate::model::{Event, EventView, RunId, RunState, Timestamp};

/// Name of the default file of events.
pub(super) const FILE_DEFAULT: &str = "events.jsonl";
/// Maximum number of events in one page from a server.
const PAGE_EVENTS: usize = 5_000;

/// Flags that select the source of events.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// The file of events [default: events.jsonl]
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Use a run at a server instead of a file
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    pub(super) run: Option<RunId>,
}

/// A source of events.
pub(super) enum EventInput {
    /// A file.
    File(EventLog),
    /// A run at a server.
    Run {
        /// Locator of the server.
        locator: Box<Locator>,
        /// The run.
        id: RunId,
    },
}

/// All events of a source.
pub(super) struct SourceEvents {
    /// The events, in their order.
    pub(super) events: Vec<Event>,
    /// Skipped lines of a file, already reported.
    pub(super) faults: Vec<LogFault>,
}

#[derive(Debug, Deserialize)]
struct EventListPage {
    events: Vec<Event>,
    /// Cursor of the next page, if there is one.
    next: Option<String>,
}

impl EventInput {
    /// Opens the source that the flags select. With `must_exist`, and for the default file, the file must exist.
    ///
    /// # Errors
    /// The file does not exist or is a folder.
    pub(super) fn open(args: SourceArgs, context: Context, must_exist: bool) -> anyhow::Result<Self> {
        let Context { settings, output } = context;
        if let Some(id) = args.run {
            return Ok(EventInput::Run { locator: Box::new(Locator::new(settings, output, Purpose::Query)), id });
        }
        let path = args.file.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
        let exists = path.try_exists().with_context(|| format!("cannot access {}", path.display()))?;
        if !exists && (must_exist || args.file.is_none()) {
            let record = match &args.file {
                Some(path) => format!("`tasktail events record --type run.created {}`", path.display()),
                None => "`tasktail events record --type run.created`".to_owned(),
            };
            bail!(
                "there is no {}: name a file, or a run at a server with --run ID; {record} creates the file",
                path.display()
            );
        }
        if path.is_dir() {
            bail!("{} is a folder: name the file in it, such as {}", path.display(), path.join(FILE_DEFAULT).display());
        }
        Ok(EventInput::File(EventLog::new(path)))
    }

    /// Returns all current events and reports invalid lines of a file.
    ///
    /// # Errors
    /// The file cannot be read, or the server has no such run.
    pub(super) async fn all(&self, output: Output) -> anyhow::Result<SourceEvents> {
        match self {
            EventInput::File(log) => {
                let read = log.read_all()?;
                print::print_faults(log.path(), &read.faults, output);
                let events = read.events.into_iter().map(|logged| logged.event).collect();
                Ok(SourceEvents { events, faults: read.faults })
            }
            EventInput::Run { locator, id } => {
                let client = locator.client().await?;
                let mut all = SourceEvents { events: Vec::new(), faults: Vec::new() };
                let mut after = None;
                loop {
                    let query = [("after", after.clone()), ("limit", Some(PAGE_EVENTS.to_string()))];
                    let page = page(&client, id, &query).await?;
                    all.events.extend(page.events);
                    after = page.next;
                    if after.is_none() {
                        return Ok(all);
                    }
                }
            }
        }
    }

    /// Returns the last `n` events.
    ///
    /// # Errors
    /// As [`EventInput::all`].
    pub(super) async fn last(&self, n: usize, output: Output) -> anyhow::Result<Vec<Event>> {
        match self {
            EventInput::File(log) => {
                let read = log.tail(n)?;
                print::print_faults(log.path(), &read.faults, output);
                Ok(read.events.into_iter().map(|logged| logged.event).collect())
            }
            EventInput::Run { locator, id } if n <= PAGE_EVENTS => {
                let query = [("tail", Some(n.to_string())), ("limit", Some(n.max(1).to_string()))];
                Ok(page(&locator.client().await?, id, &query).await?.events)
            }
            EventInput::Run { .. } => {
                let mut events = self.all(output).await?.events;
                Ok(events.split_off(events.len().saturating_sub(n)))
            }
        }
    }

    /// Returns the states of the runs that the events belong to, in the order of their first events.
    ///
    /// # Errors
    /// The server has no such run.
    pub(super) async fn runs(&self, events: &[Event]) -> anyhow::Result<Vec<RunState>> {
        match self {
            EventInput::File(log) => Ok(fold(events, &default_run(log.path())?, changed(log.path()))),
            EventInput::Run { locator, id } => Ok(vec![run(&locator.client().await?, id).await?]),
        }
    }

    /// Shuts down the server that was started to read the events, if any.
    pub(super) async fn close(&self) {
        if let EventInput::Run { locator, .. } = self {
            locator.close().await;
        }
    }
}

/// Returns a run's state from the server.
///
/// # Errors
/// There is no such run, or no response.
pub(super) async fn run(client: &HttpClient, id: &RunId) -> anyhow::Result<RunState> {
    let answer = client.get(&format!("/api/v1/runs/{id}"), &[]).await;
    answer.map_err(|error| run_error(error, client, id))
}

async fn page(client: &HttpClient, id: &RunId, query: &[(&str, Option<String>)]) -> anyhow::Result<EventListPage> {
    let answer = client.get(&format!("/api/v1/runs/{id}/events"), query).await;
    answer.map_err(|error| run_error(error, client, id))
}

fn run_error(error: ClientError, client: &HttpClient, id: &RunId) -> anyhow::Error {
    if error.is_not_found() { anyhow::anyhow!("there is no run `{id}` at {}", client.endpoint()) } else { error.into() }
}

/// The runs that events of one file belong to. An event that names no run belongs to the one before.
fn fold(events: &[Event], default: &RunId, changed: Timestamp) -> Vec<RunState> {
    let mut folds: Vec<(RunId, RunFold)> = Vec::new();
    let mut current = 0;
    for event in events {
        let view = event.view();
        let named = view.run_id.as_deref().and_then(|text| text.parse::<RunId>().ok());
        let wanted = named.or_else(|| folds.is_empty().then(|| default.clone()));
        if let Some(id) = wanted {
            current = folds.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
                folds.push((id.clone(), RunFold::new(id)));
                folds.len() - 1
            });
        }
        if let Some((_, fold)) = folds.get_mut(current) {
            fold.apply(&view, arrived(&view, changed));
        }
    }
    if folds.is_empty() {
        folds.push((default.clone(), RunFold::new(default.clone())));
    }
    folds.into_iter().map(|(_, fold)| fold.run().clone()).collect()
}

/// Returns the time when an event arrived, or the closest known time; a file does not record it.
pub(super) fn arrived(view: &EventView<'_>, otherwise: Timestamp) -> Timestamp {
    view.received().or_else(|| view.origin()).unwrap_or(otherwise)
}

/// Returns the run named by the folder of a file.
pub(super) fn folder_run(path: &Path) -> Option<RunId> {
    let path = std::path::absolute(path).ok()?;
    path.parent()?.file_name()?.to_str()?.parse().ok()
}

/// Returns the run of events that name none: the file's folder, else the file's name.
///
/// # Errors
/// None in practice: the final fallback is a valid id.
pub(super) fn default_run(path: &Path) -> anyhow::Result<RunId> {
    let named = folder_run(path).or_else(|| path.file_stem()?.to_str()?.parse().ok());
    Ok(named.map_or_else(|| "events".parse(), Ok)?)
}

/// Returns the time when a file was last modified.
fn changed(path: &Path) -> Timestamp {
    let since = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).ok();
    let since = path.metadata().ok().and_then(|facts| since(facts.modified().ok()?));
    since.map_or_else(Timestamp::now, |since| {
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}
