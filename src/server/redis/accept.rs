//! The accept loop of the Redis port.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Port;
use super::connection;
use crate::model::limits::Limit;
use crate::server::net::connection_limit::{ConnectionLimiter, LimitReached};
use crate::server::net::tcp;

/// The answer to a client too many: Redis' own.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
/// Clients too many that are told so at one time, and for how long.
const REFUSALS_MAX: usize = 64;
const REFUSE_WAIT: Duration = Duration::from_secs(1);
/// Accepts until the server is to end.
pub(super) async fn serve(listener: TcpListener, port: Arc<Port>) {
    let limits = &port.state.options.limits;
    let places = ConnectionLimiter::new(limits.resp_connections_max, limits.connections_per_address_max);
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut errors = tcp::AcceptErrors::default();
    loop {
        let accepted = tokio::select! {
            () = port.state.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                errors.record(&port.state.metrics, &error).await;
                continue;
            }
        };
        if let Err(error) = tcp::configure(&stream, limits) {
            tracing::debug!(%error, "a Redis client's socket could not be prepared");
        }
        let place = match places.try_acquire().and_then(|seat| Ok((seat, places.try_acquire_for(peer.ip())?))) {
            Ok(place) => place,
            Err(full) => {
                port.state.metrics.redis.refused.inc();
                port.state.limit_counters.count(match full {
                    LimitReached::Total => Limit::resp_connections_max,
                    LimitReached::Address => Limit::connections_per_address_max,
                });
                // Under TLS only a handshake could tell it, which costs more than it is worth.
                if port.state.tls.is_none()
                    && let Ok(place) = refusals.clone().try_acquire_owned()
                {
                    port.state.tracker.spawn(refuse(stream, place));
                }
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let client = port.clients.add(peer, local);
        port.state.tracker.spawn(connection::run(stream, client, port.clone(), place));
    }
}

/// Tells a client that it is one too many. What it sent is read, as else the system would take the
/// answer back.
async fn refuse(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let told = timeout(REFUSE_WAIT, async {
        use tokio::io::AsyncWriteExt as _;
        stream.write_all(TOO_MANY).await?;
        stream.shutdown().await?;
        let mut sent = [0; 4096];
        while stream.read(&mut sent).await? > 0 {}
        Ok::<_, std::io::Error>(())
    });
    let told = told.await;
    tracing::debug!(?told, "a Redis client over the limit was refused");
}
