//! Servers and workers as processes, which can be killed and paused, and what is between them and others.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::common::home::TestHome;
use crate::common::until;

/// `tasktail ARGS`, with nothing of the caller's settings.
pub(crate) fn tasktail(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TASKTAIL_") {
            command.env_remove(name);
        }
    }
    command.args(args).current_dir(folder).env("HOME", folder).env("TASKTAIL_LOG", "info");
    command.stdin(Stdio::null());
    command
}

/// Runs `tasktail ARGS` to its end.
pub(crate) async fn run(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tasktail(folder.path(), args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A process whose output is in files.
pub(crate) struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = tasktail(folder.path(), args);
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Self { child, folder }
    }

    /// A server over the store, whose Redis is at this address.
    pub(crate) async fn serve(home: &TestHome, journal: &str) -> (Self, SocketAddr) {
        let archive = format!("file://{}", home.objects().display());
        let store = ["--journal", journal, "--archive", &archive, "--keeper-lease", LEASE];
        let process =
            Self::start(&[&["serve", "--listen", "127.0.0.1:0", "--data", "data"], &store[..], &WINDOW].concat());
        until("the server listens", async || process.out().contains('\n')).await;
        let said = process.out();
        let address = said.lines().next().unwrap().strip_prefix("listening on http://").unwrap();
        (process, address.parse().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn out(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        std::fs::read_to_string(self.path("err")).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code.
    pub(crate) async fn code(&mut self) -> Option<i32> {
        let child = std::cell::RefCell::new(&mut self.child);
        until("the process ends", async || child.borrow_mut().try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Time after which others take over the tasks of a silent server, here.
pub(crate) const LEASE: &str = "1s";
/// As of the servers of `crate::serve`.
const WINDOW: [&str; 2] = ["--live-window-lines", "2000"];

/// A TCP balancer: a connection reaches the first server that accepts it.
pub(crate) async fn balance(servers: Vec<SocketAddr>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let servers = servers.clone();
            tokio::spawn(async move {
                for server in servers {
                    if let Ok(mut far) = TcpStream::connect(server).await {
                        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                        return;
                    }
                }
            });
        }
    });
    url
}

/// A proxy before Redis. It holds back what contains a certain text, and all that follows on the same connection.
#[derive(Clone)]
pub(crate) struct RedisProxy {
    pub(crate) url: String,
    state: Arc<watch::Sender<ProxyState>>,
}

#[derive(Clone, Default)]
struct ProxyState {
    /// Text to hold back, until it is released.
    pattern: Option<&'static str>,
    held: usize,
    /// Answers to what was held back.
    answered: usize,
}

impl RedisProxy {
    pub(crate) async fn start(home: &TestHome) -> Self {
        let target = home.url().strip_prefix("redis://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let proxy = Self { url, state: Arc::new(watch::Sender::new(ProxyState::default())) };
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                tokio::spawn(shared.clone().carry(near, far));
            }
        });
        proxy
    }

    /// Holds back requests with this text from now on.
    pub(crate) fn hold(&self, pattern: &'static str) {
        self.state.send_modify(|state| state.pattern = Some(pattern));
    }

    /// Waits until a request is held back.
    pub(crate) async fn held(&self) {
        let mut state = self.state.subscribe();
        crate::common::within("a request is held back", state.wait_for(|state| state.held > 0)).await.unwrap();
    }

    /// Lets everything pass.
    pub(crate) fn release(&self) {
        self.state.send_modify(|state| state.pattern = None);
    }

    /// Waits until Redis has answered what was held back.
    pub(crate) async fn answered(&self) {
        let mut state = self.state.subscribe();
        crate::common::within("an answer", state.wait_for(|state| state.answered > 0)).await.unwrap();
    }

    async fn carry(self, near: TcpStream, far: TcpStream) {
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let was_held = Arc::new(Mutex::new(false));
        let (state, is_held) = (self.state.clone(), was_held.clone());
        let answers = tokio::spawn(async move {
            let mut bytes = vec![0; 65_536];
            while let Ok(count @ 1..) = far_in.read(&mut bytes).await {
                if near_out.write_all(&bytes[..count]).await.is_err() {
                    break;
                }
                if std::mem::take(&mut *is_held.lock().unwrap()) {
                    state.send_modify(|state| state.answered += 1);
                }
            }
        });
        let (mut bytes, mut seen) = (vec![0; 65_536], Vec::new());
        let mut state = self.state.subscribe();
        while let Ok(count @ 1..) = near_in.read(&mut bytes).await {
            // A text can arrive in two parts.
            seen.extend_from_slice(&bytes[..count]);
            let pattern = state.borrow().pattern;
            let is_match =
                pattern.is_some_and(|pattern| seen.windows(pattern.len()).any(|part| part == pattern.as_bytes()));
            if is_match {
                self.state.send_modify(|state| state.held += 1);
                drop(state.wait_for(|state| state.pattern.is_none()).await);
                *was_held.lock().unwrap() = true;
            }
            if far_out.write_all(&bytes[..count]).await.is_err() {
                break;
            }
            let rest = seen.len().saturating_sub(64);
            drop(seen.drain(..rest));
        }
        answers.abort();
    }
}
