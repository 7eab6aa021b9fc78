//! `tasktail ship`: growing files as a task's lines.

use clap::Args;

use super::Context;

/// `tasktail ship`.
#[derive(Debug, Args)]
pub struct ShipArgs {}

pub(super) async fn run(_args: ShipArgs, _context: Context) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
