//! The command line from outside: the real binary, each test in a home of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]
mod alone;
mod attempts;
mod backup;
mod config;
mod doctor;
mod events;
mod explain;
mod find;
mod follow;
mod machine;
mod mcp;
mod notices;
mod run_events;
mod ship;
mod support;
mod tables;
mod terminal;
mod usage;
mod viewer_client;
mod with_server;
