//! The thread of the Redis port. All connections run on it, one after the other, as in Redis: the writes of those
//! that are ready at the same time share one commit, and their replies follow it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime;
use tokio::time::timeout;

use super::{RedisPort, accept, close_revoked_clients};
use crate::model::limits::SHUTDOWN_TIMEOUT;
use crate::tasks::keys::PreparedTransaction;

/// Starts the thread. It ends after the server has shut down.
pub(super) fn start(listener: TcpListener, port: Arc<RedisPort>) -> io::Result<()> {
    let listener = listener.into_std()?;
    let runtime = runtime::Builder::new_current_thread().thread_name("redis-blocking").enable_all().build()?;
    std::thread::Builder::new().name("redis".into()).spawn(move || {
        if let Err(error) = runtime.block_on(run(listener, port)) {
            tracing::error!(%error, "the Redis port failed; restart the server");
        }
        // A long read of a client that has left does not delay the end.
        runtime.shutdown_background();
    })?;
    Ok(())
}

async fn run(listener: std::net::TcpListener, port: Arc<RedisPort>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let serve = async {
        tokio::join!(
            port.state.tracker.track_future(close_revoked_clients(port.clone())),
            port.state.tracker.track_future(accept::serve(listener, port.clone())),
        );
        port.connections.close();
        timeout(SHUTDOWN_TIMEOUT, port.connections.wait()).await
    };
    tokio::select! {
        ended = serve => {
            if ended.is_err() {
                tracing::debug!("dropping the Redis connections that did not end in time");
            }
            Ok(())
        }
        never = end_turns(&port) => match never {},
    }
}

impl RedisPort {
    /// Queues a write after the connections that are ready have submitted theirs.
    pub(super) fn submit(&self, write: PreparedTransaction) {
        self.turn_writes.lock().push(write);
        self.turn_end.notify_one();
    }
}

/// Queues the writes of each turn. The runtime resumes this task after the connections that were woken before it.
async fn end_turns(port: &RedisPort) -> Infallible {
    loop {
        port.turn_end.notified().await;
        let writes = std::mem::take(&mut *port.turn_writes.lock());
        port.state.tasks.submit_all(writes);
    }
}
