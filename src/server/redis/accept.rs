//! The accept loop of the Redis port.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::RedisPort;
use super::connection;
use crate::model::limits::Limit;
use crate::server::net::connection_limit::{ConnectionLimiter, LimitReached};
use crate::server::net::tcp;

/// Redis' own reply to a client over the limit.
const LIMIT_REACHED: &[u8] = b"-ERR max number of clients reached\r\n";
/// Rejected clients that may receive the reply at the same time, and the time allowed for each.
const REJECTIONS_MAX: usize = 64;
const REJECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts connections until the server shuts down.
pub(super) async fn serve(listener: TcpListener, port: Arc<RedisPort>) {
    let limits = &port.state.options.limits;
    let limiter = ConnectionLimiter::new(limits.resp_connections_max, limits.connections_per_address_max);
    let rejections = Arc::new(Semaphore::new(REJECTIONS_MAX));
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
            tracing::debug!(%error, "cannot configure the socket of a Redis client");
        }
        let permits = match limiter.try_acquire().and_then(|global| Ok((global, limiter.try_acquire_for(peer.ip())?))) {
            Ok(permits) => permits,
            Err(reached) => {
                port.state.metrics.redis.refused.inc();
                port.state.limit_counters.count(match reached {
                    LimitReached::Total => Limit::resp_connections_max,
                    LimitReached::Address => Limit::connections_per_address_max,
                });
                // Under TLS the reply would need a handshake, which costs more than it is worth.
                if port.state.tls.is_none()
                    && let Ok(permit) = rejections.clone().try_acquire_owned()
                {
                    port.state.tracker.spawn(reject(stream, permit));
                }
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let client = port.clients.add(peer, local);
        let connection = connection::run(stream, client, port.clone(), permits);
        port.state.tracker.spawn(port.connections.track_future(connection));
    }
}

/// Rejects a client over the connection limit. Reads its input until it closes, because unread
/// input would make the system reset the connection and discard the reply.
async fn reject(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let result = timeout(REJECT_TIMEOUT, async {
        use tokio::io::AsyncWriteExt as _;
        stream.write_all(LIMIT_REACHED).await?;
        stream.shutdown().await?;
        let mut discarded = [0; 4096];
        while stream.read(&mut discarded).await? > 0 {}
        Ok::<_, std::io::Error>(())
    });
    let result = result.await;
    tracing::debug!(?result, "rejected a Redis client: connection limit reached");
}
