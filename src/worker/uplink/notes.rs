//! Messages to the user about lost and restored connections.

use std::fmt::Display;

use tokio::time::Instant;

use super::{DENIED_DELAY, DisconnectReason, Outage, Uplink};
use crate::model::limits::WORKER_BUFFER_LINES;
use crate::worker::spool::SpoolCloseOutcome;

impl Uplink {
    /// Passes a message to the user.
    pub(super) fn note(&self, text: impl Display) {
        (self.options.notes)(&text.to_string());
    }

    /// Logs a lost connection, once until the next one.
    pub(super) fn note_lost(&mut self, lost: &DisconnectReason) {
        if self.outage.is_some() {
            return;
        }
        let again = self.shared.was_reached();
        let what = if again { "connection lost" } else { "no connection" };
        self.note(format_args!("{what} to {} ({lost}); the task continues, {}", self.server, self.retention_hint()));
        self.outage = Some(Outage { since: Instant::now(), skipped_lines: self.shared.skipped_lines(), again });
    }

    /// Returns a hint about undelivered lines in the spool.
    pub(super) fn spool_hint(&self, closed: Option<SpoolCloseOutcome>) -> String {
        let (Some(closed), Some(spool)) = (closed, &self.options.spool) else { return String::new() };
        let dir = spool.dir.display();
        let what = match closed {
            SpoolCloseOutcome::Retained => format!("stored in {dir}"),
            SpoolCloseOutcome::PartlyRetained => format!("only partly stored in {dir}"),
            SpoolCloseOutcome::Removed => return String::new(),
        };
        format!("; {what}; send with `tasktail spool send {dir}`")
    }

    /// Returns where lines are stored during the outage.
    fn retention_hint(&self) -> String {
        match &self.options.spool {
            Some(spool) => format!("its lines are stored in {}", spool.dir.display()),
            None => format!("up to {WORKER_BUFFER_LINES} lines are buffered"),
        }
    }

    /// Logs a rejected token once: fixing it requires the user and may last a while.
    pub(super) fn note_denied(&mut self, why: &str) {
        if !std::mem::replace(&mut self.denied_noted, true) {
            self.note(format_args!(
                "{} rejected this worker ({why}); the task continues, {}; retrying every {} s",
                self.server,
                self.retention_hint(),
                DENIED_DELAY.as_secs()
            ));
        }
        let (since, skipped_lines) = (Instant::now(), self.shared.skipped_lines());
        let again = self.shared.was_reached();
        self.outage.get_or_insert(Outage { since, skipped_lines, again });
    }

    /// Logs the new connection and the lines lost during the outage.
    pub(super) fn note_connected(&mut self) {
        self.denied_noted = false;
        let Some(away) = self.outage.take() else { return };
        let again = if away.again { "reconnected" } else { "connected" };
        let seconds = away.since.elapsed().as_secs_f64();
        let lost = match self.shared.skipped_lines() - away.skipped_lines {
            0 => "nothing lost".to_owned(),
            1 => "1 line skipped".to_owned(),
            n => format!("{n} lines skipped"),
        };
        self.note(format_args!("{again} to {} after {seconds:.1} s, {lost}", self.server));
        self.shared.push_internal(format!("worker {again} after {seconds:.1} s, {lost}"));
    }
}
