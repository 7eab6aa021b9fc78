//! Who may do what, at every door of a real server: each route and each Redis command with every kind of
//! caller, what is hidden inside of lists and sockets, and what becomes of a live connection whose token
//! is taken back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "helpers of another test")]
#[path = "../cli/support.rs"]
mod cli;
#[path = "../common/mod.rs"]
mod common;

mod commands;
mod doors;
mod hidden;
mod live;
mod redis;
mod routes;
mod secrecy;
mod store;
mod support;
