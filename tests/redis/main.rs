//! The Redis port beside two real servers: the same commands to all three, the replies compared byte for byte.
//!
//! `oracle` starts the servers, `wire` speaks to them, `script` is the language of the fixed sequences in
//! `cases/*.txt`, `play` plays one sequence on all servers, `normal` takes the clock out of replies,
//! `differences` is the written list of what may differ. `cases`, `blocked` and `random` are the tests.
//!
//! `TASKTAIL_ORACLES_ONLY=1` compares the two oracles with each other, for a new version of one of them;
//! `TASKTAIL_DIFFERENTIAL_RUNS=N` sets the number of random sequences.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod blocked;
mod cases;
mod clients;
mod codec;
mod command;
#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../common/mod.rs"]
mod common;
mod differences;
mod kill;
mod normal;
mod oracle;
mod play;
mod port;
mod protocol;
mod random;
mod script;
mod shared_commits;
mod wire;
