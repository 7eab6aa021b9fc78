//! Messages to the user about lost and restored connections.

use std::fmt::Display;

use tokio::time::Instant;

use super::{DENIED_DELAY, DisconnectReason, Outage, Uplink};

impl Uplink {
    /// Passes a message to the user.
    pub(super) fn note(&self, text: impl Display) {
        (self.options.notes)(&text.to_string());
    }

    /// Records that there is no connection. It is reported at once if there never was one, else after a while.
    pub(super) fn start_outage(&mut self, why: DisconnectReason) {
        if self.outage.is_some() {
            return;
        }
        let (since, skipped_lines) = (Instant::now(), self.shared.skipped_lines());
        let again = self.shared.was_reached();
        self.outage = Some(Outage { since, why, skipped_lines, again, noted: false });
        if !again {
            self.note_outage();
        }
    }

    /// Reports the outage, unless it was reported.
    pub(super) fn note_outage(&mut self) {
        let hint = self.retention_hint();
        let Some(outage) = self.outage.as_mut().filter(|outage| !outage.noted) else { return };
        outage.noted = true;
        let what = if outage.again { "connection lost" } else { "no connection" };
        let text = format!("{what} to {} ({}); the task continues, {hint}", self.server, outage.why);
        self.note(text);
    }

    /// Returns where lines are stored during the outage.
    fn retention_hint(&self) -> String {
        match &self.options.local_log.spool {
            Some(spool) => format!("its lines are stored in {}", spool.display()),
            None => "its lines are kept in a local file until the server returns".to_owned(),
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
        self.outage.get_or_insert(Outage { since, why: why.to_owned(), skipped_lines, again, noted: true });
    }

    /// Logs the new connection and the lines lost during the outage.
    pub(super) fn note_connected(&mut self) {
        self.denied_noted = false;
        let Some(away) = self.outage.take() else { return };
        let again = if away.again { "reconnected" } else { "connected" };
        let seconds = away.since.elapsed().as_secs_f64();
        let skipped = self.shared.skipped_lines() - away.skipped_lines;
        if !away.noted && skipped == 0 {
            return;
        }
        let lost = match skipped {
            0 => "nothing lost".to_owned(),
            1 => "1 line skipped".to_owned(),
            n => format!("{n} lines skipped"),
        };
        self.note(format_args!("{again} to {} after {seconds:.1} s, {lost}", self.server));
        self.shared.push_internal(format!("worker {again} after {seconds:.1} s, {lost}"));
    }
}
