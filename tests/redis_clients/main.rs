//! Client libraries and tools as they are installed, unchanged, against the Redis port. Every one of
//! them is first put against redis-server: what a script expects is what Redis does.
//!
//! `TASKTAIL_ORACLES_ONLY=1` runs them against redis-server alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod benchmark;
mod blueprint;
mod cli;
mod fixture;
mod rust_client;
mod scripts;
mod servers;
