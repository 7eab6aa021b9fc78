//! `tasktail events follow`: prints events as they arrive, until Ctrl-C or the run's end.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use futures::FutureExt as _;

use super::print::{self, EventPrinter, ViewArgs};
use super::source::{self, EventInput, SourceArgs};
use super::tail;
use crate::cli::Context;
use crate::cli::output::Output;
use crate::client::{RunFollower, RunItem, RunStreamStart};
use crate::events::{EventLog, EventStream, FollowNotice, RunFold, StreamItem};
use crate::model::{Event, RunId, RunStatus, Timestamp};

/// Silence after which a run without an end event counts as ended, once all its parts have ended.
const END_SILENCE: Duration = Duration::from_secs(2);

/// `events follow`.
#[derive(Debug, Args)]
#[command(after_help = "\
Stops at Ctrl-C, or with --until-end when the run has ended: at run.completed,
or when every step and repetition has ended. Waits for a file or a run that
does not exist yet.

Examples:
  tasktail events follow
  tasktail events follow --from-start --pretty runs/nightly-7/events.jsonl
  tasktail events follow --run nightly-7 --type gate.failed
  tasktail events follow --run nightly-7 --until-end --exit-status && ./publish")]
pub(super) struct EventsFollowArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// Start with the last N events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Start with the first event
    #[arg(long, conflicts_with = "lines")]
    from_start: bool,
    /// Exit when the run has ended
    #[arg(long)]
    until_end: bool,
    /// Exit with 1 if the run failed
    #[arg(long, requires = "until_end")]
    exit_status: bool,
}

/// An item of a feed.
enum FeedItem {
    Event(Event),
    /// The end of the existing events.
    CaughtUp,
    /// The log was replaced: earlier events belong to another one.
    Reset,
    /// An item that the feed has already reported or skipped.
    Nothing,
}

/// A source of live events.
enum EventFeed {
    File {
        log: EventLog,
        stream: Box<EventStream>,
        /// Offset of the first event of the current file that is not printed yet.
        from: u64,
    },
    Run {
        follower: Box<RunFollower>,
        /// Number of events that existed at the start and have not arrived yet.
        history: u64,
        /// True if a lost connection was reported.
        loss_reported: bool,
    },
}

pub(super) async fn run(args: EventsFollowArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = EventInput::open(args.source, context, false)?;
    let printer = EventPrinter::new(args.view, output);
    let begin = if args.from_start { None } else { Some(args.lines) };
    let result = if args.until_end {
        until_end(begin, &source, printer, output).await
    } else {
        forever(begin, &source, printer, output).await
    };
    source.close().await;
    let status = result?;
    Ok(u8::from(args.exit_status && status == RunStatus::Failed))
}

/// Follows until it is interrupted.
async fn forever(
    begin: Option<usize>,
    source: &EventInput,
    mut printer: EventPrinter,
    output: Output,
) -> anyhow::Result<RunStatus> {
    let mut feed = match source {
        EventInput::File(log) => {
            let log = EventLog::new(log.path());
            // Opened before the last events are read, so that an event written in between is seen twice and not missed.
            let stream = Box::new(log.stream(begin.is_none())?);
            let mut from = 0;
            if let Some(lines) = begin.filter(|_| log.path().exists()) {
                if printer.types().is_all() {
                    let read = log.tail(lines.max(1))?;
                    from = read.events.last().map_or(0, |last| last.offset + 1);
                    let skip = read.events.len().saturating_sub(lines);
                    for logged in read.events.iter().skip(skip) {
                        printer.event(&logged.event)?;
                    }
                    print::print_faults(log.path(), &read.faults, output);
                } else {
                    let read = log.read_all()?;
                    from = read.events.last().map_or(0, |last| last.offset + 1);
                    let wanted = |event: &&Event| printer.types().matches_event(event);
                    let mut events: Vec<Event> =
                        read.events.iter().map(|logged| &logged.event).filter(wanted).cloned().collect();
                    for event in events.split_off(events.len().saturating_sub(lines)) {
                        printer.event(&event)?;
                    }
                }
            }
            EventFeed::File { log, stream, from }
        }
        EventInput::Run { locator, id } => {
            let start = match begin {
                None => RunStreamStart::First,
                Some(lines) if printer.types().is_all() => RunStreamStart::Tail(lines as u64),
                Some(lines) => {
                    // Only matching events; a run that does not exist yet has none.
                    let last = tail::last(lines, source, &printer, output).await;
                    for event in last.unwrap_or_default() {
                        printer.event(&event)?;
                    }
                    RunStreamStart::Tail(0)
                }
            };
            let client = locator.client().await?;
            EventFeed::Run {
                follower: Box::new(RunFollower::new(client, id.clone(), start)),
                history: 0,
                loss_reported: false,
            }
        }
    };
    loop {
        if let FeedItem::Event(event) = feed.next_after(&mut printer, output).await? {
            printer.event(&event)?;
        }
    }
}

