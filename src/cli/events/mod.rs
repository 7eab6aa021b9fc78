//! `tasktail events`: record and read events, in a file or at a server.
//!
//! ```text
//! source     reads events from a file, or from a run at a server
//! print      prints events on stdout, and the faults of a file on stderr
//! record     tail (and failures)     follow     status     timeline     ship     extract
//! ```

mod extract;
mod follow;
mod print;
mod record;
mod ship;
mod source;
mod status;
mod tail;
mod timeline;

use clap::{Args, Subcommand};

use self::extract::ExtractArgs;
use self::follow::EventsFollowArgs;
use self::record::RecordArgs;
use self::ship::EventsShipArgs;
use self::status::StatusArgs;
use self::tail::{FailuresArgs, TailArgs};
use self::timeline::TimelineArgs;

use super::{Context, EXIT_INTERRUPTED, interrupted};

/// `tasktail events`.
#[derive(Debug, Args)]
#[command(after_help = "\
A run of a workflow collects events. Each command reads or writes a file of
events, one JSON object per line (default: events.jsonl in the current folder),
or with --run a run at a server. Invalid lines of a file are reported on stderr
and skipped.

Examples:
  tasktail events record --type step.started --step build
  tasktail events tail -n 20
  tasktail events follow --run nightly-7 --until-end --exit-status
  tasktail events failures --budget 2000
  ansible-playbook site.yml | tasktail events extract > events.jsonl")]
pub struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

/// The commands for events.
#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// Create an event and append it
    Record(Box<RecordArgs>),
    /// Print the last events
    Tail(TailArgs),
    /// Print events as they arrive
    Follow(EventsFollowArgs),
    /// Print the events that report a failure, oldest first
    Failures(FailuresArgs),
    /// Show the run's state, rebuilt from its events
    Status(StatusArgs),
    /// Print one line for each event, with the time between them
    Timeline(TimelineArgs),
    /// Send a growing file of events to a run at a server
    Ship(EventsShipArgs),
    /// Find the events in any text (LB_EVENT lines)
    Extract(ExtractArgs),
}

pub(super) async fn run(args: EventsArgs, context: Context) -> anyhow::Result<u8> {
    let work = async {
        match args.command {
            EventsCommand::Record(args) => Box::pin(record::run(*args, context)).await,
            EventsCommand::Tail(args) => Box::pin(tail::run(args, context)).await,
            EventsCommand::Follow(args) => Box::pin(follow::run(args, context)).await,
            EventsCommand::Failures(args) => Box::pin(tail::failures(args, context)).await,
            EventsCommand::Status(args) => Box::pin(status::run(args, context)).await,
            EventsCommand::Timeline(args) => Box::pin(timeline::run(args, context)).await,
            EventsCommand::Ship(args) => Box::pin(ship::run(args, context)).await,
            EventsCommand::Extract(args) => Box::pin(extract::run(args, context)).await,
        }
    };
    tokio::select! {
        result = work => result,
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    }
}
