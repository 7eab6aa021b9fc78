//! Limits on what is kept: each is reached from outside, and what a reader is told of it is checked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;
mod kills;
mod log_bytes;
mod patterns;
mod rates;
mod store;
