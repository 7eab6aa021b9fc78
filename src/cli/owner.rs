//! The process that started this one: a test runner, which may be killed without a chance to stop its server.

use std::time::Duration;

use rustix::process::{Pid, getppid};
use tokio::time::sleep;

/// Interval of the checks. A descriptor of the parent would wake this process at once, but needs unsafe code.
const POLL: Duration = Duration::from_millis(200);

/// The parent of this process at the time of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner(Pid);

impl Owner {
    /// Returns the parent; `None` if this process is to outlive it: SIGHUP is ignored, as with `nohup`.
    pub(super) fn of_this_process() -> Option<Self> {
        if is_hangup_ignored() { None } else { getppid().map(Self) }
    }

    /// Waits until the parent, as a process and not as the thread that started this one, has ended.
    pub(super) async fn ended(self) {
        // Orphans get another parent.
        while getppid() == Some(self.0) {
            sleep(POLL).await;
        }
    }
}

/// Reports whether this process was started with SIGHUP ignored.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
