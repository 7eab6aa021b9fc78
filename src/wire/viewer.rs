//! The viewer protocol: `GET /ws/v1/tasks/{id}` and, with `task_id` in every message, `GET /ws/v1/follow`.
//!
//! ```text
//! open, then any of lines | gap | partial | status | reset, then end and close 1000
//! ```

use serde::{Deserialize, Serialize};

use crate::model::{Cursor, Gap, Line, PartialLine, Task};

/// A message from the server to a viewer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The task at the start; lines follow.
    Open {
        /// Current details of the task.
        task: Task,
        /// Identifies the log; a cursor of another log is answered with `reset`.
        epoch: String,
        /// First line that can be read; 0 if there is none yet.
        first_line: u64,
        /// Last line that can be read; 0 if there is none yet.
        last_line: u64,
    },
    /// Consecutive lines.
    Lines {
        /// At least one line.
        lines: Vec<Line<'static>>,
        /// Position after the last of them.
        cursor: Cursor,
    },
    /// A gap in the lines.
    Gap {
        /// Range and reason.
        #[serde(flatten)]
        gap: Gap,
        /// Position after the gap.
        cursor: Cursor,
    },
    /// The current unterminated line of a channel, for a viewer that asked for it with `partial=1`. The next
    /// `lines` replace it, and an empty text removes it.
    Partial {
        /// The line so far.
        line: PartialLine,
    },
    /// The task's details have changed.
    Status {
        /// New details.
        task: Task,
    },
    /// The log is complete.
    End {
        /// Final details.
        task: Task,
        /// Position after the last line.
        cursor: Cursor,
    },
    /// The cursor was of another log, or ahead of this one: reading restarts.
    Reset {
        /// Identifies the new log.
        epoch: String,
        /// Reason, for people.
        reason: String,
    },
    /// A request of the viewer failed.
    Error {
        /// Stable code.
        code: String,
        /// Message for people.
        message: String,
    },
}

/// A server message on a connection that follows several tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaggedMessage {
    /// Task of the message; absent in an error without a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Message.
    #[serde(flatten)]
    pub message: ServerMessage,
}

/// A message from a viewer of several tasks: `GET /ws/v1/follow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FollowRequest {
    /// Follows a task; the parameters are those of the route for one task.
    Subscribe {
        /// Id of the task.
        task: String,
        /// Starts after this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// Starts at this line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Starts this many lines before the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tail: Option<u64>,
        /// Waits until the task exists.
        #[serde(default)]
        wait: bool,
    },
    /// Stops following a task.
    Unsubscribe {
        /// Id of the task.
        task: String,
    },
}
