//! The unterminated line of each channel, sent for viewers only: `partial` messages.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Channel, TaskId, Timestamp};
use crate::wire::worker::OutgoingMessage;

/// Minimum interval between two messages of a channel, and maximum delay of one.
const INTERVAL: Duration = Duration::from_millis(200);
/// Bytes of a line beyond which only what follows a carriage return is sent: a progress bar draws over the rest.
const REDRAWN_BYTES: usize = 4 * 1024;
/// Channels of the command.
const CHANNELS: [Channel; 2] = [Channel::Stdout, Channel::Stderr];

/// The unterminated lines as sent on the current connection.
#[derive(Debug, Default)]
pub(super) struct PendingLines {
    sent: [String; 2],
    /// Time of the next messages, if there is something to send.
    due: Option<Instant>,
}

impl PendingLines {
    /// Records that a line of this channel was sent, which ends the unterminated one.
    pub(super) fn line_sent(&mut self, channel: Channel) {
        if let Some(sent) = self.sent.get_mut(channel as usize) {
            sent.clear();
        }
    }

    /// Returns the time of the next messages, if a line has changed.
    pub(super) fn due(&mut self, pending: impl Fn(Channel) -> Option<String>, now: Instant) -> Option<Instant> {
        let changed = |channel: Channel| {
            let sent = self.sent.get(channel as usize).map_or("", String::as_str);
            shown(pending(channel)) != sent
        };
        if CHANNELS.into_iter().any(changed) {
            self.due.get_or_insert(now + INTERVAL);
        } else {
            self.due = None;
        }
        self.due
    }

    /// Returns the messages that are due.
    pub(super) fn take(
        &mut self,
        task: &TaskId,
        pending: impl Fn(Channel) -> Option<String>,
        now: Instant,
    ) -> Vec<String> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        let mut messages = Vec::new();
        for channel in CHANNELS {
            let Some(sent) = self.sent.get_mut(channel as usize) else { continue };
            let line = shown(pending(channel));
            if *sent == line {
                continue;
            }
            let message = OutgoingMessage::Partial {
                work_request_id: task.as_str(),
                stream: channel,
                line: &line,
                timestamp: Timestamp::now(),
            };
            // A struct of strings always serializes.
            messages.extend(serde_json::to_string(&message));
            *sent = line;
        }
        messages
    }
}

/// Returns the part of an unterminated line that is sent: of a long progress bar, what is visible.
fn shown(pending: Option<String>) -> String {
    let text = pending.unwrap_or_default();
    let recent = text.len().saturating_sub(REDRAWN_BYTES);
    if recent == 0 {
        return text;
    }
    let newest = text.get(text.ceil_char_boundary(recent)..).unwrap_or_default();
    match newest.find('\r').and_then(|at| newest.get(at + 1..)) {
        Some(visible) if !visible.is_empty() => visible.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::LINE_BYTES_MAX;

    fn lines(messages: &[String]) -> Vec<String> {
        let parse = |text: &String| serde_json::from_str::<serde_json::Value>(text).unwrap();
        messages.iter().map(|text| format!("{}: {}", parse(text)["stream"], parse(text)["line"])).collect()
    }

    #[test]
    fn a_line_is_sent_once_per_change_and_interval() {
        let task: TaskId = "t".parse().unwrap();
        let now = Instant::now();
        let mut partials = PendingLines::default();
        let none = |_: Channel| None;
        let prompt = |channel| (channel == Channel::Stdout).then(|| "Name: ".to_owned());
        assert_eq!(partials.due(none, now), None);
        assert_eq!(partials.due(prompt, now), Some(now + INTERVAL));
        assert_eq!(partials.due(prompt, now + INTERVAL / 2), Some(now + INTERVAL), "output does not postpone it");
        assert_eq!(partials.take(&task, prompt, now + INTERVAL / 2), [""; 0]);
        let later = now + INTERVAL;
        assert_eq!(lines(&partials.take(&task, prompt, later)), ["\"stdout\": \"Name: \""]);
        assert_eq!(partials.due(prompt, later), None);
        assert_eq!(partials.due(none, later), Some(later + INTERVAL), "it was discarded");
        assert_eq!(lines(&partials.take(&task, none, later + INTERVAL)), ["\"stdout\": \"\""]);
        // The same prompt again, after its line.
        partials.due(prompt, later);
        partials.take(&task, prompt, later + INTERVAL);
        partials.line_sent(Channel::Stdout);
        assert!(partials.due(prompt, later).is_some() && partials.due(none, later).is_none());
    }

    #[test]
    fn of_a_long_progress_bar_the_visible_part_is_sent() {
        let bar: String = (0..2_000).map(|n| format!("\r{n} of 2000")).collect();
        let text = shown(Some(bar));
        assert!(text.len() <= REDRAWN_BYTES && text.ends_with("\r1999 of 2000"), "{}", text.len());
        assert_eq!(shown(Some("x".repeat(LINE_BYTES_MAX))).len(), LINE_BYTES_MAX);
    }
}
