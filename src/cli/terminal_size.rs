//! The size of the terminal that stdout is.

use std::io::IsTerminal as _;

/// Returns the terminal's width, if stdout is a terminal.
pub(super) fn terminal_columns() -> Option<usize> {
    terminal_size().map(|(columns, _)| columns)
}

/// Returns the terminal's columns and rows, if stdout is a terminal.
pub(super) fn terminal_size() -> Option<(usize, usize)> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row))).filter(|(columns, _)| *columns > 0)
}
