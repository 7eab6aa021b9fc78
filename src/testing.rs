//! A server for tests: it uses free ports and a temporary folder, and stops when dropped.
//!
//! ```
//! use redis::Commands;
//! use redis::streams::{StreamReadOptions, StreamReadReply};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = tasktail::testing::Server::start()?;
//! let mut redis = redis::Client::open(server.redis_url())?.get_connection()?;
//!
//! let id: String = redis.xadd("task:logs:42", "*", &[("line", "Building..."), ("stream", "stdout")])?;
//!
//! let options = StreamReadOptions::default().block(1_000).count(10);
//! let read: Option<StreamReadReply> = redis.xread_options(&["task:logs:42"], &["0"], &options)?;
//! let entry = &read.ok_or("no entry")?.keys[0].ids[0];
//! assert_eq!((&entry.id, entry.get("line")), (&id, Some("Building...".to_owned())));
//! # Ok(())
//! # }
//! ```

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::server::{self, ServeError, ServeOptions};

/// A running server with its own runtime. It may be started and dropped inside or outside a runtime.
#[derive(Debug)]
pub struct Server {
    http_url: String,
    redis_url: String,
    /// Dropped to stop the server.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: TempDir,
}

/// The reason why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system provided no folder, thread or runtime.
    #[error("cannot start a test server: {0}")]
    System(#[from] io::Error),
    /// The server itself failed to start.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// The addresses of the server, or the error that prevented its start.
type StartResult = Result<(String, String), StartError>;

impl Server {
    /// Starts a server with the default options, and waits until it accepts connections.
    ///
    /// # Errors
    /// The system provides no folder, thread or port.
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(|_| {})
    }

    /// Starts a server with changed options. Data folder and addresses are set before `change` is called.
    ///
    /// # Errors
    /// Those of [`Server::start`], and invalid options.
    pub fn start_with(change: impl FnOnce(&mut ServeOptions)) -> Result<Self, StartError> {
        let folder = tempfile::Builder::new().prefix("tasktail-").tempdir()?;
        let any_port = || "127.0.0.1:0".to_owned();
        let mut options = ServeOptions {
            listen: any_port(),
            resp: Some(any_port()),
            data: folder.path().join("data"),
            redis_values: true,
            ..ServeOptions::default()
        };
        change(&mut options);
        let (started, result) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("tasktail-testing".to_owned());
        let thread = thread.spawn(move || run(options, &started, stopped))?;
        let ended = |_| Err(io::Error::other("the thread has ended").into());
        let (http_url, redis_url) = result.recv().unwrap_or_else(ended)?;
        Ok(Self { http_url, redis_url, stop: Some(stop), thread: Some(thread), folder })
    }

    /// Returns `http://127.0.0.1:PORT`, the address of pages, HTTP routes and WebSockets.
    pub fn http_url(&self) -> &str {
        &self.http_url
    }

    /// Returns `redis://127.0.0.1:PORT`; empty if the options disabled the port.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// Returns the data folder.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder().join("data")
    }

    /// Returns the temporary folder, which is deleted with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a test server panicked");
        }
    }
}

/// Runs the server's thread until it is stopped.
fn run(options: ServeOptions, started: &mpsc::SyncSender<StartResult>, stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        // The caller waits for the result.
        Err(error) => return started.send(Err(error.into())).unwrap_or_default(),
    };
    runtime.block_on(async {
        let server = match Box::pin(server::Server::start(options)).await {
            Ok(server) => server,
            Err(error) => return started.send(Err(error.into())).unwrap_or_default(),
        };
        let urls = (server.url(), server.redis_url().unwrap_or_default());
        if started.send(Ok(urls)).is_ok() {
            // The sender is dropped to stop the server, which makes this an error.
            stopped.await.unwrap_or_default();
        }
        if let Err(error) = server.shutdown().await {
            tracing::warn!(%error, "a test server did not shut down cleanly");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn accepts(url: &str) -> bool {
        TcpStream::connect(url.split_once("//").unwrap().1).is_ok()
    }

    #[test]
    fn dropping_a_server_deletes_its_folder() {
        let server = Server::start().unwrap();
        let urls = [server.http_url().to_owned(), server.redis_url().to_owned()];
        let folder = server.folder().to_owned();
        assert!(urls.iter().all(|url| accepts(url)) && server.data().is_dir());
        drop(server);
        assert!(!urls.iter().any(|url| accepts(url)) && !folder.exists());
    }

    #[tokio::test]
    async fn server_can_be_started_inside_a_runtime() {
        drop(Server::start().unwrap());
        let error = Server::start_with(|options| options.resp = Some("0.0.0.0:0".to_owned())).unwrap_err();
        assert!(error.to_string().contains("loopback"), "{error}");
    }
}