/// Follows until the run has ended and returns its status.
async fn until_end(
    begin: Option<usize>,
    source: &EventInput,
    mut printer: EventPrinter,
    output: Output,
) -> anyhow::Result<RunStatus> {
    let (mut feed, id) = match source {
        EventInput::File(log) => {
            let log = EventLog::new(log.path());
            let (stream, id) = (Box::new(log.stream(true)?), source::default_run(log.path())?);
            (EventFeed::File { log, stream, from: 0 }, id)
        }
        EventInput::Run { locator, id } => {
            let client = locator.client().await?;
            let history = source::run(&client, id).await.map_or(0, |run| run.events);
            let follower = Box::new(RunFollower::new(client, id.clone(), RunStreamStart::First));
            (EventFeed::Run { follower, history, loss_reported: false }, id.clone())
        }
    };
    let mut tracker = RunTracker::new(id);
    let mut caught_up = matches!(feed, EventFeed::Run { history: 0, .. });
    let mut held = VecDeque::new();
    loop {
        let next = if caught_up && tracker.has_ended() {
            let silence = if tracker.has_end_event() { Duration::ZERO } else { END_SILENCE };
            printer.flush()?;
            match tokio::time::timeout(silence, feed.next_after(&mut printer, output)).await {
                Ok(next) => next?,
                Err(_) => return Ok(tracker.status()),
            }
        } else {
            feed.next_after(&mut printer, output).await?
        };
        match next {
            FeedItem::Event(event) => {
                tracker.apply(&event);
                if caught_up || begin.is_none() {
                    printer.event(&event)?;
                } else if printer.types().matches_event(&event) {
                    held.push_back(event);
                    if held.len() > begin.unwrap_or_default() {
                        held.pop_front();
                    }
                }
            }
            FeedItem::CaughtUp => caught_up = true,
            FeedItem::Reset => tracker = RunTracker::new(tracker.id),
            FeedItem::Nothing => {}
        }
        if caught_up || feed.has_no_history() {
            caught_up = true;
            for event in held.drain(..) {
                printer.event(&event)?;
            }
        }
    }
}

/// The state of the followed run.
struct RunTracker {
    id: RunId,
    fold: RunFold,
}

impl RunTracker {
    fn new(id: RunId) -> Self {
        Self { fold: RunFold::new(id.clone()), id }
    }

    fn apply(&mut self, event: &Event) {
        let view = event.view();
        self.fold.apply(&view, source::arrived(&view, Timestamp::now()));
    }

    fn status(&self) -> RunStatus {
        self.fold.run().status
    }

    fn has_ended(&self) -> bool {
        self.status().is_end()
    }

    /// Reports whether an event marked the end of the run, so that no more events follow.
    fn has_end_event(&self) -> bool {
        self.fold.run().state.is_some() && self.fold.run().ended.is_some()
    }
}

impl EventFeed {
    /// Returns the next item. Flushes the printer before waiting.
    async fn next_after(&mut self, printer: &mut EventPrinter, output: Output) -> anyhow::Result<FeedItem> {
        if let Some(next) = self.next(output).now_or_never() {
            return next;
        }
        printer.flush()?;
        self.next(output).await
    }

    /// Returns the next item. Cancel-safe.
    async fn next(&mut self, output: Output) -> anyhow::Result<FeedItem> {
        match self {
            EventFeed::File { log, stream, from } => Ok(match stream.next().await? {
                StreamItem::Event(logged) if logged.offset < *from => FeedItem::Nothing,
                StreamItem::Event(logged) => FeedItem::Event(logged.event),
                StreamItem::Fault(fault) if fault.offset < *from => FeedItem::Nothing,
                StreamItem::Fault(fault) => {
                    print::print_fault(log.path(), &fault, output);
                    FeedItem::Nothing
                }
                StreamItem::Notice(notice) => {
                    print::print_notice(log.path(), &notice, output);
                    match notice {
                        FollowNotice::Truncated { .. } | FollowNotice::Rewritten => {
                            *from = 0;
                            FeedItem::Reset
                        }
                        FollowNotice::Rotated | FollowNotice::Appeared => {
                            *from = 0;
                            FeedItem::Nothing
                        }
                        FollowNotice::Waiting
                        | FollowNotice::Torn
                        | FollowNotice::TooLong
                        | FollowNotice::Late
                        | FollowNotice::Missed { .. } => FeedItem::Nothing,
                    }
                }
                StreamItem::CaughtUp => FeedItem::CaughtUp,
            }),
            EventFeed::Run { follower, history, loss_reported } => match follower.next().await? {
                RunItem::Event { event, .. } => {
                    *history = history.saturating_sub(1);
                    Ok(FeedItem::Event(event))
                }
                RunItem::Connected => {
                    if std::mem::take(loss_reported) {
                        output.note("reconnected");
                    }
                    Ok(FeedItem::Nothing)
                }
                RunItem::Disconnected { why, .. } => {
                    if !std::mem::replace(loss_reported, true) {
                        output.note(format_args!("{why}; retrying"));
                    }
                    Ok(FeedItem::Nothing)
                }
                RunItem::Reset => {
                    output.note("the run's log was recreated; reading from its first event");
                    Ok(FeedItem::Reset)
                }
            },
        }
    }

    /// Reports whether all events that existed at the start of a run's feed have arrived.
    fn has_no_history(&self) -> bool {
        matches!(self, EventFeed::Run { history: 0, .. })
    }
}
