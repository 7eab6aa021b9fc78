//! The viewer protocol: `GET /ws/v1/tasks/{id}` and, with `task_id` in every message, `GET /ws/v1/follow`.
//!
//! ```text
//! open, then any of lines | gap | status | reset, then end and close 1000
//! ```

use serde::{Deserialize, Serialize};

use crate::model::{Cursor, Gap, Line, Task};

/// What the server sends to a viewer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The task as it is; lines follow.
    Open {
        /// The task's facts now.
        task: Task,
        /// Names the log; a cursor from another one is answered with `reset`.
        epoch: String,
        /// First line that can be read; 0 if there is none yet.
        first_line: u64,
        /// Last line that can be read; 0 if there is none yet.
        last_line: u64,
    },
    /// Some lines, in order, right after the ones before.
    Lines {
        /// At least one.
        lines: Vec<Line<'static>>,
        /// Behind the last of them.
        cursor: Cursor,
    },
    /// Lines that are not there.
    Gap {
        /// Which and why.
        #[serde(flatten)]
        gap: Gap,
        /// Behind the gap.
        cursor: Cursor,
    },
    /// The task's facts have changed.
    Status {
        /// The facts now.
        task: Task,
    },
    /// Nothing more will come.
    End {
        /// The facts at the end.
        task: Task,
        /// Behind the last line.
        cursor: Cursor,
    },
    /// The cursor was of another log, or ahead of this one: reading starts anew.
    Reset {
        /// The log that is read now.
        epoch: String,
        /// In words.
        reason: String,
    },
    /// Something the viewer asked for cannot be done.
    Error {
        /// A stable word.
        code: String,
        /// In words.
        message: String,
    },
}

/// A server message on a connection that follows many tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaggedMessage {
    /// The task it speaks of; absent in an error that concerns none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The message.
    #[serde(flatten)]
    pub message: ServerMessage,
}

/// What a viewer of many tasks sends: `GET /ws/v1/follow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FollowRequest {
    /// Begin with a task; the parameters are those of the single route.
    Subscribe {
        /// The task.
        task: String,
        /// Begin behind this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// Begin at this line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Begin this many lines before the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tail: Option<u64>,
        /// Wait for a task that is not there yet.
        #[serde(default)]
        wait: bool,
    },
    /// No more of this task.
    Unsubscribe {
        /// The task.
        task: String,
    },
}
