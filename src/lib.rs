//! tasktail: a task's output, live in the browser and the terminal, and kept when it ends.
pub mod cli;
pub mod client;
pub mod config;
pub mod model;
pub mod server;
pub mod tasks;
pub mod wire;
pub mod worker;
