//! `tasktail events ship`: sends a growing file of events to a run at a server.
//!
//! The file is the buffer: nothing is read ahead of the events that the server has stored, so an
//! unreachable server costs no memory and loses nothing. Each event has an id, assigned here if it
//! is missing, so the server stores an event once even if it is sent twice.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use clap::{ArgAction, Args};
use futures::FutureExt as _;
use serde::Deserialize;

use super::print;
use crate::cli::Context;
use crate::cli::locate::{Locator, Purpose};
use crate::cli::output::Output;
use crate::client::{ClientError, HttpClient};
use crate::events::{EventLog, EventStream, FollowNotice, Identities, LogError, LoggedEvent, StreamItem, clean};
use crate::model::{Event, RunId};

/// Size of a body at which a batch is sent.
pub(super) const BATCH_BYTES: usize = 512 * 1024;
/// Maximum outage of the server for a command that does not follow.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(60);

/// `events ship`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each event is stored once, also if the server or this command restarts: an
event without an id gets one derived from its contents and its position.
Retries while the server is unreachable.

Examples:
  tasktail events ship runs/nightly-7/events.jsonl --run nightly-7
  tasktail events ship events.jsonl --run nightly-7 --no-follow")]
pub(super) struct EventsShipArgs {
    /// The file of events; it may be created later
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Send to this run
    #[arg(long, value_name = "ID", env = "TASKTAIL_RUN", hide_env_values = true)]
    run: RunId,
    /// Send existing events and exit
    #[arg(long)]
    no_follow: bool,
    /// Start with the file's first event, or with `false` only send events written from now on
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = ArgAction::Set)]
    from_start: bool,
}

/// The outcome of sent events.
#[derive(Debug, Default)]
pub(super) struct PostSummary {
    /// Number of new events.
    pub(super) appended: u64,
    /// Number of events that the server already had.
    pub(super) duplicates: u64,
    /// Number of rejected events.
    pub(super) rejected: u64,
    /// Indexes of the first rejected events among the sent ones.
    pub(super) refused: Vec<usize>,
}

#[derive(Debug, Deserialize)]
struct PostResponse {
    appended: u64,
    duplicates: u64,
    /// First rejected events.
    #[serde(default)]
    rejected: Vec<RejectedRow>,
    #[serde(default)]
    rejected_count: u64,
}

#[derive(Debug, Deserialize)]
struct RejectedRow {
    index: usize,
    reason: String,
    message: Option<String>,
}

/// A client that sends events to a run and retries until they are stored.
pub(super) struct EventPoster {
    locator: Locator,
    client: HttpClient,
    run: RunId,
    output: Output,
    /// Maximum outage of the server; unlimited if `None`.
    retry_for: Option<Duration>,
}

impl EventPoster {
    /// Creates a client of the located server.
    ///
    /// # Errors
    /// There is no server and none can be started.
    pub(super) async fn new(
        locator: Locator,
        run: RunId,
        output: Output,
        retry_for: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let client = locator.client().await?;
        Ok(Self { locator, client, run, output, retry_for })
    }

    /// Sends events, waits until they are stored, and reports rejected ones.
    ///
    /// # Errors
    /// The server rejects the request, or is unreachable for too long.
    pub(super) async fn post(&mut self, events: &[Event]) -> anyhow::Result<PostSummary> {
        let mut body = Vec::new();
        for event in events {
            body.extend_from_slice(event.as_str().as_bytes());
            body.push(b'\n');
        }
        let answer = self.send(body.into(), events.len()).await?;
        for refusal in &answer.rejected {
            let why = refusal.message.as_deref().unwrap_or(&refusal.reason);
            let event = events.get(refusal.index).map(Event::as_str).unwrap_or_default();
            let excerpt: String = event.chars().take(80).collect();
            self.output.announce(format_args!("rejected by the server: {}: {}", clean(why), clean(&excerpt)));
        }
        let rejected = answer.rejected_count.max(answer.rejected.len() as u64);
        let refused = answer.rejected.iter().map(|refusal| refusal.index).collect();
        Ok(PostSummary { appended: answer.appended, duplicates: answer.duplicates, rejected, refused })
    }

    /// Shuts down the server that was started for this command, if any.
    pub(super) async fn close(&self) {
        self.locator.close().await;
    }

