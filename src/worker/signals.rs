//! Signals that are passed on to the child, and their names.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;

/// Signals that wait to be acted on.
const SIGNALS_MAX: usize = 64;

/// The signals this process takes for its child, as they come.
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Takes them, but for those that this process was started to ignore (`nohup`); SIGWINCH only
    /// with `resizes`.
    pub(super) fn take(resizes: bool) -> io::Result<Self> {
        let ignored = ignored_signals();
        let stream = |kind: SignalKind, wanted: bool| -> io::Result<Option<Stream>> {
            let bit = 1u64 << (kind.as_raw_value() - 1);
            if wanted && ignored & bit == 0 { signal(kind).map(Some) } else { Ok(None) }
        };
        let mut interrupt = stream(SignalKind::interrupt(), true)?;
        let mut terminate = stream(SignalKind::terminate(), true)?;
        let mut hangup = stream(SignalKind::hangup(), true)?;
        let mut resized = stream(SignalKind::window_change(), resizes)?;
        // More than a person means: one more than that is one of those that wait already.
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    () = recv(&mut interrupt) => Signal::INT,
                    () = recv(&mut terminate) => Signal::TERM,
                    () = recv(&mut hangup) => Signal::HUP,
                    () = recv(&mut resized) => Signal::WINCH,
                    () = sender.closed() => return,
                };
                if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(signal) {
                    return;
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Signals that a test sends.
    #[cfg(test)]
    pub(super) fn from_test(receiver: mpsc::Receiver<Signal>) -> Self {
        Self(receiver)
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
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
