//! The words of tasktail, without any I/O: ids, cursors, lines, tasks, limits.
//!
//! Everything here is checked once, where it enters (a flag, a path, a message), and is then
//! carried as a type that cannot be wrong.

mod cursor;
mod entry;
mod id;
pub mod limits;
mod line;
mod shell;
mod task;
mod time;

pub use cursor::{BadCursor, Cursor, Epoch};
pub use entry::{Entry, EntryBody, Fields, Octets};
pub use id::{BadEntryId, BadTaskId, EntryId, TaskId};
pub use line::{BadChannel, Channel, ChannelSet, Gap, GapReason, Line, LineText, Mark};
pub use shell::command_line;
pub use task::{Artifact, BadStatus, Task, TaskStatus};
pub use time::{BadTimestamp, Timestamp};
