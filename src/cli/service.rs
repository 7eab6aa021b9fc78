//! The service manager: readiness, reloads and the watchdog of a systemd unit of `Type=notify`.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. The watchdog is fed while a restart would not help: a store that accepts
//! no writes until the next start, or that waits for a disk that does not respond, lets it expire.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::server::Server;

/// Reports a state to the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// Reports that the server accepts connections.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports that the settings are being read again; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Reports that the server shuts down.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, if the unit has one, while the store works. Never returns.
pub(super) async fn feed_watchdog(server: &Server) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = interval((limit / 3).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = false;
    loop {
        ticks.tick().await;
        match server.needs_restart() {
            None => {
                reported = false;
                notify(&[NotifyState::Watchdog]);
            }
            Some(reason) if !reported => {
                reported = true;
                tracing::error!(reason, "the watchdog is no longer fed: the store needs a restart");
                notify(&[NotifyState::Status(&reason)]);
            }
            Some(_) => {}
        }
    }
}
