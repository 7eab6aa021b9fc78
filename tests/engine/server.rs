//! A Redis or Valkey on loopback, in a temporary folder.

use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tasktail::home::redis::{
    CreateReply, Engine, EngineOptions, JournalUrl, SharedAck, SharedBatch, SharedEntry, SharedEvent, SharedLine,
    SharedNumbering, SharedTask, StoreReply, Tail,
};
use tasktail::model::{Channel, EntryId, TaskId};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Time after which a test that waits has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The servers that every test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Valkey,
}

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    kind: Kind,
    pub(crate) port: u16,
    folder: TempDir,
    settings: Vec<String>,
    child: Child,
}

fn program(kind: Kind) -> PathBuf {
    match kind {
        Kind::Redis => "redis-server".into(),
        // scripts/test installs it.
        Kind::Valkey => concat!(env!("CARGO_MANIFEST_DIR"), "/target/oracles/valkey/valkey-server").into(),
    }
}

/// Returns a port that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(kind: Kind, port: u16, folder: &TempDir, settings: &[String]) -> Child {
    let mut command = Command::new(program(kind));
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]);
    command.arg("--dir").arg(folder.path()).args(settings);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("a server starts")
}

impl Server {
    /// Starts a server with an append-only file.
    pub(crate) async fn start(kind: Kind) -> Self {
        Self::start_with(kind, &["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// Starts a server with settings.
    pub(crate) async fn start_with(kind: Kind, settings: &[&str]) -> Self {
        Self::try_start_with(kind, settings).await.expect("a server starts")
    }

    /// Starts a server with settings; `None` if it does not accept them.
    pub(crate) async fn try_start_with(kind: Kind, settings: &[&str]) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let settings: Vec<_> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        // Another process may take the port in between: then the server ends, and another port is tried.
        for _ in 0..3 {
            let port = free_port();
            let child = spawn(kind, port, &folder, &settings);
            let mut server = Self { kind, port, folder: TempDir::new().unwrap(), settings: settings.clone(), child };
            if server.is_ready().await {
                server.folder = folder;
                return Some(server);
            }
        }
        None
    }

    async fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut connection) = self.client().await
                && redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
            {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Starts a Sentinel with a file of settings, which names its port.
    pub(crate) async fn start_sentinel(kind: Kind, config: &std::path::Path) -> Self {
        let text = std::fs::read_to_string(config).unwrap();
        let port = text.lines().find_map(|line| line.strip_prefix("port ")).unwrap().parse().unwrap();
        let mut command = Command::new(program(kind));
        command.arg(config).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().expect("a Sentinel starts");
        let mut sentinel = Self { kind, port, folder: TempDir::new().unwrap(), settings: Vec::new(), child };
        assert!(sentinel.is_ready().await, "a Sentinel starts");
        sentinel
    }

    /// Sends the server a signal.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap().success());
    }

    /// Kills the server with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts a killed server again, on the same port and folder.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.kind, self.port, &self.folder, &self.settings);
        assert!(self.is_ready().await, "the server starts again");
    }

    /// Returns a connection of another program.
    pub(crate) async fn client(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let config = redis::AsyncConnectionConfig::new();
        let config = config.set_response_timeout(Some(DEADLINE)).set_connection_timeout(Some(DEADLINE));
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Runs a command as another program.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.client().await.unwrap()).await.unwrap()
    }

    pub(crate) fn url(&self) -> JournalUrl {
        format!("redis://127.0.0.1:{}", self.port).parse().unwrap()
    }

    /// Connects an engine of a server process.
    pub(crate) async fn engine(&self, name: &str) -> Engine {
        Engine::connect(&self.url(), EngineOptions::new(name)).await.unwrap()
    }
}

pub(crate) fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

pub(crate) fn line(text: &str) -> SharedLine {
    SharedLine {
        channel: Channel::Stdout,
        timestamp: "2026-05-09T14:23:01.000Z".to_owned(),
        text: text.as_bytes().to_vec(),
        partial: false,
        lossy: false,
        skipped: 0,
        numbering: SharedNumbering::Next,
    }
}

/// Returns a batch of lines whose texts are the session and the number.
pub(crate) fn batch(session: &str, first: u64, last: u64) -> SharedBatch {
    let lines = (first..=last).map(|seq| line(&format!("{session} {seq}"))).collect();
    SharedBatch { session: Some((session.to_owned(), first)), lines, ..SharedBatch::default() }
}

pub(crate) fn plain(texts: &[&str]) -> SharedBatch {
    SharedBatch { lines: texts.iter().map(|text| line(text)).collect(), ..SharedBatch::default() }
}

/// Creates a task with birth 7.
pub(crate) async fn create(engine: &Engine, name: &str) -> TaskId {
    let id = id(name);
    assert!(matches!(engine.create(&id, 1_000, 7, &[]).await.unwrap(), CreateReply::Created(_)));
    id
}

pub(crate) async fn stored(engine: &Engine, id: &TaskId, batch: SharedBatch) -> SharedAck {
    match engine.append(id, 7, batch).await.unwrap() {
        StoreReply::Stored(ack) => ack,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn state(engine: &Engine, id: &TaskId) -> SharedTask {
    engine.open(id).await.unwrap().expect("the task exists")
}

/// Reads a tail until it has the line.
pub(crate) async fn read_until(tail: &mut Tail, last_line: u64) -> Vec<SharedEntry> {
    let mut all: Vec<SharedEntry> = Vec::new();
    until(async {
        while all.last().is_none_or(|entry| entry.n < last_line) {
            if let Ok(SharedEvent::Entries(entries)) = tail.next().await {
                all.extend(entries);
            }
        }
    })
    .await;
    all
}

/// Reads all lines of a task up to one.
pub(crate) async fn read_all(engine: &Engine, id: &TaskId, last_line: u64) -> Vec<SharedEntry> {
    read_until(&mut engine.tail(id, 7, EntryId::MIN, 0), last_line).await
}

pub(crate) fn text(entry: &SharedEntry) -> String {
    let line = entry.fields.iter().find(|(name, _)| name == b"line");
    String::from_utf8(line.map(|(_, value)| value.clone()).unwrap_or_default()).unwrap()
}

pub(crate) fn texts(entries: &[SharedEntry]) -> Vec<String> {
    entries.iter().map(text).collect()
}

pub(crate) async fn until<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("in time")
}

/// Defines a test that runs on each kind of server.
macro_rules! on_each {
    ($($(#[$doc:meta])* async fn $name:ident($kind:ident) $body:block)*) => {
        $($(#[$doc])* async fn $name($kind: $crate::server::Kind) $body)*
        mod redis_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name($crate::server::Kind::Redis).await })*
        }
        mod valkey_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name($crate::server::Kind::Valkey).await })*
        }
    };
}
pub(crate) use on_each;
