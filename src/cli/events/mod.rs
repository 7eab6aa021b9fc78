//! `tasktail events`: record and read events, in a file or at a server.
//!
//! ```text
//! args       flags, and --help with examples
//! source     where events come from: a file, or a run at a server
//! print      how they look on stdout, and what is wrong with a file on stderr
//! record     tail (and failures)     follow     status     timeline     ship     extract
//! ```

mod args;
mod extract;
mod follow;
mod print;
mod record;
mod ship;
mod source;
mod status;
mod tail;
mod timeline;

pub(super) use args::EventsArgs;
use args::EventsCommand;

use super::{Context, EXIT_INTERRUPTED, interrupted};

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
