//! Tasks: their log from the first line to the archive, limits, removal and verification.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../common/mod.rs"]
mod common;
mod integrity;
mod keys;
mod labels;
mod log;
mod quota;
mod removal;
mod verify;
