//! The clock that decides when something is too old: a key, a journal, a finished task, a token.
//!
//! It follows the system clock, except after that clock was set: a jump is trusted only after it has
//! held for `clock_hold`. Until then this clock continues from its previous time.
//!
//! ```text
//! system      10:00 10:01 | a year later, 10:02 .. 10:05 | 10:06
//! this clock  10:00 10:01 | 10:02               .. 10:05 | 10:06      nothing expired
//! ```
//! Timeouts do not use it: they are monotonic anyway. Timestamps and ids use the system clock
//! unchanged ([`Timestamp::now`]).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Largest correction that does not count as a jump: system clocks are adjusted all the time.
const STEP_MAX_MS: i64 = 60_000;
/// Longest downtime that is plausible. After a longer one the system clock may be wrong.
const CLOSED_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Interval between two checks for a jump, in milliseconds of the system clock.
const UPDATE_INTERVAL_MS: u64 = 20_000;

/// A clock that ignores jumps of the system clock until they are confirmed. Reading it is cheap.
#[derive(Debug)]
pub struct Clock {
    hold: Duration,
    /// System time of the last check for a jump.
    updated_ms: AtomicU64,
    /// Offset of the system clock from this clock, in milliseconds; 0 without a pending jump.
    ahead: AtomicI64,
    /// Locked only for a few instructions.
    state: Mutex<ClockState>,
}

/// One instant as read from both clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// System time: for timestamps and ids.
    pub stamp: Timestamp,
    /// [`Clock::now`]: for expiry.
    pub time: Timestamp,
}

/// The state of a clock, saved for the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSnapshot {
    /// Time of this clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// System time at the same instant, in milliseconds since 1970.
    pub system_ms: u64,
    /// Time that a pending jump had held, in milliseconds; 0 without one.
    pub held_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct ClockState {
    /// Time of this clock at the last check, and the monotonic time then.
    time_ms: i64,
    mono_ms: i64,
    jump: Option<ClockJump>,
}

#[derive(Clone, Copy, Debug)]
struct ClockJump {
    /// Offset of the system clock after the jump.
    ahead_ms: i64,
    /// Monotonic time of the jump; negative if it happened before the start.
    since_ms: i64,
}

impl Clock {
    /// Creates a clock that trusts a jump after `hold`; `saved` is its state at the last shutdown.
    pub fn new(hold: Duration, saved: Option<ClockSnapshot>) -> Self {
        let (system, mono) = (millis(Timestamp::now().as_millis()), monotonic_ms());
        let state = ClockState::new(system, mono, saved);
        let clock = Self { hold, updated_ms: AtomicU64::new(0), ahead: AtomicI64::new(0), state: Mutex::new(state) };
        clock.update();
        clock
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.read().time
    }

    /// Returns the current time of this clock and of the system clock.
    pub fn read(&self) -> ClockReading {
        let stamp = Timestamp::now();
        let system = stamp.as_millis();
        if system.abs_diff(self.updated_ms.load(Ordering::Acquire)) > UPDATE_INTERVAL_MS {
            return ClockReading { stamp, time: self.update() };
        }
        ClockReading { stamp, time: timestamp(millis(system) - self.ahead.load(Ordering::Acquire)) }
    }

    /// Returns the offset of the system clock from this clock, in seconds. It is nonzero while a jump is
    /// not trusted yet.
    pub fn offset_s(&self) -> i64 {
        self.now();
        self.ahead.load(Ordering::Acquire) / 1000
    }

    /// Checks whether the system clock has jumped, or whether a pending jump has held; returns the time.
    /// Reading the clock calls it when the last check is too old.
    pub fn update(&self) -> Timestamp {
        let mut state = self.state.lock();
        let (system, mono) = (millis(Timestamp::now().as_millis()), monotonic_ms());
        let before = state.jump.is_some();
        let time = state.update(system, mono, self.hold);
        self.ahead.store(if state.jump.is_some() { system - time } else { 0 }, Ordering::Release);
        self.updated_ms.store(u64::try_from(system).unwrap_or(0), Ordering::Release);
        match (before, state.jump) {
            (false, Some(jump)) => tracing::warn!(
                "the system clock jumped by {} s; nothing expires until the jump has held for {:?}",
                jump.ahead_ms / 1000,
                self.hold
            ),
            (true, None) => tracing::warn!("the system clock is trusted again"),
            _ => {}
        }
        timestamp(time)
    }

    /// Returns the state to save for the next start.
    pub fn snapshot(&self) -> ClockSnapshot {
        self.update();
        let state = *self.state.lock();
        let held = state.jump.map_or(0, |jump| state.mono_ms - jump.since_ms);
        let ahead = state.jump.map_or(0, |jump| jump.ahead_ms);
        let unsigned = |ms: i64| u64::try_from(ms).unwrap_or(0);
        ClockSnapshot {
            time_ms: unsigned(state.time_ms),
            system_ms: unsigned(state.time_ms + ahead),
            held_ms: unsigned(held),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(super::limits::Limits::default().clock_hold, None)
    }
}

impl ClockState {
    fn new(system: i64, mono: i64, saved: Option<ClockSnapshot>) -> Self {
        let mut state = ClockState { time_ms: system, mono_ms: mono, jump: None };
        if let Some(saved) = saved {
            let closed = system - millis(saved.system_ms);
            let plausible = (-STEP_MAX_MS..=CLOSED_MAX_MS).contains(&closed);
            state.time_ms = millis(saved.time_ms) + if plausible { closed } else { 0 };
            let held = if plausible { millis(saved.held_ms) } else { 0 };
            let ahead_ms = system - state.time_ms;
            state.jump = (ahead_ms.abs() > STEP_MAX_MS).then_some(ClockJump { ahead_ms, since_ms: mono - held });
        }
        state
    }

