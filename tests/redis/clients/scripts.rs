//! The scripts of `tests/clients/`, run against a server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use crate::clients::servers::{LIMIT, Server, against_both, needed};

#[test]
fn redis_py_sync() {
    for protocol in ["2", "3"] {
        against_both(|server| passes(python("redis_py.py"), protocol, server));
    }
}

#[test]
fn redis_py_asyncio() {
    for protocol in ["2", "3"] {
        against_both(|server| passes(python("redis_py_async.py"), protocol, server));
    }
}

#[test]
fn ioredis() {
    for protocol in ["2", "3"] {
        against_both(|server| passes(node("ioredis.mjs"), protocol, server));
    }
}

#[test]
fn node_redis() {
    for protocol in ["2", "3"] {
        against_both(|server| passes(node("node_redis.mjs"), protocol, server));
    }
}

/// Runs a script to its `done`.
fn passes(mut command: Command, protocol: &str, server: &mut Server) {
    command.args([&server.resp.to_string(), protocol]);
    let said = converse(command, |word| match word {
        "restart" => {
            server.restart();
            Some("restarted".to_owned())
        }
        _ => None,
    });
    assert_eq!(said.last().map(String::as_str), Some("done"), "{:?}: {said:?}", server.which);
}

/// Python of the environment the tests have of their own, with a script.
pub(crate) fn python(script: &str) -> Command {
    let mut command = Command::new(python_program());
    command.arg(path(script));
    command
}

/// Python of the environment the tests have of their own.
pub(crate) fn python_program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/clients/venv/bin/python");
    assert!(program.is_file(), "this test needs redis-py in target/clients/venv: run scripts/test, which installs it");
    program
}

fn node(script: &str) -> Command {
    assert!(
        path("node_modules/ioredis").is_dir() && path("node_modules/redis").is_dir(),
        "this test needs ioredis and node-redis: run scripts/test, or npm ci --prefix tests/clients"
    );
    let mut command = Command::new(needed("node", "nodejs"));
    command.arg(path(script));
    command
}

/// Something of `tests/clients/`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a command to its good end and gives the lines it said; it gets an answer to those that
/// `answer` has one for.
pub(crate) fn converse(mut command: Command, mut answer: impl FnMut(&str) -> Option<String>) -> Vec<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command is there");
    let mut stdin = child.stdin.take().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut stderr = child.stderr.take().unwrap();
    let complaints = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));

    let mut said = Vec::new();
    let ended = loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) => {
                if let Some(answer) = answer(&line) {
                    // A script that is gone says why on stderr, which is shown below.
                    let _gone = writeln!(stdin, "{answer}");
                }
                said.push(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
        }
    };
    drop(stdin);
    let status = end(child, ended);
    let complaints = complaints.join().unwrap();
    assert!(
        ended && status.success(),
        "{command:?} {}\nit said:\n{}\nand complained:\n{complaints}",
        if ended { status.to_string() } else { format!("said nothing for {LIMIT:?}") },
        said.join("\n"),
    );
    said
}

fn end(mut child: Child, ended: bool) -> ExitStatus {
    if !ended {
        child.kill().unwrap();
    }
    child.wait().unwrap()
}
