//! The store that several servers share: Redis or Valkey for tasks and their live lines, an object store for archives.

mod objects;
mod options;
mod stub;

pub use objects::*;
pub use options::HomeOptions;
pub use stub::*;
