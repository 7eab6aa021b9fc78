//! `tasktail events follow`: events as they come, until Ctrl-C or the run's end.

use std::collections::VecDeque;
use std::time::Duration;

use futures::FutureExt as _;

use super::args::FollowArgs;
use super::print::{self, Printer};
use super::source::{self, Source};
use super::tail;
use crate::cli::Context;
use crate::cli::output::Output;
use crate::client::{RunFollowStart, RunFollower, RunItem};
use crate::events::{EventLog, EventStream, FollowNotice, RunFold, StreamItem};
use crate::model::{Event, RunId, RunStatus, Timestamp};

/// A run that does not say that it ended, whose parts all have, has ended after so much silence.
const END_SILENCE: Duration = Duration::from_secs(2);

/// What comes next.
enum Next {
    Event(Event),
    /// Everything that was there was given.
    CaughtUp,
    /// What was given before is of another log.
    Reset,
    /// It was told.
    Nothing,
}

enum Feed {
    File {
        log: EventLog,
        stream: Box<EventStream>,
        /// Events of the present file before this byte were printed already.
        from: u64,
    },
    Run {
        follower: Box<RunFollower>,
        /// Events that were there at the begin and have not come yet.
        history: u64,
        /// A lost connection was told.
        told: bool,
    },
}

pub(super) async fn run(args: FollowArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = Source::open(args.source, context, false)?;
    let printer = Printer::new(args.view, output);
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

/// Follows without an end.
async fn forever(
    begin: Option<usize>,
    source: &Source,
    mut printer: Printer,
    output: Output,
) -> anyhow::Result<RunStatus> {
    let mut feed = match source {
        Source::File(log) => {
            let log = EventLog::new(log.path());
            // Before the last events are read: what is written in between comes by both ways, not by none.
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
                    print::faults(log.path(), &read.faults, output);
                } else {
                    let read = log.read_all()?;
                    from = read.events.last().map_or(0, |last| last.offset + 1);
                    let wanted = |event: &&Event| printer.types().wants(event);
                    let mut events: Vec<Event> =
                        read.events.iter().map(|logged| &logged.event).filter(wanted).cloned().collect();
                    for event in events.split_off(events.len().saturating_sub(lines)) {
                        printer.event(&event)?;
                    }
                }
            }
            Feed::File { log, stream, from }
        }
        Source::Run { locator, id } => {
            let start = match begin {
                None => RunFollowStart::First,
                Some(lines) if printer.types().is_all() => RunFollowStart::Tail(lines as u64),
                Some(lines) => {
                    // Of the wanted types; a run that is not there yet has none.
                    let last = tail::last(lines, source, &printer, output).await;
                    for event in last.unwrap_or_default() {
                        printer.event(&event)?;
                    }
                    RunFollowStart::Tail(0)
                }
            };
            let client = locator.client().await?;
            Feed::Run { follower: Box::new(RunFollower::new(client, id.clone(), start)), history: 0, told: false }
        }
    };
    loop {
        if let Next::Event(event) = feed.next_after(&mut printer, output).await? {
            printer.event(&event)?;
        }
    }
}

