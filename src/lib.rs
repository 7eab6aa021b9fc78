//! tasktail: a task's output, live in the browser and the terminal, and kept when it ends.
pub mod client;
pub mod model;
pub mod wire;
pub mod worker;
