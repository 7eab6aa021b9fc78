//! The Redis engine against real servers: Redis and Valkey.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod append;
mod cluster;
mod failover;
mod foreign;
mod model;
mod runs;
mod sentinel;
mod server;
mod steps;
mod tail;
mod tls;
