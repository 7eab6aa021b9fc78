//! A store that several servers share: a Redis or Valkey of its own, and a folder for the objects.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tasktail::home::HomeOptions;
use tempfile::TempDir;

use super::until;

/// Program of the engine: `redis-server`, or another one for the whole run of the tests.
const ENGINE_VARIABLE: &str = "TASKTAIL_TEST_ENGINE";

/// A Redis with a folder for its files, and one for objects.
#[derive(Debug)]
pub(crate) struct TestHome {
    engine: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl TestHome {
    /// Starts a Redis that keeps what it has confirmed.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("objects")).unwrap();
        let mut home = Self { engine: None, port: free_port(), folder };
        home.restart().await;
        home
    }

    /// Starts Redis, again after [`TestHome::kill`].
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let program = std::env::var(ENGINE_VARIABLE).unwrap_or_else(|_| "redis-server".to_owned());
        let log = self.folder.path().join("redis.log");
        let started = Command::new(program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--dir"])
            .arg(self.folder.path())
            .arg("--logfile")
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.engine =
            Some(started.unwrap_or_else(|error| panic!("redis-server, which scripts/test installs: {error}")));
        until("redis-server accepts connections", async || self.connect().is_ok()).await;
    }

    /// Kills Redis.
    pub(crate) fn kill(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            engine.kill().unwrap();
            engine.wait().unwrap();
        }
    }

    /// A connection that answers, which one of a loading server does not.
    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        redis::cmd("PING").query::<String>(&mut connection)?;
        Ok(connection)
    }

    /// A client of the Redis.
    pub(crate) fn client(&self) -> redis::Connection {
        self.connect().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    /// Options of a server over this store.
    pub(crate) fn options(&self) -> HomeOptions {
        HomeOptions {
            journal: self.url().parse().unwrap(),
            journal_acks: None,
            journal_ca_file: None,
            journal_trust: false,
            archive: format!("file://{}", self.objects().display()).parse().unwrap(),
            archive_endpoint: None,
            archive_ca_file: None,
            archive_region: None,
        }
    }

    /// The names of all objects below this one.
    pub(crate) fn object_names(&self, under: &str) -> Vec<String> {
        let mut names = Vec::new();
        list(&self.objects().join(under), &self.objects(), &mut names);
        names.sort();
        names
    }
}

impl Drop for TestHome {
    fn drop(&mut self) {
        self.kill();
    }
}

fn list(folder: &Path, root: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), root, names);
        } else {
            names.push(entry.path().strip_prefix(root).unwrap().display().to_string());
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
