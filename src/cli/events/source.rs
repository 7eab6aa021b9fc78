//! Where events come from: a file, or a run at a server.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::args::SourceArgs;
use super::print;
use crate::cli::Context;
use crate::cli::locate::{Locator, Purpose};
use crate::cli::output::Output;
use crate::client::{ClientError, HttpClient};
use crate::events::{EventLog, LogFault, RunFold};
use crate::model::{Event, EventView, RunId, RunState, Timestamp};

/// The file that is meant where none is named.
pub(super) const FILE_DEFAULT: &str = "events.jsonl";
/// Events in one page from a server.
const PAGE_EVENTS: usize = 5_000;

/// Where events come from.
pub(super) enum Source {
    /// A file.
    File(EventLog),
    /// A run at a server.
    Run {
        /// Finds the server.
        locator: Box<Locator>,
        /// The run.
        id: RunId,
    },
}

/// All events of a source.
pub(super) struct All {
    /// The events, in their order.
    pub(super) events: Vec<Event>,
    /// What was passed over in a file; it was told already.
    pub(super) faults: Vec<LogFault>,
}

#[derive(Debug, Deserialize)]
struct Page {
    events: Vec<Event>,
    /// Where there is more: behind this place.
    next: Option<String>,
}

impl Source {
    /// The source that the flags name. A file must be there if `there`; one that is named by nothing always.
    ///
    /// # Errors
    /// There is no such file.
    pub(super) fn open(args: SourceArgs, context: Context, there: bool) -> anyhow::Result<Self> {
        let Context { settings, output } = context;
        if let Some(id) = args.run {
            return Ok(Source::Run { locator: Box::new(Locator::new(settings, output, Purpose::Look)), id });
        }
        let path = args.file.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
        let is_there = path.try_exists().with_context(|| format!("cannot look at {}", path.display()))?;
        if !is_there && (there || args.file.is_none()) {
            let record = match &args.file {
                Some(path) => format!("`tasktail events record --type run.created {}`", path.display()),
                None => "`tasktail events record --type run.created`".to_owned(),
            };
            bail!(
                "there is no {}: name a file, or a run at a server with --run ID; {record} makes the file",
                path.display()
            );
        }
        if path.is_dir() {
            bail!("{} is a folder: name the file in it, such as {}", path.display(), path.join(FILE_DEFAULT).display());
        }
        Ok(Source::File(EventLog::new(path)))
    }

    /// All events that are there now; what is wrong in a file is told.
    ///
    /// # Errors
    /// The file cannot be read, or the server knows no such run.
    pub(super) async fn all(&self, output: Output) -> anyhow::Result<All> {
        match self {
            Source::File(log) => {
                let read = log.read_all()?;
                print::faults(log.path(), &read.faults, output);
                let events = read.events.into_iter().map(|logged| logged.event).collect();
                Ok(All { events, faults: read.faults })
            }
            Source::Run { locator, id } => {
                let client = locator.client().await?;
                let mut all = All { events: Vec::new(), faults: Vec::new() };
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

    /// The last `n` events.
    ///
    /// # Errors
    /// As [`Source::all`].
    pub(super) async fn last(&self, n: usize, output: Output) -> anyhow::Result<Vec<Event>> {
        match self {
            Source::File(log) => {
                let read = log.tail(n)?;
                print::faults(log.path(), &read.faults, output);
                Ok(read.events.into_iter().map(|logged| logged.event).collect())
            }
            Source::Run { locator, id } if n <= PAGE_EVENTS => {
                let query = [("tail", Some(n.to_string())), ("limit", Some(n.max(1).to_string()))];
                Ok(page(&locator.client().await?, id, &query).await?.events)
            }
            Source::Run { .. } => {
                let mut events = self.all(output).await?.events;
                Ok(events.split_off(events.len().saturating_sub(n)))
            }
        }
    }

    /// The states of the runs that the events belong to, in the order of their first events.
    ///
    /// # Errors
    /// The server knows no such run.
    pub(super) async fn runs(&self, events: &[Event]) -> anyhow::Result<Vec<RunState>> {
        match self {
            Source::File(log) => Ok(fold(events, &default_run(log.path())?, changed(log.path()))),
            Source::Run { locator, id } => Ok(vec![run(&locator.client().await?, id).await?]),
        }
    }

    /// Ends what had to be started to reach the events.
    pub(super) async fn close(&self) {
        if let Source::Run { locator, .. } = self {
            locator.close().await;
        }
    }
}

/// One run's state from the server.
///
/// # Errors
/// There is no such run, or no answer.
pub(super) async fn run(client: &HttpClient, id: &RunId) -> anyhow::Result<RunState> {
    let answer = client.get(&format!("/api/v1/runs/{id}"), &[]).await;
    answer.map_err(|error| run_error(error, client, id))
}

async fn page(client: &HttpClient, id: &RunId, query: &[(&str, Option<String>)]) -> anyhow::Result<Page> {
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

/// When an event arrived, as far as it can be known: a file does not say it.
pub(super) fn arrived(view: &EventView<'_>, otherwise: Timestamp) -> Timestamp {
    view.received().or_else(|| view.origin()).unwrap_or(otherwise)
}

/// The run that events of a file belong to when they do not say: the name of its folder.
pub(super) fn folder_run(path: &Path) -> Option<RunId> {
    let path = std::path::absolute(path).ok()?;
    path.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The run of events that name none: the file's folder, else the file.
///
/// # Errors
/// Never: the last name is an id.
pub(super) fn default_run(path: &Path) -> anyhow::Result<RunId> {
    let named = folder_run(path).or_else(|| path.file_stem()?.to_str()?.parse().ok());
    Ok(named.map_or_else(|| "events".parse(), Ok)?)
}

/// When a file was written last.
fn changed(path: &Path) -> Timestamp {
    let since = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).ok();
    let since = path.metadata().ok().and_then(|facts| since(facts.modified().ok()?));
    since.map_or_else(Timestamp::now, |since| {
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}
