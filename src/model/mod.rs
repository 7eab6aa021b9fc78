//! The domain types of tasktail, without any I/O: ids, cursors, lines, tasks, limits.
//!
//! Input is validated once, where it enters (a flag, a path, a message), and is then carried as a
//! type that can only hold valid values.

mod attempt;
mod check;
mod clock;
mod cursor;
pub(crate) mod cut;
mod entry;
mod event;
mod event_line;
pub(crate) mod glob;
mod id;
mod integrity;
pub(crate) mod json;
pub mod limits;
mod line;
mod origin;
mod overflow;
mod pty;
pub mod rate;
mod run_state;
mod shell;
mod signal;
mod stage;
mod task;
mod task_events;
mod text_form;
mod time;
pub mod units;
mod view;

pub use attempt::{Attempt, AttemptMode};
pub use clock::{Clock, ClockReading, ClockSnapshot};
pub use cursor::{BadCursor, Cursor, Epoch};
pub use entry::{ByteStr, Entry, EntryBody, EntryFields};
pub use event::{Event, EventError, EventSchema};
pub use event_line::{LinePart, events_in_line};
pub use id::{BadEntryId, BadRunId, BadTaskId, EntryId, RunId, TaskId};
pub use integrity::{
    BadLineChecksum, Integrity, IntegrityState, LineChecksum, LogTotals, MissingLines, ReportedTotals, SessionTotals,
};
pub use line::{BadChannel, Channel, ChannelSet, Gap, GapMarker, GapReason, Line, LineText, PartialLine};
pub use origin::{LineOrigins, Origin, OriginRange, iter_origins, push_origin, session_index};
pub use overflow::Overflow;
pub use pty::PtyMode;
pub use run_state::{
    FailedGate, PipelineStep, Repetition, RepetitionStatus, RunState, RunStatus, RunSummary, StepState, WorkloadRow,
};
pub use shell::command_line;
pub use signal::{signal_name, signal_number};
pub use stage::{Pipeline, Stage, StageCounters, StageError};
pub use task::{Artifact, BadStatus, ErrorCounts, StatusFilter, Task, TaskStatus};
pub use task_events::{RejectedText, TaskEventCounts};
pub use time::{BadTimestamp, Timestamp};
pub use view::{EventText, EventTime, EventView, WholeNumber};
