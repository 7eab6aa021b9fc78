//! The accept loop of the Redis port.

use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::Port;
use super::connection;
use crate::model::limits::Limit;

/// A pause after the system refused a connection (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The answer to a client too many: Redis' own.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
/// Clients too many that are told so at one time, and for how long.
const REFUSALS_MAX: usize = 64;
const REFUSE_WAIT: Duration = Duration::from_secs(1);
/// A peer is asked after so much silence whether it is there, as Redis does (tcp-keepalive); and so
/// often, in between, before it is given up.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(100);
const KEEPALIVE_PROBES: u32 = 3;

/// Accepts until the server is to end.
pub(super) async fn serve(listener: TcpListener, port: Arc<Port>) {
    let places = Arc::new(Semaphore::new(port.clients_max().min(Semaphore::MAX_PERMITS)));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        let accepted = tokio::select! {
            () = port.state.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a Redis client could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            port.state.metrics.redis.refused.inc();
            port.state.hits.count(Limit::resp_connections_max);
            // Under TLS only a handshake could tell it, which costs more than it is worth.
            if port.state.tls.is_none()
                && let Ok(place) = refusals.clone().try_acquire_owned()
            {
                port.state.tracker.spawn(refuse(stream, place));
            }
            continue;
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a Redis client's socket could not be prepared");
        }
        let Ok(local) = stream.local_addr() else { continue };
        let client = port.clients.add(peer, local);
        port.state.tracker.spawn(connection::run(stream, client, port.clone(), place));
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
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