/// Follows until the run has ended; gives how.
async fn until_end(
    begin: Option<usize>,
    source: &Source,
    mut printer: Printer,
    output: Output,
) -> anyhow::Result<RunStatus> {
    let (mut feed, id) = match source {
        Source::File(log) => {
            let log = EventLog::new(log.path());
            let (stream, id) = (Box::new(log.stream(true)?), source::default_run(log.path())?);
            (Feed::File { log, stream, from: 0 }, id)
        }
        Source::Run { locator, id } => {
            let client = locator.client().await?;
            let history = source::run(&client, id).await.map_or(0, |run| run.events);
            let follower = Box::new(RunFollower::new(client, id.clone(), RunFollowStart::First));
            (Feed::Run { follower, history, told: false }, id.clone())
        }
    };
    let mut watch = Watch::new(id);
    let mut caught_up = matches!(feed, Feed::Run { history: 0, .. });
    let mut held = VecDeque::new();
    loop {
        let next = if caught_up && watch.has_ended() {
            let silence = if watch.says_so() { Duration::ZERO } else { END_SILENCE };
            printer.flush()?;
            match tokio::time::timeout(silence, feed.next_after(&mut printer, output)).await {
                Ok(next) => next?,
                Err(_) => return Ok(watch.status()),
            }
        } else {
            feed.next_after(&mut printer, output).await?
        };
        match next {
            Next::Event(event) => {
                watch.apply(&event);
                if caught_up || begin.is_none() {
                    printer.event(&event)?;
                } else if printer.types().wants(&event) {
                    held.push_back(event);
                    if held.len() > begin.unwrap_or_default() {
                        held.pop_front();
                    }
                }
            }
            Next::CaughtUp => caught_up = true,
            Next::Reset => watch = Watch::new(watch.id),
            Next::Nothing => {}
        }
        if caught_up || feed.has_no_history() {
            caught_up = true;
            for event in held.drain(..) {
                printer.event(&event)?;
            }
        }
    }
}

/// The state of the run that is followed.
struct Watch {
    id: RunId,
    fold: RunFold,
}

impl Watch {
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

    /// It says itself that it ended, so nothing more is to come.
    fn says_so(&self) -> bool {
        self.fold.run().state.is_some() && self.fold.run().ended.is_some()
    }
}

impl Feed {
    /// What comes next; what was printed is flushed before it is waited for.
    async fn next_after(&mut self, printer: &mut Printer, output: Output) -> anyhow::Result<Next> {
        if let Some(next) = self.next(output).now_or_never() {
            return next;
        }
        printer.flush()?;
        self.next(output).await
    }

    /// Cancel-safe.
    async fn next(&mut self, output: Output) -> anyhow::Result<Next> {
        match self {
            Feed::File { log, stream, from } => Ok(match stream.next().await? {
                StreamItem::Event(logged) if logged.offset < *from => Next::Nothing,
                StreamItem::Event(logged) => Next::Event(logged.event),
                StreamItem::Fault(fault) if fault.offset < *from => Next::Nothing,
                StreamItem::Fault(fault) => {
                    print::tell_fault(log.path(), &fault, output);
                    Next::Nothing
                }
                StreamItem::Notice(notice) => {
                    print::notice(log.path(), &notice, output);
                    match notice {
                        FollowNotice::Truncated { .. } | FollowNotice::Rewritten => {
                            *from = 0;
                            Next::Reset
                        }
                        FollowNotice::Rotated | FollowNotice::Appeared => {
                            *from = 0;
                            Next::Nothing
                        }
                        FollowNotice::Waiting
                        | FollowNotice::Torn
                        | FollowNotice::TooLong
                        | FollowNotice::Late
                        | FollowNotice::Missed { .. } => Next::Nothing,
                    }
                }
                StreamItem::CaughtUp => Next::CaughtUp,
            }),
            Feed::Run { follower, history, told } => match follower.next().await? {
                RunItem::Event { event, .. } => {
                    *history = history.saturating_sub(1);
                    Ok(Next::Event(event))
                }
                RunItem::Connected => {
                    if std::mem::take(told) {
                        output.note("connected again");
                    }
                    Ok(Next::Nothing)
                }
                RunItem::Disconnected { why, .. } => {
                    if !std::mem::replace(told, true) {
                        output.note(format_args!("{why}; trying again"));
                    }
                    Ok(Next::Nothing)
                }
                RunItem::Reset => {
                    output.note("the run's log was made anew; it is read from its first event");
                    Ok(Next::Reset)
                }
            },
        }
    }

    /// At a server: everything that was there at the begin has come.
    fn has_no_history(&self) -> bool {
        matches!(self, Feed::Run { history: 0, .. })
    }
}
