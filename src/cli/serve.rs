//! `tasktail serve`: the server, until it is told to end.

use super::{Context, interrupted};
use crate::server::Server;

pub(super) async fn run(context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    // Listened for before the address is printed: whoever read it may end us at once.
    let ended = tokio::spawn(interrupted());
    let server = Box::pin(Server::start(settings.serve_options(&settings.listen))).await?;
    if let Err(error) = output.line(format_args!("listening on {}", server.url())) {
        // A server whose starter went away still serves.
        tracing::debug!(%error, "nobody reads stdout");
    }
    tracing::info!(url = server.url(), data = %settings.data.display(), "serving");
    ended.await??;
    tracing::info!("shutting down");
    server.shutdown().await?;
    Ok(0)
}
