//! The store that several servers share: Redis or Valkey for tasks and their live lines, an object store for archives.
//!
//! - `redis`: each task is a stream and a hash, and each change a script.
//! - `objects`: archived lines as objects, which are written once.
//! - `options`: the settings of both.
//!
//! Not here: what a task is, and when its lines are archived: [`crate::tasks`].

pub mod objects;
mod options;
pub mod redis;

pub use objects::{AwsEnvironment, ObjectError, ObjectName, ObjectOptions, ObjectPrefix, ObjectStore, StoreUrl};
pub use options::{HomeOptions, open_archive};
pub use redis::{Engine, EngineError, EngineOptions, JournalUrl};
