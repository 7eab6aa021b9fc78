//! Terminals: this process's own, and the one that `--pty` gives to the child.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use pty_process::{Pts, Pty, Size};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};

/// Reports whether this process is in the foreground of a terminal. The child must then stay in the
/// foreground group; otherwise it could not read, and Ctrl-Z would stop only this process.
pub(super) fn is_foreground() -> bool {
    io::stdin().is_terminal() && tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The master side of the child's terminal.
pub(super) struct ChildTerminal {
    master: OwnedFd,
    /// Restores this terminal's modes on drop.
    _own: Option<RawTerminal>,
}

/// Opens a terminal for a child, with the size of this one.
pub(super) fn open() -> Result<(Pty, Pts), pty_process::Error> {
    let (pty, pts) = pty_process::open()?;
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin()));
    // Programs assume 80 by 24 if the size is unknown.
    let size = size.ok().filter(|size| size.ws_col > 0).map_or(Size::new(24, 80), |s| Size::new(s.ws_row, s.ws_col));
    pty.resize(size)?;
    let mut modes = tcgetattr(&pts).map_err(io::Error::from)?;
    // Lines end with `\n` in the log; this terminal adds its own `\r`.
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(&pts, OptionalActions::Now, &modes).map_err(io::Error::from)?;
    Ok((pty, pts))
}

impl ChildTerminal {
    /// Wraps the master side after the child was started on the other one. With `typing`, keys typed here are
    /// sent to the child.
    pub(super) fn new(pty: Pty, typing: bool) -> io::Result<Self> {
        let master = OwnedFd::from(pty);
        // Its reader is a separate thread, which may block.
        fcntl_setfl(&master, fcntl_getfl(&master)? - OFlags::NONBLOCK)?;
        let own = if typing { Some(RawTerminal::new()?) } else { None };
        if typing {
            let keys = File::from(master.try_clone()?);
            std::thread::Builder::new().name("keys".into()).spawn(move || copy_keys(keys))?;
        }
        Ok(Self { master, _own: own })
    }

    /// Returns a file to read the child's output from.
    pub(super) fn output(&self) -> io::Result<File> {
        self.master.try_clone().map(File::from)
    }

    /// Copies the size of this terminal to the child's.
    pub(super) fn copy_size(&self) {
        if let Ok(size) = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())) {
            // The call fails if the child has just exited.
            tcsetwinsize(self.master.as_fd(), size).ok();
        }
    }
}

/// Copies keys until either terminal is closed.
fn copy_keys(mut child: File) {
    let mut keys = [0; 4096];
    loop {
        match io::stdin().lock().read(&mut keys) {
            Ok(0) => return,
            Ok(length) => {
                if child.write_all(keys.get(..length).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The raw mode of this terminal. Every key is passed through; the child's terminal echoes it and generates
/// signals.
struct RawTerminal(Termios);

impl RawTerminal {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut modes = before.clone();
        modes.make_raw();
        // Output still follows this terminal's own modes, so messages are plain lines.
        modes.output_modes = before.output_modes;
        modes.input_modes.remove(InputModes::IXON);
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // If the terminal is closed, there are no modes to restore.
        tcsetattr(stdin(), OptionalActions::Now, &self.0).ok();
    }
}
