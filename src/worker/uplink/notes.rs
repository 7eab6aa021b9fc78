//! What a person is told of connections that come and go.

use std::fmt::Display;

use tokio::time::Instant;

use super::{Away, DENIED_DELAY, Lost, Uplink};
use crate::model::limits::WORKER_BUFFER_LINES;
use crate::worker::spool::Closed;

impl Uplink {
    /// Says something to whoever runs the worker.
    pub(super) fn note(&self, text: impl Display) {
        (self.options.notes)(&text.to_string());
    }

    /// Said once until there is a connection again.
    pub(super) fn note_lost(&mut self, lost: &Lost) {
        if self.away.is_some() {
            return;
        }
        let again = self.shared.was_reached();
        let what = if again { "connection lost" } else { "no connection" };
        self.note(format_args!("{what} to {} ({lost}): the task goes on, {}", self.server, self.keeping()));
        self.away = Some(Away { since: Instant::now(), skipped_lines: self.shared.skipped_lines(), again });
    }

    /// What the spool has of what could not be delivered.
    pub(super) fn kept(&self, closed: Option<Closed>) -> String {
        let (Some(closed), Some(spool)) = (closed, &self.options.spool) else { return String::new() };
        let dir = spool.dir.display();
        let what = match closed {
            Closed::Kept => format!("they are kept in {dir}"),
            Closed::KeptInPart => format!("not all of it could be written to {dir}"),
            Closed::Removed => return String::new(),
        };
        format!(": {what}: send them with `tasktail spool send {dir}`")
    }

    /// Where the lines are while the server takes none.
    fn keeping(&self) -> String {
        match &self.options.spool {
            Some(spool) => format!("its lines are kept in {}", spool.dir.display()),
            None => format!("up to {WORKER_BUFFER_LINES} lines are kept for the server"),
        }
    }

    /// Said once: a person has to do something, which may take a while.
    pub(super) fn note_denied(&mut self, why: &str) {
        if !std::mem::replace(&mut self.denied, true) {
            self.note(format_args!(
                "{} lets this worker not in ({why}): the task goes on, {}, and every {} s it is tried again",
                self.server,
                self.keeping(),
                DENIED_DELAY.as_secs()
            ));
        }
        let (since, skipped_lines) = (Instant::now(), self.shared.skipped_lines());
        let again = self.shared.was_reached();
        self.away.get_or_insert(Away { since, skipped_lines, again });
    }

    /// What the time without a connection has cost.
    pub(super) fn note_connected(&mut self) {
        self.denied = false;
        let Some(away) = self.away.take() else { return };
        let again = if away.again { "reconnected" } else { "connected" };
        let seconds = away.since.elapsed().as_secs_f64();
        let lost = match self.shared.skipped_lines() - away.skipped_lines {
            0 => "nothing lost".to_owned(),
            1 => "1 line skipped".to_owned(),
            n => format!("{n} lines skipped"),
        };
        self.note(format_args!("{again} to {} after {seconds:.1} s, {lost}", self.server));
        self.shared.push_own(format!("worker {again} after {seconds:.1} s, {lost}"));
    }
}
