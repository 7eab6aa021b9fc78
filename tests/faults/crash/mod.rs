//! The real server, killed with SIGKILL again and again in every phase of its work: what was acked is there,
//! once; what was deleted stays deleted; what was not answered may be there or not.
//!
//! - `worker`: a worker's socket and its numbered lines, killed at random moments.
//! - `phases`: HTTP and Redis clients; `shim.c` kills the server at a chosen operation of a chosen phase
//!   (before it, in the middle of a write, after it), so that each phase is really interrupted; in between at
//!   random moments. The counts are printed, and each must be above zero.
//!
//! `TASKTAIL_CRASH_ROUNDS` makes it longer; `TASKTAIL_SEED` chooses what `phases` does.

mod model;
mod phases;
mod worker;

/// A small generator.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// How many kills: so many, or what the environment says.
pub(crate) fn rounds(default: u64) -> u64 {
    std::env::var("TASKTAIL_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}
