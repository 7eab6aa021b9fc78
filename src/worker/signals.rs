//! Signals that are passed on to the child, and their names.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// The signals this process takes for its child.
pub(super) struct Signals {
    interrupt: Option<Stream>,
    terminate: Option<Stream>,
    hangup: Option<Stream>,
    resized: Option<Stream>,
}

impl Signals {
    /// Takes them, but for those that this process was started to ignore (`nohup`).
    pub(super) fn take(resizes: bool) -> io::Result<Self> {
        let ignored = ignored_signals();
        let stream = |kind: SignalKind| -> io::Result<Option<Stream>> {
            let bit = 1u64 << (kind.as_raw_value() - 1);
            if ignored & bit == 0 { signal(kind).map(Some) } else { Ok(None) }
        };
        Ok(Self {
            interrupt: stream(SignalKind::interrupt())?,
            terminate: stream(SignalKind::terminate())?,
            hangup: stream(SignalKind::hangup())?,
            resized: if resizes { stream(SignalKind::window_change())? } else { None },
        })
    }

    /// Waits for the next one; SIGWINCH only if asked for.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = recv(&mut self.interrupt) => Signal::INT,
            () = recv(&mut self.terminate) => Signal::TERM,
            () = recv(&mut self.hangup) => Signal::HUP,
            () = recv(&mut self.resized) => Signal::WINCH,
        }
    }

    /// Waits for the next one that asks to stop.
    pub(super) async fn next_stop(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if signal != Signal::WINCH {
                return signal;
            }
        }
    }
}

async fn recv(stream: &mut Option<Stream>) {
    if let Some(stream) = stream
        && stream.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// Bit N-1 for signal N, as the kernel tells in `/proc`; none where there is no `/proc`.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// `SIGTERM` for 15; `signal N` for one without a common name.
pub(super) fn name(signal: i32) -> String {
    const NAMES: [(i32, &str); 16] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (10, "SIGUSR1"),
        (11, "SIGSEGV"),
        (12, "SIGUSR2"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (24, "SIGXCPU"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}
