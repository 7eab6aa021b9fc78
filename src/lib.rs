//! tasktail: a task's output, live in the browser and the terminal, and kept when it ends.
pub mod archive;
pub mod journal;
pub mod client;
pub mod model;
pub mod store;
pub mod tasks;
pub mod wire;
pub mod worker;
