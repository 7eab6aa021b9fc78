//! Prints data to stdout and messages for people to stderr.
//!
//! Never uses the print macros, which panic if the reader has closed the pipe: a closed pipe is
//! returned as an error, and `main` exits silently on it.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

use anyhow::anyhow;
use serde::Serialize;

use super::text;
use crate::client::{ClientError, Endpoint};
use crate::model::TaskId;

/// The global flags that control the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    quiet: bool,
    json: bool,
}

impl Output {
    pub(super) fn new(quiet: bool, json: bool) -> Self {
        Self { quiet, json }
    }

    /// Reports whether data is printed as JSON.
    pub(super) fn json(self) -> bool {
        self.json
    }

    /// Reports whether only errors are printed to stderr.
    pub(super) fn quiet(self) -> bool {
        self.quiet
    }

    /// Prints a line of data, without its colours if stdout does not support them.
    ///
    /// # Errors
    /// Stdout is closed or full.
    pub(super) fn line(self, line: impl Display) -> io::Result<()> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }

    /// Prints one JSON object as a line of data.
    ///
    /// # Errors
    /// Stdout is closed or full.
    pub(super) fn object(self, object: &impl Serialize) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let object = serde_json::to_string(object)?;
        writeln!(stdout, "{}", text::json(&object, stdout.is_terminal()))?;
        stdout.flush()
    }

    /// Prints a message to stderr, unless `--quiet` is set.
    pub(super) fn note(self, note: impl Display) {
        if !self.quiet {
            print_stderr(&format!("tasktail: {}", text::words(&note.to_string())));
        }
    }

    /// Prints a message about lost data to stderr, also with `--quiet`.
    pub(super) fn loss(self, loss: impl Display) {
        print_stderr(&format!("tasktail: {}", text::words(&loss.to_string())));
    }

    /// Prints a line to stderr without the program's name, unless `--quiet` is set.
    pub(super) fn announce(self, line: impl Display) {
        if !self.quiet {
            print_stderr(&line.to_string());
        }
    }

    /// Prints a question to stderr, without a newline.
    pub(super) fn ask(self, question: impl Display) {
        let mut stderr = anstream::stderr().lock();
        // Without stderr there is no terminal to answer on.
        write!(stderr, "{question}").and_then(|()| stderr.flush()).ok();
    }

    /// Prints an error and its causes to stderr, also with `--quiet`.
    pub(super) fn error(self, error: &anyhow::Error) {
        print_stderr(&format!("tasktail: {}", text::words(&chain(error))));
    }
}

/// Reports whether the error is that the reader of stdout closed it.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    // The client wraps a socket's broken pipe in its own error type.
    error.downcast_ref::<ClientError>().is_none() && error.chain().any(broken)
}

/// Returns the error of a request about one task; a 404 names the task and the server.
pub(super) fn task_error(error: ClientError, task: &TaskId, endpoint: &Endpoint) -> anyhow::Error {
    if !error.is_not_found() {
        return error.into();
    }
    if endpoint.is_in_process() {
        return anyhow!("there is no task `{task}`; list tasks with `tasktail list`");
    }
    let or = if endpoint.token().is_some() { ", or the access token does not cover it" } else { "" };
    anyhow!("there is no task `{task}` at {endpoint}{or}")
}

/// Returns an error with its causes, except those that the text already contains.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if words.is_empty() {
            words = text;
        } else if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
    }
    words
}

fn print_stderr(line: &str) {
    // A closed stderr leaves no place to report the error.
    writeln!(anstream::stderr().lock(), "{line}").ok();
}
