//! `tasktail doctor`: a sentinel through every hop.

use clap::Args;

use super::Context;

/// `tasktail doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

pub(super) async fn run(_args: DoctorArgs, _context: Context) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
