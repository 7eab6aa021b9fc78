//! The servers a client is put against, on a port they keep over a restart.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// No step of these tests takes longer, whatever hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Redis,
    Tasktail,
}

/// A server with a data folder; killed when it is dropped.
pub(crate) struct Server {
    pub(crate) which: Which,
    pub(crate) resp: SocketAddr,
    /// Where HTTP is answered; none for Redis.
    pub(crate) http: Option<SocketAddr>,
    child: Child,
    folder: tempfile::TempDir,
}

/// Runs a test against Redis and then against tasktail.
pub(crate) fn against_both(test: impl Fn(&mut Server)) {
    test(&mut Server::start(Which::Redis));
    if std::env::var_os("TASKTAIL_ORACLES_ONLY").is_none() {
        test(&mut Server::start(Which::Tasktail));
    }
}

impl Server {
    pub(crate) fn start(which: Which) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let resp = free_port();
        let mut child = command(which, resp, &folder).spawn().unwrap_or_else(|error| panic!("{which:?}: {error}"));
        let http = ready(which, resp, &mut child);
        Self { which, resp, http, child, folder }
    }

    /// Kills the server without a warning and starts it again on the same port and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = command(self.which, self.resp, &self.folder).spawn().unwrap();
        self.http = ready(self.which, self.resp, &mut self.child);
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `tasktail`, with nothing of the caller's settings.
pub(crate) fn tasktail(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TASKTAIL_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("TASKTAIL_LOG", "warn")
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null());
    command
}

fn command(which: Which, resp: SocketAddr, folder: &tempfile::TempDir) -> Command {
    let mut command = match which {
        Which::Redis => {
            let mut command = Command::new(needed("redis-server", "redis-server"));
            // What was answered must be there after the kill, as it is with tasktail.
            command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--bind", "127.0.0.1"]);
            command.args(["--port", &resp.port().to_string(), "--loglevel", "warning"]);
            command.current_dir(folder.path()).stdin(Stdio::null());
            command
        }
        Which::Tasktail => {
            let mut command = tasktail(folder);
            command.args(["serve", "--data", "data", "--listen", "127.0.0.1:0", "--resp", &resp.to_string()]);
            command
        }
    };
    command.stdout(Stdio::piped());
    command
}

/// Waits until the server answers PING; gives its HTTP address, if it has one.
fn ready(which: Which, resp: SocketAddr, child: &mut Child) -> Option<SocketAddr> {
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let http = (which == Which::Tasktail).then(|| {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        address.unwrap_or_else(|| panic!("said {line:?}")).parse().unwrap()
    });
    // A server whose output is read by nobody would stop at a full pipe.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    until("a server that answers PING", || {
        assert!(child.try_wait().unwrap().is_none(), "{which:?} ended");
        pings(resp).unwrap_or(false)
    });
    http
}

fn pings(resp: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(resp)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}

/// A port below those the system gives to outgoing connections: while its server is down, no
/// connection of another test gets it.
fn free_port() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 500).unwrap() * 24;
    loop {
        let port = first + TAKEN.fetch_add(1, Ordering::Relaxed);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// The name of a program, which must be there.
pub(crate) fn needed(program: &'static str, package: &str) -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(there, "this test needs {program}: run scripts/test, or install {package}");
    program
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "another process's progress cannot be waited for otherwise")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
