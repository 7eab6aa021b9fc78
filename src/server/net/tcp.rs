//! TCP socket options of both ports, accept errors, and the limit of open files.

use std::io;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::model::limits::Limits;
use crate::server::metrics::Metrics;

/// Pause after a failed `accept`, for example due to a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Minimum interval between log lines about failed accepts.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Number of unanswered keepalive probes before a peer is dropped.
const PROBES: u32 = 3;
/// Files reserved for other uses: the store, archives being written, connections being rejected.
const FILES_RESERVED: u64 = 160;
/// Files per connection: its socket, and an archive it may read.
const FILES_PER_CONNECTION: u64 = 2;

/// Sets the options of an accepted socket. Small messages are sent at once. The system detects a peer that
/// vanished silently: it probes an idle peer at each heartbeat, and drops one that has acknowledged nothing
/// for the limit `send_timeout`.
pub(in crate::server) fn configure(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let second = Duration::from_secs(1);
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, limits.heartbeat.max(second))?;
    sockopt::set_tcp_keepintvl(stream, (limits.heartbeat / 2).max(second))?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    set_ack_timeout(stream, limits.send_timeout)
}

/// Sets the time after which the system drops a peer that acknowledges or accepts no data (TCP_USER_TIMEOUT).
pub(in crate::server) fn set_ack_timeout(stream: &TcpStream, time: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, u32::try_from(time.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// The handler of a port's failed accepts.
#[derive(Debug, Default)]
pub(in crate::server) struct AcceptErrors {
    last_logged: Option<Instant>,
}

impl AcceptErrors {
    /// Counts the error, logs it at limited frequency, and pauses.
    pub(in crate::server) async fn record(&mut self, metrics: &Metrics, error: &io::Error) {
        metrics.accept_errors.inc();
        if self.last_logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            self.last_logged = Some(Instant::now());
            tracing::warn!(%error, "failed to accept a connection; retrying");
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Raises the limit of open files to the maximum. Not for a process that starts others, since some
/// programs cannot handle file descriptors above 1,023.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "failed to raise the limit of open files");
    }
}

/// Lowers the connection limits to what the limit of open files permits, and logs a warning. A connection over
/// its limit gets an error, but one without a file descriptor waits unseen, and the store needs files too.
pub(in crate::server) fn lower_limits(limits: &mut Limits, redis: bool) {
    let Some(files) = getrlimit(Resource::Nofile).current else { return };
    let wanted = limits.connections_max.saturating_add(if redis { limits.resp_connections_max } else { 0 });
    let possible = (files.saturating_sub(FILES_RESERVED) / FILES_PER_CONNECTION).max(8);
    if wanted <= possible {
        return;
    }
    let scale =
        |max: u64| u64::try_from(u128::from(max) * u128::from(possible) / u128::from(wanted)).unwrap_or(max).max(1);
    limits.connections_max = scale(limits.connections_max);
    if redis {
        limits.resp_connections_max = scale(limits.resp_connections_max);
    }
    tracing::warn!(
        files,
        connections_max = limits.connections_max,
        resp_connections_max = limits.resp_connections_max,
        "lowered the connection limits, since only {files} files may be open; \
         raise the limit (ulimit -n, or LimitNOFILE= of systemd) to at least {}",
        wanted.saturating_mul(FILES_PER_CONNECTION).saturating_add(FILES_RESERVED)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_limits_are_scaled_down_to_the_open_files() {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let mut limits = Limits { connections_max: files, resp_connections_max: files * 3, ..Limits::default() };
        lower_limits(&mut limits, true);
        let needed = (limits.connections_max + limits.resp_connections_max) * FILES_PER_CONNECTION + FILES_RESERVED;
        assert!(needed <= files.max(FILES_RESERVED + 16 + FILES_PER_CONNECTION), "{needed} of {files}");
        assert!(limits.resp_connections_max.abs_diff(limits.connections_max * 3) <= 3);
    }

    #[test]
    fn low_connection_limits_are_unchanged() {
        let mut limits = Limits { connections_max: 3, resp_connections_max: 2, ..Limits::default() };
        lower_limits(&mut limits, true);
        assert_eq!((limits.connections_max, limits.resp_connections_max), (3, 2));
    }
}
