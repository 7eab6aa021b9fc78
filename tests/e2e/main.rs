//! The whole of it, with the real binary: what is killed, cut off, flooded or damaged, and what a
//! reader has in the end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

mod bursts;
mod damage;
mod flood;
mod integrity;
mod kills;
mod masking;
mod net;
mod readers;
mod sealing;
mod spool;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod support;
mod tools;
