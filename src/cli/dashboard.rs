//! `tasktail dashboard`: a run on the whole screen.

use clap::Args;

use super::Context;

/// `tasktail dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArgs {}

pub(super) async fn run(_args: DashboardArgs, _context: Context) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