    async fn send(&mut self, body: Bytes, count: usize) -> anyhow::Result<PostResponse> {
        let path = format!("/api/v1/runs/{}/events", self.run);
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times()
            .with_total_delay(self.retry_for)
            .build();
        let mut noted = false;
        loop {
            match self.client.post::<PostResponse>(&path, &[], "application/x-ndjson", body.clone()).await {
                Ok(answer) => {
                    if noted {
                        self.output.note("reconnected to the server");
                    }
                    return Ok(answer);
                }
                Err(error) if error.is_transient() => {
                    let Some(delay) = delays.next() else { bail!("{error}; {count} events were not sent") };
                    if !std::mem::replace(&mut noted, true) {
                        self.output.note(format_args!("{error}; retrying"));
                    }
                    tokio::time::sleep(delay).await;
                    self.relocate().await;
                }
                Err(error @ ClientError::UnexpectedResponse { .. }) => {
                    bail!("{error} (a server of this version accepts events at {path})")
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Locates the server again; its address may have changed.
    async fn relocate(&mut self) {
        if let Ok(endpoint) = self.locator.endpoint_after_loss().await
            && endpoint != *self.client.endpoint()
        {
            self.client = HttpClient::new(endpoint);
        }
    }
}

pub(super) async fn run(args: EventsShipArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let is_there = args.file.exists();
    if args.no_follow && !is_there {
        bail!(
            "there is no {}; create it with `tasktail events record {}`, or omit --no-follow to wait for it",
            args.file.display(),
            args.file.display()
        );
    }
    let retry_for = args.no_follow.then_some(RETRY_FOR);
    let locator = Locator::new(settings, output, Purpose::Query);
    let poster = EventPoster::new(locator, args.run.clone(), output, retry_for).await?;
    let log = EventLog::new(&args.file);
    // Always from the start: the id of one of several equal events depends on the ones before it.
    let stream = log.stream(true)?;
    let mut shipper = EventShipper {
        stream,
        poster,
        output,
        ids: Identities::default(),
        source: source_name(&log),
        log,
        batch: Vec::new(),
        batch_bytes: 0,
        skip: is_there && !args.from_start && !args.no_follow,
        sent: PostSummary::default(),
        faults: 0,
    };
    let result = if args.no_follow { shipper.once().await } else { shipper.follow().await };
    shipper.poster.close().await;
    let PostSummary { appended, duplicates, rejected, .. } = shipper.sent;
    result?;
    if output.json() {
        output.object(&serde_json::json!({
            "appended": appended, "duplicates": duplicates, "rejected": rejected, "faults": shipper.faults,
        }))?;
    } else {
        output.note(format_args!(
            "{appended} events sent, {duplicates} already stored, {rejected} rejected, {} lines are not events",
            shipper.faults
        ));
    }
    Ok(u8::from(rejected > 0))
}

/// Returns the value of the events' `source` field: `file:` and the file's name.
fn source_name(log: &EventLog) -> String {
    let name = log.path().file_name().unwrap_or_else(|| log.path().as_os_str());
    format!("file:{}", name.to_string_lossy())
}

struct EventShipper {
    log: EventLog,
    stream: EventStream,
    poster: EventPoster,
    output: Output,
    ids: Identities,
    source: String,
    batch: Vec<Event>,
    batch_bytes: usize,
    /// Skips events that are already in the file, apart from assigning ids.
    skip: bool,
    sent: PostSummary,
    faults: u64,
}

impl EventShipper {
    /// Sends the existing events; a last line without a newline counts if it is a complete event.
    async fn once(&mut self) -> anyhow::Result<()> {
        let read = self.log.read_all()?;
        print::print_faults(self.log.path(), &read.faults, self.output);
        self.faults = read.faults.len() as u64;
        for logged in &read.events {
            self.push(logged).await?;
        }
        self.flush().await
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        loop {
            let item = match self.stream.next().now_or_never() {
                Some(item) => item?,
                None => {
                    self.flush().await?;
                    self.next().await?
                }
            };
            match item {
                StreamItem::Event(logged) => self.push(&logged).await?,
                StreamItem::Fault(fault) => {
                    self.faults += 1;
                    print::print_fault(self.log.path(), &fault, self.output);
                }
                StreamItem::Notice(notice) => {
                    print::print_notice(self.log.path(), &notice, self.output);
                    if notice == FollowNotice::Rewritten {
                        // The same events follow again and must get the same ids.
                        self.ids = Identities::default();
                    }
                }
                StreamItem::CaughtUp => {
                    self.skip = false;
                    self.flush().await?;
                }
            }
        }
    }

    async fn next(&mut self) -> Result<StreamItem, LogError> {
        self.stream.next().await
    }

    async fn push(&mut self, logged: &LoggedEvent) -> anyhow::Result<()> {
        let event = self.ids.identify(&logged.event);
        if self.skip {
            return Ok(());
        }
        let mut added = vec![("source", self.source.as_str().into())];
        if logged.line > 0 {
            added.push(("source_seq", logged.line.into()));
        }
        let event = event.with(&added);
        self.batch_bytes += event.as_str().len() + 1;
        self.batch.push(event);
        if self.batch_bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends the batch and waits until it is stored.
    async fn flush(&mut self) -> anyhow::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sent = self.poster.post(&self.batch).await?;
        self.sent.appended += sent.appended;
        self.sent.duplicates += sent.duplicates;
        self.sent.rejected += sent.rejected;
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }
}
