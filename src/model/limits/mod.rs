//! Every limit with its name and its default; units come last in the names. The configurable ones are
//! rows of one table, [`Limits`]. The constants are part of the protocols or not worth a setting.

mod table;
mod unit;

use std::time::Duration;

pub use table::{Limit, LimitCounters, Limits};

/// Maximum length of a task id, in characters.
pub const TASK_ID_CHARS_MAX: usize = 128;
/// Maximum bytes of one line; a longer one is split, and all but its last piece are marked `partial`.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Maximum bytes of one WebSocket message to the server; a larger one is skipped with an error.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Default limit of a worker's local log on disk (`spool_bytes_max`), unless a quarter of the free space is less.
pub const LOCAL_LOG_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Limit of a worker's local log in memory, used if no file can be created.
pub const LOCAL_LOG_MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// Interval of pings on a WebSocket and of comments on an SSE stream.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time after which a peer that accepts no data is dropped.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time of a shutdown; then remaining connections are dropped.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for workers to reconnect to a server that has started, even if their grace is over.
pub const RECONNECT_WINDOW: Duration = Duration::from_secs(15);
/// Default number of lines in one page of the lines route.
pub const PAGE_LINES_DEFAULT: usize = 1_000;
/// Maximum number of lines in one page of the lines route.
pub const PAGE_LINES_MAX: usize = 10_000;
/// Maximum number of lines in one read of a follower.
pub const TAIL_PAGE_LINES: usize = 500;
/// Maximum bytes of text in one read of a follower; at least one line is returned.
pub const TAIL_PAGE_BYTES: usize = 256 * 1024;
/// Maximum bytes of an HTTP request body that is not a stream of lines.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Maximum bytes of a session id.
pub const SESSION_BYTES_MAX: usize = 128;
/// Maximum number of labels of one task.
pub const LABELS_MAX: usize = 64;
/// Maximum bytes of a label's key or value, a host name or a worker's name.
pub const WORD_BYTES_MAX: usize = 1024;
/// Maximum bytes of a task's command line, all arguments together.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Default address of the server.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7117";
/// Maximum bytes of one event as compact JSON.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Minimum time between two redraws of the dashboard; after a longer pause it redraws at once.
pub const DASHBOARD_REFRESH: Duration = Duration::from_millis(30);
/// Interval of checks of a followed file when the system reports no change.
pub const FILE_POLL: Duration = Duration::from_secs(1);
/// Upper bounds of the buckets of a histogram of latencies, in seconds.
pub const LATENCY_BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
