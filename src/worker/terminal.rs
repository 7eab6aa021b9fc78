//! Terminals: the one this process runs on, and the one that `--pty` gives the child.

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

/// Whether a person at a terminal speaks to this process: the child must then stay in the
/// terminal's foreground group, or it could not read, and Ctrl-Z would stop only this process.
pub(super) fn is_foreground() -> bool {
    io::stdin().is_terminal() && tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The child's own terminal, seen from this side.
pub(super) struct ChildTerminal {
    master: OwnedFd,
    /// Put back when this goes.
    _own: Option<RawTerminal>,
}

/// A new terminal for a child, of the size of this one.
pub(super) fn open() -> Result<(Pty, Pts), pty_process::Error> {
    let (pty, pts) = pty_process::open()?;
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin()));
    // 80 by 24 is what programs take for granted where nobody says.
    let size = size.ok().filter(|size| size.ws_col > 0).map_or(Size::new(24, 80), |s| Size::new(s.ws_row, s.ws_col));
    pty.resize(size)?;
    let mut modes = tcgetattr(&pts).map_err(io::Error::from)?;
    // Lines end with `\n` in the log; this terminal adds its own `\r`.
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(&pts, OptionalActions::Now, &modes).map_err(io::Error::from)?;
    Ok((pty, pts))
}

impl ChildTerminal {
    /// Takes over the near end once the child runs on the far one. With `typing`, what is typed
    /// here goes to the child.
    pub(super) fn new(pty: Pty, typing: bool) -> io::Result<Self> {
        let master = OwnedFd::from(pty);
        // Read by a thread of its own, which may wait.
        fcntl_setfl(&master, fcntl_getfl(&master)? - OFlags::NONBLOCK)?;
        let own = if typing { Some(RawTerminal::new()?) } else { None };
        if typing {
            let keys = File::from(master.try_clone()?);
            std::thread::Builder::new().name("keys".into()).spawn(move || copy_keys(keys))?;
        }
        Ok(Self { master, _own: own })
    }

    /// Where the child's output comes from.
    pub(super) fn output(&self) -> io::Result<File> {
        self.master.try_clone().map(File::from)
    }

    /// Copies the size of this terminal to the child's.
    pub(super) fn copy_size(&self) {
        if let Ok(size) = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())) {
            // A child that has just gone has no size.
            tcsetwinsize(self.master.as_fd(), size).ok();
        }
    }
}

/// Ends when the child's terminal or this one is gone; until then it waits for keys.
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

/// This terminal hands every key through; the child's terminal echoes and makes signals of them.
struct RawTerminal(Termios);

impl RawTerminal {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut modes = before.clone();
        modes.make_raw();
        // Output still goes through this terminal's own rules: notes are plain lines.
        modes.output_modes = before.output_modes;
        modes.input_modes.remove(InputModes::IXON);
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The terminal may be gone, and with it whoever would mind.
        tcsetattr(stdin(), OptionalActions::Now, &self.0).ok();
    }
}
