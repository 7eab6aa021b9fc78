//! The shared journal: tasks in a Redis or Valkey that several servers use.
//!
//! Each task is a stream, as other clients know it, and a hash with its facts. A change of a task is one Lua script in
//! the task's slot, so no server owns a task and no change depends on a lease. Readers are woken by client tracking
//! and read what changed; they number the entries of other clients before they show them.
//!
//! ```text
//! Engine -> lane (appends and the end of a task, in order; round, calls, sessions) -> router -> node -> Redis
//!        -> task, open, keep, lease, index, runs, secrets (other steps) -----------/     ^ topology (who holds a key)
//!        -> tail, watches (woken by signals, which a node sets) ------------------/
//! ```
//!
//! A server that gives up a request does not know whether it was applied. So every script can be sent again: lines
//! have sessions and numbers, ends have a token, creations a birth, events a print.

mod adopt;
mod batch;
mod calls;
mod checks;
mod connect;
mod counters;
mod engine;
mod entry;
mod error;
mod index;
mod keep;
mod keys;
mod lane;
mod lease;
pub mod limits;
mod node;
mod open;
mod reopen;
mod round;
mod router;
mod runs;
mod script;
mod secrets;
mod sessions;
mod signals;
mod state;
mod tail;
mod task;
mod topology;
mod url;
mod value;

pub use adopt::{AdoptReply, SealedTask};
pub use batch::{SharedAck, SharedBatch, SharedLine, SharedNumbering, StoreReply};
pub use calls::EndReply;
pub use checks::JournalDurability;
pub use counters::EngineCounts;
pub use engine::{Engine, EngineOptions};
pub use entry::{SharedEntry, SharedOrigin};
pub use error::EngineError;
pub use index::{IndexChange, IndexWatch};
pub use keep::{ArchivedLines, KeepReply};
pub use keys::bucket_of;
pub use lease::Fence;
pub use runs::{RunAck, SharedEventRow};
pub use secrets::{SecretWatch, StoredSecret};
pub use state::{SharedStatus, SharedTask};
pub use tail::{SharedEvent, Tail};
pub use task::{CreateReply, PatchReply};
pub use url::{BadJournalUrl, JournalUrl, NodeAddress};
pub use value::FieldBytes;
