//! Terminals: this process's own, and the one that `--pty` gives to the child.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use pty_process::{Pts, Pty, Size};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::keys::TypedKeys;

/// Reports whether a person can answer a question of the child, such as a pager's.
pub(super) fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The master side of the child's terminal.
pub(super) struct ChildTerminal {
    master: OwnedFd,
    /// Copies the keys typed at this process's terminal.
    keys: Option<TypedKeys>,
}

/// Opens a terminal for a child, with the size of this one.
pub(super) fn open() -> Result<(Pty, Pts), pty_process::Error> {
    let (pty, pts) = pty_process::open()?;
    let (columns, rows) = match own_size() {
        Some(size) => (size.ws_col, size.ws_row),
        None => size_of_environment(|name| std::env::var(name).ok()),
    };
    pty.resize(Size::new(rows, columns))?;
    let mut modes = tcgetattr(&pts).map_err(io::Error::from)?;
    // Lines end with `\n` in the log; this terminal adds its own `\r`.
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(&pts, OptionalActions::Now, &modes).map_err(io::Error::from)?;
    Ok((pty, pts))
}

fn own_size() -> Option<Winsize> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).or_else(|_| tcgetwinsize(stderr()));
    size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0)
}

/// Returns the columns and rows of a terminal without a size: `COLUMNS` and `LINES`, or 80 by 24, which programs
/// assume.
fn size_of_environment(variable: impl Fn(&str) -> Option<String>) -> (u16, u16) {
    let number = |name| variable(name)?.parse::<u16>().ok().filter(|number| *number > 0);
    (number("COLUMNS").unwrap_or(80), number("LINES").unwrap_or(24))
}

impl ChildTerminal {
    /// Wraps the master side after the child was started on the other one. With `typing`, keys typed here are
    /// sent to the child.
    pub(super) fn new(pty: Pty, typing: bool) -> io::Result<Self> {
        let master = OwnedFd::from(pty);
        // Its reader is a separate thread, which may block.
        fcntl_setfl(&master, fcntl_getfl(&master)? - OFlags::NONBLOCK)?;
        let keys = if typing { Some(TypedKeys::copy_to(File::from(master.try_clone()?))?) } else { None };
        Ok(Self { master, keys })
    }

    /// Returns a file to read the child's output from.
    pub(super) fn output(&self) -> io::Result<File> {
        self.master.try_clone().map(File::from)
    }

    /// Copies the size of this terminal to the child's.
    pub(super) fn copy_size(&self) {
        if let Some(size) = own_size() {
            // The call fails if the child has just exited.
            tcsetwinsize(self.master.as_fd(), size).ok();
        }
    }

    /// Gives this process's terminal back before this process stops; `None` if it has none.
    pub(super) fn suspend(&self) -> Option<()> {
        self.keys.as_ref().map(TypedKeys::suspend)
    }

    /// Takes this process's terminal again if this process is in the foreground.
    pub(super) fn resume(&self) {
        self.keys.iter().for_each(TypedKeys::resume);
        self.copy_size();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_size_has_that_of_the_environment() {
        let size = |columns: &str, lines: &str| {
            size_of_environment(|name| Some(if name == "COLUMNS" { columns } else { lines }.to_owned()))
        };
        assert_eq!(size("120", "50"), (120, 50));
        assert_eq!(size("", "0"), (80, 24));
        assert_eq!(size("100000", "x"), (80, 24));
        assert_eq!(size_of_environment(|_| None), (80, 24));
    }
}