    fn update(&mut self, system: i64, mono: i64, hold: Duration) -> i64 {
        let expected = self.time_ms + (mono - self.mono_ms);
        let ahead_ms = system - expected;
        self.mono_ms = mono;
        self.time_ms = expected;
        if ahead_ms.abs() <= STEP_MAX_MS {
            (self.time_ms, self.jump) = (system, None);
            return system;
        }
        // A second jump has to hold as long as the first.
        let jump = self.jump.filter(|jump| (jump.ahead_ms - ahead_ms).abs() <= STEP_MAX_MS);
        let jump = jump.unwrap_or(ClockJump { ahead_ms, since_ms: mono });
        if u128::try_from(mono - jump.since_ms).unwrap_or(0) >= hold.as_millis() {
            (self.time_ms, self.jump) = (system, None);
            return system;
        }
        self.jump = Some(ClockJump { ahead_ms, ..jump });
        expected
    }
}

/// Returns the milliseconds since boot, including suspend where the system reports it: waking a
/// laptop is not a jump.
fn monotonic_ms() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 2)
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;
    const NOON: i64 = 1_790_000_000_000;
    const HOLD: Duration = Duration::from_hours(24);

    fn saved(time_ms: i64, system_ms: i64, held_ms: i64) -> Option<ClockSnapshot> {
        let unsigned = |ms: i64| u64::try_from(ms).unwrap();
        Some(ClockSnapshot { time_ms: unsigned(time_ms), system_ms: unsigned(system_ms), held_ms: unsigned(held_ms) })
    }

    #[test]
    fn short_jump_is_ignored() {
        for jump in [YEAR, -HOUR, 2 * HOUR] {
            let mut state = ClockState::new(NOON, 0, None);
            assert_eq!(state.update(NOON + 1000, 1000, HOLD), NOON + 1000);
            assert_eq!(state.update(NOON + jump + 2000, 2000, HOLD), NOON + 2000);
            assert_eq!(state.update(NOON + jump + HOUR, HOUR, HOLD), NOON + HOUR);
            assert_eq!(state.update(NOON + 2 * HOUR, 2 * HOUR, HOLD), NOON + 2 * HOUR);
            assert!(state.jump.is_none());
        }
    }

    #[test]
    fn lasting_jump_is_trusted() {
        let mut state = ClockState::new(NOON, 0, None);
        state.update(NOON + YEAR, 1000, HOLD);
        assert_eq!(state.update(NOON + YEAR + 24 * HOUR - 1000, 24 * HOUR, HOLD), NOON + 24 * HOUR);
        assert_eq!(state.update(NOON + YEAR + 25 * HOUR, 25 * HOUR, HOLD), NOON + YEAR + 25 * HOUR);
    }

    #[test]
    fn second_jump_restarts_the_hold() {
        let mut state = ClockState::new(NOON, 0, None);
        state.update(NOON + YEAR, 0, HOLD);
        state.update(NOON + 2 * YEAR, 23 * HOUR, HOLD);
        assert_eq!(state.update(NOON + 2 * YEAR + 2 * HOUR, 25 * HOUR, HOLD), NOON + 25 * HOUR);
    }

    #[test]
    fn small_corrections_are_followed() {
        let mut state = ClockState::new(NOON, 0, None);
        for minute in 1..100 {
            // Half a second per minute, the drift of a bad clock.
            let system = NOON + minute * 60_500;
            assert_eq!(state.update(system, minute * 60_000, HOLD), system);
        }
    }

    #[test]
    fn jump_across_a_restart_is_held_but_downtime_is_not() {
        let days = 3 * 24 * HOUR;
        let state = ClockState::new(NOON + days, 0, saved(NOON, NOON, 0));
        assert_eq!((state.time_ms, state.jump.is_none()), (NOON + days, true));
        for jump in [YEAR, -HOUR] {
            let mut state = ClockState::new(NOON + jump, 5, saved(NOON, NOON, 0));
            assert_eq!(state.update(NOON + jump, 5, HOLD), NOON);
            assert_eq!(state.update(NOON + jump + 24 * HOUR, 24 * HOUR + 5, HOLD), NOON + jump + 24 * HOUR);
        }
    }

    #[test]
    fn restarts_do_not_extend_the_hold() {
        let mut state = ClockState::new(NOON + YEAR + HOUR, 0, saved(NOON, NOON + YEAR, 22 * HOUR));
        assert_eq!(state.update(NOON + YEAR + 2 * HOUR, HOUR, HOLD), NOON + 2 * HOUR);
        assert_eq!(state.update(NOON + YEAR + 4 * HOUR, 3 * HOUR, HOLD), NOON + YEAR + 4 * HOUR);
    }
}
