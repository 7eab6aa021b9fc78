//! `tasktail serve`: runs the server until it receives a signal.

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tempfile::TempDir;

use super::output::Output;
use super::settings::SettingArgs;
use super::{Context, interrupted};
use crate::server::{ServeOptions, Server, raise_file_limit};

/// Exit code after a second signal.
const EXIT_AT_ONCE: u8 = 130;
/// Default address of a server with a temporary folder.
const ANY_PORT: &str = "127.0.0.1:0";

/// `tasktail serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints `listening on http://ADDR` on stdout once it accepts connections, and
with --resp `redis on redis://ADDR` after it. SIGTERM and SIGINT shut it down
cleanly. Every setting can also be set in the settings file
(worker_grace = '60s') and in the environment (TASKTAIL_WORKER_GRACE).

Examples:
  tasktail serve
  tasktail serve --listen 127.0.0.1:0 --data /var/lib/tasktail
  tasktail serve --resp 127.0.0.1:6379       also serve Redis clients such as redis-cli
  tasktail serve --ephemeral --resp 127.0.0.1:0
  tasktail serve --retention-age 30d --retention-bytes 50GiB
  TASKTAIL_LOG=debug tasktail serve --log-format json")]
pub struct ServeArgs {
    /// Use a temporary data folder and a free port (for tests); print the addresses as JSON
    #[arg(long)]
    pub(super) ephemeral: bool,
    #[command(flatten)]
    pub(super) settings: SettingArgs,
}

pub(super) async fn run(args: ServeArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    // Handled before the address is printed, since its reader may send a signal at once.
    let ended = tokio::spawn(interrupted());
    let folder = if args.ephemeral { Some(temporary_folder()?) } else { None };
    let options = match &folder {
        Some(folder) => {
            let listen = if settings.listen_named { &settings.listen } else { ANY_PORT };
            ServeOptions { data: folder.path().to_owned(), ..settings.serve_options(listen) }
        }
        None => settings.serve_options(&settings.listen),
    };
    raise_file_limit();
    let data = options.data.clone();
    let server = Box::pin(Server::start(options)).await?;
    if let Err(error) = print_addresses(&server, args.ephemeral, output) {
        // A closed stdout does not stop the server.
        tracing::debug!(%error, "cannot print the addresses");
    }
    tracing::info!(url = server.url(), redis = server.redis_url(), data = %data.display(), "serving");
    ended.await??;
    tracing::info!("shutting down");
    let done = tokio::select! {
        done = server.shutdown() => done,
        again = interrupted() => {
            again?;
            tracing::warn!("received a second signal, exiting immediately; acknowledged lines are stored");
            return Ok(EXIT_AT_ONCE);
        }
    };
    if let Some(folder) = folder {
        let path = folder.path().to_owned();
        folder.close().with_context(|| format!("cannot remove {}", path.display()))?;
    }
    done?;
    Ok(0)
}

fn temporary_folder() -> anyhow::Result<TempDir> {
    tempfile::Builder::new().prefix("tasktail-").tempdir().context("cannot create a temporary folder")
}

fn print_addresses(server: &Server, ephemeral: bool, output: Output) -> std::io::Result<()> {
    if ephemeral {
        let mut addresses = json!({ "http": server.url() });
        if let Some(url) = server.redis_url() {
            addresses["redis"] = url.into();
        }
        return output.line(addresses);
    }
    output.line(format_args!("listening on {}", server.url()))?;
    match server.redis_url() {
        Some(url) => output.line(format_args!("redis on {url}")),
        None => Ok(()),
    }
}
