//! `tasktail events`: record and read events, in a file or at a server.

use clap::Args;

use super::Context;

/// `tasktail events`.
#[derive(Debug, Args)]
pub struct EventsArgs {}

pub(super) async fn run(_args: EventsArgs, _context: Context) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
