//! `run --notify`: a notice on the terminal at the end of the command.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use super::text;
use crate::model::command_line;
use crate::worker::Masks;

/// Maximum characters of the command in a notice.
const COMMAND_CHARS_MAX: usize = 80;

/// A notice about the end of a command.
pub(super) struct EndNotice {
    command: String,
    began: Instant,
}

impl EndNotice {
    /// Creates the notice at the start of the command.
    pub(super) fn new(command: &[OsString], masks: &Masks) -> Self {
        let words: Vec<String> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Self { command: masks.text(&command_line(&words)), began: Instant::now() }
    }

    /// Writes the notice to stderr if it is a terminal.
    pub(super) fn show(&self, exit_code: u8) {
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            let notice = sequences(&self.command, &self.outcome(exit_code));
            // A terminal that is gone needs no notice.
            stderr.write_all(notice.as_bytes()).and_then(|()| stderr.flush()).ok();
        }
    }

    fn outcome(&self, exit_code: u8) -> String {
        format!("exit code {exit_code} after {}", text::duration(self.began.elapsed()))
    }
}

/// Returns the sequences of a notice: OSC 9 (iTerm2, Windows Terminal, kitty), OSC 777 (urxvt, VTE, foot), which other
/// terminals ignore, and the bell.
fn sequences(command: &str, outcome: &str) -> String {
    // A control character would end the sequence, a semicolon its field.
    let plain: String = text::words(command).replace(';', ",");
    let mut short: String = plain.chars().take(COMMAND_CHARS_MAX).collect();
    if short.len() < plain.len() {
        short.push('…');
    }
    format!("\x1b]9;{short}: {outcome}\x07\x1b]777;notify;{short};{outcome}\x07\x07")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_leave_its_field() {
        assert_eq!(
            sequences("make\x07\x1b]52;c;eA==\x07 -j8; true", "exit code 2 after 3m05s"),
            "\x1b]9;make -j8, true: exit code 2 after 3m05s\x07\x1b]777;notify;make -j8, true;exit code 2 after 3m05s\x07\x07"
        );
        let long = sequences(&"x".repeat(100), "exit code 0 after 1.0s");
        assert!(long.contains(&format!(";{}…:", "x".repeat(80))), "{long}");
    }
}
