//! Every limit with its name and its default; units are last in the name. Those that a person can
//! set are rows of one table, [`Limits`]; the constants are part of the protocols or of no use to set.

mod kind;
mod table;

use std::time::Duration;

pub use table::{Hits, Limit, Limits};

/// Characters of a task's id.
pub const TASK_ID_CHARS_MAX: usize = 128;
/// Bytes of one line; a longer one is cut and goes on in the next, marked `partial`.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one WebSocket message from a worker or a viewer; a larger one is skipped with an error.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Lines a worker keeps for a server that is slow or away; then the drop rule.
pub const WORKER_BUFFER_LINES: usize = 10_000;
/// Bytes a worker keeps for a server that is slow or away; then the drop rule.
pub const WORKER_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Bytes on disk that a worker's spool keeps of one task; then the drop rule.
pub const SPOOL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Seconds between two pings on every WebSocket, and between two comments on an SSE stream.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// A peer that takes nothing for this long is given up.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// A shutdown is over after this long, whatever hangs.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Lines in one page of the lines route when the caller names no limit.
pub const PAGE_LINES_DEFAULT: usize = 1_000;
/// Lines in one page of the lines route at most.
pub const PAGE_LINES_MAX: usize = 10_000;
/// Lines in one read of a follower at most.
pub const TAIL_PAGE_LINES: usize = 500;
/// Bytes of text in one read of a follower at most (one line is always given).
pub const TAIL_PAGE_BYTES: usize = 256 * 1024;
/// Bytes of one HTTP request body that is not a stream of lines.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a session's name, in which a sender numbers its lines.
pub const SESSION_BYTES_MAX: usize = 128;
/// Labels of one task.
pub const LABELS_MAX: usize = 64;
/// Bytes of a label's key or value, a host name or a worker's name.
pub const WORD_BYTES_MAX: usize = 1024;
/// Bytes of a task's command line, all arguments together.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// The address of a server when nothing else is said.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7117";
/// Bytes of one event as compact JSON.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Between two drawings of the dashboard at least; what comes after a longer pause is drawn at once.
pub const DASHBOARD_REFRESH: Duration = Duration::from_millis(30);
/// A followed file is looked at this often even when the system reports no change in it.
pub const FILE_POLL: Duration = Duration::from_secs(1);
