//! The real binary on disks that are full, cannot be written, do not answer, or lose their power.
//!
//! A disk that is really full is a small tmpfs, which only root can mount; the other faults are made by
//! a library that stands between the server and the system (`shim.c`). A test that cannot run here says
//! so, and leaves a file `skipped-NAME` that `scripts/test` shows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod faults;
mod full;
mod machine;
mod power;
mod rebuild;
mod server;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod support;
#[path = "../redis/wire.rs"]
#[allow(dead_code, reason = "the suite beside the oracles uses all of it")]
mod wire;
