//! `tasktail serve`: the server, until it is told to end.

use anyhow::Context as _;
use serde_json::json;
use tempfile::TempDir;

use super::args::ServeArgs;
use super::output::Output;
use super::{Context, interrupted};
use crate::server::{ServeOptions, Server, raise_file_limit};

/// The exit code after a second signal.
const EXIT_AT_ONCE: u8 = 130;
/// Where a server listens that goes with its folder, unless told otherwise.
const ANY_PORT: &str = "127.0.0.1:0";

pub(super) async fn run(args: ServeArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    // Listened for before the address is printed: whoever read it may end us at once.
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
    if let Err(error) = say_where(&server, args.ephemeral, output) {
        // A server whose starter went away still serves.
        tracing::debug!(%error, "nobody reads stdout");
    }
    tracing::info!(url = server.url(), redis = server.redis_url(), data = %data.display(), "serving");
    ended.await??;
    tracing::info!("shutting down");
    let done = tokio::select! {
        done = server.shutdown() => done,
        again = interrupted() => {
            again?;
            tracing::warn!("asked to end a second time: ending at once; what was acked is kept");
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
    tempfile::Builder::new().prefix("tasktail-").tempdir().context("cannot make a temporary folder")
}

fn say_where(server: &Server, ephemeral: bool, output: Output) -> std::io::Result<()> {
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
