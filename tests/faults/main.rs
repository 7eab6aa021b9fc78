//! What peers, the network, the system and the clock do to a server: it goes on for the others, loses
//! nothing that was acked, and has its places free again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

mod clock;
#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod crash;
mod disk;
mod files;
mod half_open;
mod redis_clients;
mod shutdown;
mod silent;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod support;
mod tools;
#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../redis/wire.rs"]
mod wire;
