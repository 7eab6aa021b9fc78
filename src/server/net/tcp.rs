//! What both ports do with a TCP socket, and with the files that sockets are.

use std::io;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::model::limits::Limits;
use crate::server::metrics::Metrics;

/// A pause after the system refused a connection (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two words about connections that could not be accepted.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A silent peer is asked this often before it is given up.
const PROBES: u32 = 3;
/// Files for everything but connections: the store, archives that are written, sockets being refused.
const FILES_RESERVED: u64 = 160;
/// Files of a connection: its socket, and an archive it may read.
const FILES_EACH: u64 = 2;

/// Small messages go at once, and the system notices a peer that has gone without a word: it is asked
/// each heartbeat, and given up when it has confirmed nothing for as long as it may take nothing.
pub(in crate::server) fn prepare(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let second = Duration::from_secs(1);
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, limits.heartbeat.max(second))?;
    sockopt::set_tcp_keepintvl(stream, (limits.heartbeat / 2).max(second))?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    confirm_within(stream, limits.send_timeout)
}

/// For how long a peer may confirm nothing, or take nothing.
pub(in crate::server) fn confirm_within(stream: &TcpStream, time: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, u32::try_from(time.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// What a port does when the system gives it no connection.
#[derive(Debug, Default)]
pub(in crate::server) struct AcceptErrors {
    told: Option<Instant>,
}

impl AcceptErrors {
    /// Counts the error, tells it once in a while, and waits a moment.
    pub(in crate::server) async fn note(&mut self, metrics: &Metrics, error: &io::Error) {
        metrics.accept_errors.inc();
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, "a connection could not be accepted; it is tried again");
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Lets this process have as many files open as the system allows it. A process that starts others
/// should not: some of them cannot use a file whose number is above 1,023.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files could not be raised");
    }
}

/// Lowers the limits of connections to what the files that may be open suffice for, and says so: a
/// connection too many is told, but one without a file waits unseen, and the store needs files too.
pub(in crate::server) fn fit(limits: &mut Limits, redis: bool) {
    let Some(files) = getrlimit(Resource::Nofile).current else { return };
    let wanted = limits.connections_max.saturating_add(if redis { limits.resp_connections_max } else { 0 });
    let places = (files.saturating_sub(FILES_RESERVED) / FILES_EACH).max(8);
    if wanted <= places {
        return;
    }
    let part =
        |max: u64| u64::try_from(u128::from(max) * u128::from(places) / u128::from(wanted)).unwrap_or(max).max(1);
    limits.connections_max = part(limits.connections_max);
    if redis {
        limits.resp_connections_max = part(limits.resp_connections_max);
    }
    tracing::warn!(
        files,
        connections_max = limits.connections_max,
        resp_connections_max = limits.resp_connections_max,
        "only {files} files may be open: fewer connections are served than was set; \
         raise the limit (ulimit -n, or LimitNOFILE= of systemd) to at least {}",
        wanted.saturating_mul(FILES_EACH).saturating_add(FILES_RESERVED)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_files_there_are() {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let mut limits = Limits { connections_max: files, resp_connections_max: files * 3, ..Limits::default() };
        fit(&mut limits, true);
        let taken = (limits.connections_max + limits.resp_connections_max) * FILES_EACH + FILES_RESERVED;
        assert!(taken <= files.max(FILES_RESERVED + 16 + FILES_EACH), "{taken} of {files}");
        assert!(limits.resp_connections_max.abs_diff(limits.connections_max * 3) <= 3);
    }

    #[test]
    fn few_connections_stay_as_they_were_set() {
        let mut limits = Limits { connections_max: 3, resp_connections_max: 2, ..Limits::default() };
        fit(&mut limits, true);
        assert_eq!((limits.connections_max, limits.resp_connections_max), (3, 2));
    }
}
