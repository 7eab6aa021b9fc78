//! Limits and times of the engine.

use std::time::Duration;

/// Lines that one script call appends; a call blocks the shard for about 2 ms.
pub const CALL_LINES_MAX: usize = 500;
/// Bytes of text that one script call appends, unless a single line has more.
pub const CALL_BYTES_MAX: usize = 256 * 1024;
/// Calls of one task that are sent together.
pub(super) const ROUND_CALLS_MAX: usize = 64;
/// Calls of one task that wait; further callers wait for room.
pub(super) const LANE_CALLS_MAX: usize = 256;
/// Time after which a task's lane without calls is closed.
pub(super) const LANE_IDLE: Duration = Duration::from_secs(60);
/// Entries that one read returns.
pub const READ_ENTRIES_MAX: usize = 1_000;
/// Bytes of entries above which the next read returns fewer, and the least number of them.
pub(super) const READ_BYTES_TARGET: usize = 4 * 1024 * 1024;
pub(super) const READ_ENTRIES_MIN: usize = 16;
/// Time after which everything followed is read again, whether or not it was reported as changed.
pub const REREAD_INTERVAL: Duration = Duration::from_secs(5);
/// Interval between two reads where Redis cannot report changes.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time in which a connection must be established, including its start-up commands.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which Redis must answer one request.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which an operation is retried before it fails.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
/// First and longest pause between two attempts.
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
pub(super) const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Buckets of the index.
pub const BUCKETS: u8 = 64;
/// Changes that a bucket of the index remembers; a reader that missed more reads the bucket again.
pub(super) const BUCKET_CHANGES_MAX: usize = 1_000;
/// Lines of a stream above which appends are refused, by default.
pub const STREAM_LINES_MAX: u64 = 22_000;
/// Greatest number that the scripts represent exactly.
pub(super) const NUMBER_MAX: u64 = 1 << 53;
/// Sessions of a task whose last confirmed number a lane remembers.
pub(super) const LANE_SESSIONS_MAX: usize = 64;
/// Time in which replicas must confirm a write; then it is sent again.
pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Fields of an event's entry; Lua passes no more than a few thousand values to a command.
pub const EVENT_FIELDS_MAX: usize = 1_000;
