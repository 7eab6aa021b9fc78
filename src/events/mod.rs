//! Events: extraction from any text, the append-only file, the follower of a growing file, and a run's
//! state rebuilt from its events.
//!
//! ```text
//! any text ──> Extractor ──┐                       ┌──> RunFold (state of a run)
//! FileFollower ──> lines ──┤──> Event (with an id) ┤
//! EventLog (events.jsonl) ─┘                       └──> EventLog::append, a server's run
//! ```
//!
//! # Identity
//!
//! Every event has an `event_id` from the first stage on. An event without one is assigned its
//! fingerprint, a hash of its content, and its number among equal events of the same source. So an
//! event that arrives twice (on a runner's stdout, and in the file that a callback writes) has the same
//! id on both, while two equal messages in one source are two events. See [`Identities`].

pub mod budget;
mod extract;
mod fold;
mod follow;
mod identity;
mod log;
mod text;

pub use extract::{
    EventNotation, ExtractedEvent, ExtractedItem, Extractor, ExtractorOptions, MalformedEvent, TASK_TOKEN, TOKEN,
    TaskMark,
};
pub use fold::{ROWS_MAX, RunFold};
pub use follow::{
    FileFollower, FileIdentity, FileMark, FollowFileError, FollowFileOptions, FollowItem, FollowNotice,
    LINE_HELD_BYTES_MAX, LostContent, Resumption,
};
pub use identity::Identities;
pub use log::{EventLog, EventStream, LogError, LogFault, LoggedEvent, ReadEvents, StreamItem, SyncMode};
pub use text::{clean, excerpt, one_line, without_time};
