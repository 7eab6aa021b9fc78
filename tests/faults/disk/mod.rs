//! The real binary on disks that are full, cannot be written, do not answer, or lose their power.
//!
//! A disk that is really full is a small tmpfs, which only root can mount; the other faults are made by
//! a library that stands between the server and the system (`shim.c`). A test that cannot run here says
//! so, and leaves a file `skipped-NAME` that `scripts/test` shows.

mod faults;
mod full;
pub(crate) mod machine;
mod power;
mod rebuild;
mod seals;
pub(crate) mod server;
mod worker;
