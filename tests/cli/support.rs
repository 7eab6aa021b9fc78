//! A home of its own for each test, and the real binary in it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No command of these tests takes longer, whatever hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A folder that is HOME to every command started with it; no server is found by accident, because
/// the usual address is replaced by "any free port".
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// What a command left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `tasktail ARGS` in this home, with nothing of the caller's settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TASKTAIL_") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env("TASKTAIL_LISTEN", "127.0.0.1:0")
            .env("TASKTAIL_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `tasktail ARGS` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        finish(self.command(args).spawn().unwrap())
    }

    /// The same with something on stdin.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &[u8]) -> Done {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        finish(child)
    }

    /// The same, which must end well; gives its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        done.stdout
    }

    /// A server over the usual data folder of this home.
    pub(crate) fn serve(&self) -> Serve {
        Serve::start(self.command(&["serve"]))
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Serve {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Serve {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("said {line:?}")).to_owned();
        Self { child, url }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        signal(&self.child, "TERM");
        wait(&mut self.child);
    }
}

/// Waits for a command's end and reads what it said.
pub(crate) fn finish(mut child: Child) -> Done {
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let code = wait(&mut child);
    Done { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Waits for a process, and kills it when it takes too long.
pub(crate) fn wait(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        pause();
    }
    child.kill().unwrap();
    panic!("a command took too long");
}

/// Sends a signal, by its name.
pub(crate) fn signal(child: &Child, name: &str) {
    let Output { status, .. } =
        Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).output().unwrap();
    assert!(status.success() || name == "TERM", "kill -{name}");
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        pause();
    }
}

/// The lines of a file, none if there is no such file.
pub(crate) fn lines_of(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[expect(clippy::disallowed_methods, reason = "another process's progress cannot be waited for otherwise")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            BufReader::new(pipe).read_to_end(&mut bytes).unwrap();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
