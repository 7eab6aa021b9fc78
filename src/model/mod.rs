//! The words of tasktail, without any I/O: ids, cursors, lines, tasks, limits.
//!
//! Everything here is checked once, where it enters (a flag, a path, a message), and is then
//! carried as a type that cannot be wrong.

mod check;
mod clock;
mod cursor;
mod entry;
mod event;
pub(crate) mod glob;
mod hop;
mod id;
mod integrity;
pub(crate) mod json;
pub mod limits;
mod line;
mod origin;
pub mod rate;
mod run;
mod shell;
mod task;
mod time;
pub mod units;
mod view;

pub use clock::{Clock, ClockSeen, Now};
pub use cursor::{BadCursor, Cursor, Epoch};
pub use entry::{Entry, EntryBody, Fields, Octets};
pub use event::{Event, EventFault, EventKind};
pub use hop::{Hop, HopFault, HopMeter, Pipeline};
pub use id::{BadEntryId, BadRunId, BadTaskId, EntryId, RunId, TaskId};
pub use integrity::{BadLineSum, Integrity, IntegrityState, LineSum, Missing, Said, SessionTally, Tally};
pub use line::{BadChannel, Channel, ChannelSet, Gap, GapReason, Line, LineText, Mark};
pub use origin::{Origin, OriginRun, Origins, each_origin, place_of, push_origin};
pub use run::{Gate, Repetition, RepetitionStatus, Row, Run, RunStatus, RunSummary, Step, StepState};
pub use shell::command_line;
pub use task::{Artifact, BadStatus, Task, TaskStatus};
pub use time::{BadTimestamp, Timestamp};
pub use view::{Count, EventView, Moment, Text};
