//! `tasktail events ship`: a growing file of events into a run at a server.
//!
//! The file is the buffer: nothing is read ahead of what the server has kept, so a server that is
//! away costs no memory and loses nothing. Each event has an id, given here to those that have
//! none, so what is sent twice is kept once.

use std::time::Duration;

use anyhow::bail;
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures::FutureExt as _;
use serde::Deserialize;

use super::args::ShipArgs;
use super::print;
use crate::cli::Context;
use crate::cli::locate::{Locator, Purpose};
use crate::cli::output::Output;
use crate::client::{ClientError, HttpClient};
use crate::events::{EventLog, EventStream, FollowNotice, Identities, LogError, LoggedEvent, StreamItem, clean};
use crate::model::{Event, RunId};

/// A batch is sent once its body has this size.
pub(super) const BATCH_BYTES: usize = 512 * 1024;
/// A server that is away longer than this ends a command that does not follow.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(60);

/// What became of events that were sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Events that are new.
    pub(super) appended: u64,
    /// Events that were there already.
    pub(super) duplicates: u64,
    /// Events that were refused.
    pub(super) rejected: u64,
    /// The places of the first of these among the ones that were sent.
    pub(super) refused: Vec<usize>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    appended: u64,
    duplicates: u64,
    /// The first of them.
    #[serde(default)]
    rejected: Vec<Refusal>,
    #[serde(default)]
    rejected_count: u64,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    index: usize,
    reason: String,
    message: Option<String>,
}

/// Sends events to a run, again and again until they are kept.
pub(super) struct Poster {
    locator: Locator,
    client: HttpClient,
    run: RunId,
    output: Output,
    /// How long a server may be away; without it for ever.
    patience: Option<Duration>,
}

impl Poster {
    /// # Errors
    /// There is no server and none can be started.
    pub(super) async fn new(
        locator: Locator,
        run: RunId,
        output: Output,
        patience: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let client = locator.client().await?;
        Ok(Self { locator, client, run, output, patience })
    }

    /// Sends events and waits until they are kept; what is refused is told.
    ///
    /// # Errors
    /// The server says no, or is away for too long.
    pub(super) async fn post(&mut self, events: &[Event]) -> anyhow::Result<Sent> {
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
            self.output.announce(format_args!("refused by the server: {}: {}", clean(why), clean(&excerpt)));
        }
        let rejected = answer.rejected_count.max(answer.rejected.len() as u64);
        let refused = answer.rejected.iter().map(|refusal| refusal.index).collect();
        Ok(Sent { appended: answer.appended, duplicates: answer.duplicates, rejected, refused })
    }

    /// Ends the server that had to be started, if one was.
    pub(super) async fn close(&self) {
        self.locator.close().await;
    }

    async fn send(&mut self, body: Bytes, count: usize) -> anyhow::Result<Answer> {
        let path = format!("/api/v1/runs/{}/events", self.run);
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times()
            .with_total_delay(self.patience)
            .build();
        let mut noted = false;
        loop {
            match self.client.post::<Answer>(&path, &[], "application/x-ndjson", body.clone()).await {
                Ok(answer) => {
                    if noted {
                        self.output.note("the server answers again");
                    }
                    return Ok(answer);
                }
                Err(error) if error.is_transient() => {
                    let Some(delay) = delays.next() else { bail!("{error}; {count} events were not sent") };
                    if !std::mem::replace(&mut noted, true) {
                        self.output.note(format_args!("{error}; trying again"));
                    }
                    tokio::time::sleep(delay).await;
                    self.look_again().await;
                }
                Err(error @ ClientError::UnexpectedResponse { .. }) => {
                    bail!("{error}: a server of this version takes events at {path}")
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The server may be elsewhere now.
    async fn look_again(&mut self) {
        if let Ok(endpoint) = self.locator.endpoint_after_loss().await
            && endpoint != *self.client.endpoint()
        {
            self.client = HttpClient::new(endpoint);
        }
    }
}

pub(super) async fn run(args: ShipArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let is_there = args.file.exists();
    if args.no_follow && !is_there {
        bail!(
            "there is no {}: `tasktail events record {}` makes it; without --no-follow it is waited for",
            args.file.display(),
            args.file.display()
        );
    }
    let patience = args.no_follow.then_some(RETRY_FOR);
    let locator = Locator::new(settings, output, Purpose::Look);
    let poster = Poster::new(locator, args.run.clone(), output, patience).await?;
    let log = EventLog::new(&args.file);
    // Always from the begin: which of several equal events one is, only the ones before it tell.
    let stream = log.stream(true)?;
    let mut shipper = Shipper {
        stream,
        poster,
        output,
        ids: Identities::default(),
        source: source_name(&log),
        log,
        batch: Vec::new(),
        batch_bytes: 0,
        skip: is_there && !args.from_start && !args.no_follow,
        sent: Sent::default(),
        faults: 0,
    };
    let result = if args.no_follow { shipper.once().await } else { shipper.work().await };
    shipper.poster.close().await;
    let Sent { appended, duplicates, rejected, .. } = shipper.sent;
    result?;
    if output.json() {
        output.object(&serde_json::json!({
            "appended": appended, "duplicates": duplicates, "rejected": rejected, "faults": shipper.faults,
        }))?;
    } else {
        output.note(format_args!(
            "{appended} events shipped, {duplicates} were there already, {rejected} refused, {} lines are no events",
            shipper.faults
        ));
    }
    Ok(u8::from(rejected > 0))
}

/// `file:` and the file's name, as events say where they came from.
fn source_name(log: &EventLog) -> String {
    let name = log.path().file_name().unwrap_or_else(|| log.path().as_os_str());
    format!("file:{}", name.to_string_lossy())
}

struct Shipper {
    log: EventLog,
    stream: EventStream,
    poster: Poster,
    output: Output,
    ids: Identities,
    source: String,
    batch: Vec<Event>,
    batch_bytes: usize,
    /// What is in the file already is only counted.
    skip: bool,
    sent: Sent,
    faults: u64,
}

impl Shipper {
    /// Sends what is there; a last line that has no newline yet counts if it is whole.
    async fn once(&mut self) -> anyhow::Result<()> {
        let read = self.log.read_all()?;
        print::faults(self.log.path(), &read.faults, self.output);
        self.faults = read.faults.len() as u64;
        for logged in &read.events {
            self.take(logged).await?;
        }
        self.flush().await
    }

    async fn work(&mut self) -> anyhow::Result<()> {
        loop {
            let item = match self.stream.next().now_or_never() {
                Some(item) => item?,
                None => {
                    self.flush().await?;
                    self.next().await?
                }
            };
            match item {
                StreamItem::Event(logged) => self.take(&logged).await?,
                StreamItem::Fault(fault) => {
                    self.faults += 1;
                    print::tell_fault(self.log.path(), &fault, self.output);
                }
                StreamItem::Notice(notice) => {
                    print::notice(self.log.path(), &notice, self.output);
                    if notice == FollowNotice::Rewritten {
                        // The same events come once more, and get the same ids.
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

    async fn take(&mut self, logged: &LoggedEvent) -> anyhow::Result<()> {
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

    /// Sends what is gathered and waits until it is kept.
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
