//! `tasktail serve`: runs the server until it receives a signal.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::output::Output;
use super::owner::Owner;
use super::settings::SettingArgs;
use super::{Context, SettingsSource, interrupted, service};
use crate::config::Settings;
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
cleanly; SIGHUP reads the settings again and reports those that need a restart.
With --ephemeral it also ends with the process that started it, unless SIGHUP
is ignored, as with nohup. Every setting can also be set in the settings file
(worker_grace = '60s') and in the environment (TASKTAIL_WORKER_GRACE). Rules of
notices, [[notify]], are set in the file alone; `tasktail config template` has one.

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

pub(super) async fn run(args: ServeArgs, context: Context, source: SettingsSource) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    // Handled before the address is printed, since its reader may send a signal at once.
    let mut ended = tokio::spawn(stop_requested(args.ephemeral));
    let mut hangups = signal(SignalKind::hangup())?;
    let folder = if args.ephemeral { Some(temporary_folder()?) } else { None };
    let data = match &folder {
        Some(folder) => folder.path(),
        None => settings.data()?,
    };
    raise_file_limit();
    let server = Box::pin(Server::start(options(&settings, data, args.ephemeral))).await?;
    if let Err(error) = print_addresses(&server, args.ephemeral, output) {
        // A closed stdout does not stop the server.
        tracing::debug!(%error, "cannot print the addresses");
    }
    tracing::info!(url = server.url(), redis = server.redis_url(), data = %data.display(), "serving");
    service::ready(&format!("serving on {}", server.url()));
    {
        let mut watchdog = std::pin::pin!(service::feed_watchdog(&server));
        loop {
            tokio::select! {
                ended = &mut ended => break ended??,
                _ = hangups.recv() => reload(&server, &source, data, args.ephemeral).await,
                () = &mut watchdog => {}
            }
        }
    }
    tracing::info!("shutting down");
    service::stopping();
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

/// Returns the options of the server over `data`.
fn options(settings: &Settings, data: &Path, ephemeral: bool) -> ServeOptions {
    let any_port = ephemeral && !settings.listen_named;
    let options = settings.serve_options(data, if any_port { ANY_PORT } else { &settings.listen });
    // Data in memory is lost at the end, like the folder.
    ServeOptions { redis_values: ephemeral, ..options }
}

/// Waits until the server should stop. Signals are handled from this call on.
fn stop_requested(ephemeral: bool) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let interrupted = interrupted();
    let owner = ephemeral.then(Owner::of_this_process).flatten();
    async move {
        let Some(owner) = owner else { return interrupted.await };
        tokio::select! {
            interrupted = interrupted => interrupted,
            () = owner.ended() => {
                tracing::info!("the process that started this server has ended");
                Ok(())
            }
        }
    }
}

/// Reads the settings again and applies them. Invalid ones change nothing.
async fn reload(server: &Server, source: &SettingsSource, data: &Path, ephemeral: bool) {
    service::reloading();
    reload_settings(server, source, data, ephemeral).await;
    service::ready(&format!("serving on {}", server.url()));
}

async fn reload_settings(server: &Server, source: &SettingsSource, data: &Path, ephemeral: bool) {
    let settings = match source.load() {
        Ok(settings) => settings,
        Err(error) => return tracing::error!("SIGHUP: keeping the old settings: {error}"),
    };
    let named = settings.data.as_deref().filter(|_| !ephemeral).unwrap_or(data);
    let report = server.reload(&options(&settings, named, ephemeral)).await;
    for (name, value) in &report.applied {
        tracing::info!(value, "SIGHUP: changed {name}");
    }
    if !report.restart.is_empty() {
        tracing::warn!("SIGHUP: restart the server to change {}", report.restart.join(", "));
    }
    tracing::info!("SIGHUP: reloaded the settings, tokens and certificates");
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
