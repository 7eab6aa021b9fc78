//! Forwarding of signals to the child.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;

/// Maximum number of queued signals.
const SIGNALS_MAX: usize = 64;

/// A receiver of signals intended for the child.
pub(super) struct ForwardedSignals(mpsc::Receiver<Signal>);

impl ForwardedSignals {
    /// Starts listening, except for signals ignored at start (`nohup`). SIGWINCH and SIGCONT are included only
    /// with `has_terminal`.
    pub(super) fn listen(has_terminal: bool) -> io::Result<Self> {
        let ignored = ignored_signals();
        let stream = |kind: SignalKind, wanted: bool| -> io::Result<Option<Stream>> {
            let bit = 1u64 << (kind.as_raw_value() - 1);
            if wanted && ignored & bit == 0 { signal(kind).map(Some) } else { Ok(None) }
        };
        let mut interrupt = stream(SignalKind::interrupt(), true)?;
        let mut terminate = stream(SignalKind::terminate(), true)?;
        let mut hangup = stream(SignalKind::hangup(), true)?;
        let mut resized = stream(SignalKind::window_change(), has_terminal)?;
        let mut continued = stream(SignalKind::from_raw(Signal::CONT.as_raw()), has_terminal)?;
        // A signal that does not fit in the queue duplicates one that is queued.
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    () = recv(&mut interrupt) => Signal::INT,
                    () = recv(&mut terminate) => Signal::TERM,
                    () = recv(&mut hangup) => Signal::HUP,
                    () = recv(&mut resized) => Signal::WINCH,
                    () = recv(&mut continued) => Signal::CONT,
                    () = sender.closed() => return,
                };
                if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(signal) {
                    return;
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Creates a receiver fed by a test.
    #[cfg(test)]
    pub(super) fn from_test(receiver: mpsc::Receiver<Signal>) -> Self {
        Self(receiver)
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Waits for the next signal that asks to stop.
    pub(super) async fn next_stop(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if ![Signal::WINCH, Signal::CONT].contains(&signal) {
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

/// Returns the ignored signals from `/proc`, bit N-1 for signal N; zero without `/proc`.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}
