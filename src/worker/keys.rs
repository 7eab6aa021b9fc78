//! This process's own terminal while the command has another one: keys typed here are sent to the command.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stdin;
use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The interval of checks whether this process is in the foreground again. A shell does not always report it.
const FOREGROUND_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };

/// Reports whether this process is in the foreground of a terminal. The child must then stay in the
/// foreground group; otherwise it could not read, and Ctrl-Z would stop only this process.
pub(super) fn is_foreground() -> bool {
    io::stdin().is_terminal() && tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// A thread that copies keys, and the raw mode of this terminal meanwhile. Every key is passed through; the
/// command's terminal echoes it and generates signals.
pub(super) struct TypedKeys {
    modes: Arc<OwnModes>,
    /// Closed on drop, which ends the thread.
    _wake: io::PipeWriter,
}

impl TypedKeys {
    /// Starts to copy keys to the command's terminal. In the background it waits until this process is in the
    /// foreground.
    pub(super) fn copy_to(terminal: File) -> io::Result<Self> {
        let modes = Arc::new(OwnModes { before: tcgetattr(stdin())?, state: Mutex::new(ModesState::Usual) });
        let (ended, wake) = io::pipe()?;
        if is_foreground() {
            modes.enter_raw();
        }
        let thread_modes = Arc::clone(&modes);
        std::thread::Builder::new()
            .name("keys".into())
            .spawn(move || copy_keys(terminal, &thread_modes, &OwnedFd::from(ended)))?;
        Ok(Self { modes, _wake: wake })
    }

    /// Restores this terminal's modes, before this process stops.
    pub(super) fn suspend(&self) {
        self.modes.leave_raw(ModesState::Suspended);
    }

    /// Makes this terminal raw again if this process is in the foreground.
    pub(super) fn resume(&self) {
        *self.modes.state.lock() = ModesState::Usual;
        if is_foreground() {
            self.modes.enter_raw();
        }
    }
}

impl Drop for TypedKeys {
    fn drop(&mut self) {
        self.modes.leave_raw(ModesState::Suspended);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ModesState {
    Usual,
    Raw,
    /// Not to be made raw.
    Suspended,
}

struct OwnModes {
    before: Termios,
    state: Mutex<ModesState>,
}

impl OwnModes {
    fn enter_raw(&self) {
        let mut state = self.state.lock();
        if *state != ModesState::Usual {
            return;
        }
        let mut modes = self.before.clone();
        modes.make_raw();
        // Output still follows this terminal's own modes, so messages are plain lines.
        modes.output_modes = self.before.output_modes;
        modes.input_modes.remove(InputModes::IXON);
        modes.local_modes.remove(LocalModes::ECHO);
        if tcsetattr(stdin(), OptionalActions::Now, &modes).is_ok() {
            *state = ModesState::Raw;
        }
    }

    fn leave_raw(&self, next: ModesState) {
        let mut state = self.state.lock();
        // The shell has set the modes of a terminal that it has taken back, and setting them would stop this process.
        if std::mem::replace(&mut *state, next) == ModesState::Raw && is_foreground() {
            // If the terminal is closed, there are no modes to restore.
            tcsetattr(stdin(), OptionalActions::Now, &self.before).ok();
        }
    }

    /// Notes that the shell has taken the terminal back.
    fn leave_to_shell(&self) {
        let mut state = self.state.lock();
        if *state == ModesState::Raw {
            *state = ModesState::Usual;
        }
    }
}

/// Copies keys until either terminal or `ended` is closed.
fn copy_keys(mut terminal: File, modes: &OwnModes, ended: &OwnedFd) {
    let mut keys = [0; 4096];
    loop {
        // Reading in the background would stop this process.
        let foreground = is_foreground();
        if foreground {
            modes.enter_raw();
        } else {
            modes.leave_to_shell();
        }
        let own = stdin();
        let mut sources = vec![PollFd::new(ended, PollFlags::IN)];
        if foreground {
            sources.push(PollFd::new(&own, PollFlags::IN));
        }
        let timeout = (!foreground).then_some(&FOREGROUND_POLL);
        match poll(&mut sources, timeout) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        if sources.first().is_some_and(|ended| !ended.revents().is_empty()) {
            return;
        }
        if sources.get(1).is_none_or(|own| own.revents().is_empty()) || !is_foreground() {
            continue;
        }
        match io::stdin().lock().read(&mut keys) {
            Ok(0) => return,
            Ok(length) => {
                if terminal.write_all(keys.get(..length).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
