//! Events out of anything, and what they tell: extraction from any text, the append-only file, the
//! follower of a growing file, and a run's state rebuilt from its events.
//!
//! ```text
//! any text ──> Extractor ──┐                       ┌──> RunFold (state of a run)
//! FileFollower ──> lines ──┤──> Event (with an id) ┤
//! EventLog (events.jsonl) ─┘                       └──> EventLog::append, a server's run
//! ```
//!
//! # Identity
//!
//! Every event has an `event_id` from the first hop of ours on. One that came without is given one
//! there: the fingerprint of what it says, and which of the equal ones on this way it is. So the
//! same event that comes by two ways (a runner's stdout, and the file that a callback writes) is the
//! same on both, while two equal messages on one way are two events. See [`Identities`].

mod extract;
mod fold;
mod follow;
mod identity;
mod log;
mod text;

pub use extract::{Extracted, Extractor, ExtractorOptions, Form, Found, Rejected, TASK_TOKEN, TOKEN, TaskMark};
pub use fold::{ROWS_MAX, RunFold};
pub use follow::{
    FileFollower, FileIdentity, FollowFileError, FollowFileOptions, FollowNotice, Followed, LINE_HELD_BYTES_MAX,
};
pub use identity::Identities;
pub use log::{EventLog, EventStream, LogError, LogFault, Logged, ReadEvents, StreamItem, Sync};
pub use text::{clean, one_line};
