//! The two ways out: data to stdout, words for people to stderr.
//!
//! Nothing is printed by macros that panic when the reader has gone: a closed pipe comes back as
//! an error, and `main` ends quietly on it.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use super::text;

/// What the person wants to see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    quiet: bool,
    json: bool,
}

impl Output {
    pub(super) fn new(quiet: bool, json: bool) -> Self {
        Self { quiet, json }
    }

    /// Whether data is wanted as JSON.
    pub(super) fn json(self) -> bool {
        self.json
    }

    /// Whether only errors are wanted on stderr.
    pub(super) fn quiet(self) -> bool {
        self.quiet
    }

    /// Prints a line of data. Colours in it are dropped where stdout takes none.
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

    /// Says something on stderr, unless quiet is wanted.
    pub(super) fn note(self, note: impl Display) {
        if !self.quiet {
            say(&format!("tasktail: {}", text::words(&note.to_string())));
        }
    }

    /// Says on stderr, without a name before it, what was promised to be there, unless quiet is wanted.
    pub(super) fn announce(self, line: impl Display) {
        if !self.quiet {
            say(&line.to_string());
        }
    }

    /// Says on stderr what went wrong, with its causes, always.
    pub(super) fn error(self, error: &anyhow::Error) {
        say(&format!("tasktail: {}", text::words(&chain(error))));
    }
}

/// Whether stdout was closed by its reader.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    // A socket's broken pipe is told by the client's own errors, which are never the outermost io::Error.
    error.downcast_ref::<crate::client::ClientError>().is_none() && error.chain().any(broken)
}

/// An error and its causes, without those that the text before has said already.
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

fn say(line: &str) {
    // Nobody is left to be told when stderr is gone.
    writeln!(anstream::stderr().lock(), "{line}").ok();
}
