//! The time that is gone by where something is given up for its age: a key, a journal, a finished
//! task, a token. It is the system's clock, except after that was set: a clock that jumps is believed
//! only once it has stayed there for `clock_hold`, and until then time goes on from where it was.
//!
//! ```text
//! system    10:00 10:01 | a year later, 10:02 .. 10:05 | 10:06
//! this one  10:00 10:01 | 10:02               .. 10:05 | 10:06      nothing was given up for it
//! ```
//! Durations that only have to be waited for are not its business: those are monotonic anyway. Stamps
//! and ids are the system's clock as it is ([`Timestamp::now`]).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A step of this size at most is no jump: clocks are corrected all the time.
const STEP_MAX_MS: i64 = 60_000;
/// A store that was closed for longer may as well have been opened under a wrong clock.
const CLOSED_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// After this much has passed on the system's clock, a jump or not, the whole is looked at.
const LOOK_MS: u64 = 20_000;

/// A clock that does not jump. Cheap to read from everywhere.
#[derive(Debug)]
pub struct Clock {
    hold: Duration,
    /// What the system's clock said when the whole was looked at last.
    looked: AtomicU64,
    /// How far the system's clock is ahead of this one, in milliseconds.
    ahead: AtomicI64,
    /// Held for a moment.
    state: Mutex<State>,
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The system's: for stamps and ids.
    pub stamp: Timestamp,
    /// [`Clock::now`]: for what is too old.
    pub time: Timestamp,
}

/// Where a clock stands, for the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSeen {
    /// The time, in milliseconds since 1970.
    pub time_ms: u64,
    /// What the system's clock said then.
    pub system_ms: u64,
    /// For how long it had been there, if that is a jump.
    pub held_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The time at the last look, and the monotonic time then.
    time_ms: i64,
    mono_ms: i64,
    jump: Option<Jump>,
}

#[derive(Clone, Copy, Debug)]
struct Jump {
    /// How far ahead the system's clock went.
    ahead_ms: i64,
    /// Since when, in monotonic time; before the start if it was there already.
    since_ms: i64,
}

impl Clock {
    /// A clock that believes a jump after `hold`; `seen` is where it stood when it was last stopped.
    pub fn new(hold: Duration, seen: Option<ClockSeen>) -> Self {
        let (system, mono) = (millis(Timestamp::now().as_millis()), monotonic_ms());
        let state = State::begin(system, mono, seen);
        let clock = Self { hold, looked: AtomicU64::new(0), ahead: AtomicI64::new(0), state: Mutex::new(state) };
        clock.look();
        clock
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.read().time
    }

    /// The time, and the system's.
    pub fn read(&self) -> Now {
        let stamp = Timestamp::now();
        let system = stamp.as_millis();
        if system.abs_diff(self.looked.load(Ordering::Acquire)) > LOOK_MS {
            return Now { stamp, time: self.look() };
        }
        Now { stamp, time: plain(millis(system) - self.ahead.load(Ordering::Acquire)) }
    }

    /// How far the system's clock is ahead (or, below zero, behind) of this one: a jump that is not
    /// believed yet. In seconds.
    pub fn ahead_s(&self) -> i64 {
        self.now();
        self.ahead.load(Ordering::Acquire) / 1000
    }

    /// Looks whether the system's clock has jumped, or has stayed where it jumped to; once in a while.
    pub fn look(&self) -> Timestamp {
        let mut state = self.state.lock();
        let (system, mono) = (millis(Timestamp::now().as_millis()), monotonic_ms());
        let before = state.jump.is_some();
        let time = state.look(system, mono, self.hold);
        self.ahead.store(if state.jump.is_some() { system - time } else { 0 }, Ordering::Release);
        self.looked.store(u64::try_from(system).unwrap_or(0), Ordering::Release);
        match (before, state.jump) {
            (false, Some(jump)) => tracing::warn!(
                "the system's clock jumped by {} s: until it has stayed there for {:?}, nothing is given up for its age by it",
                jump.ahead_ms / 1000,
                self.hold
            ),
            (true, None) => tracing::warn!("the system's clock is believed again"),
            _ => {}
        }
        plain(time)
    }

    /// Where it stands.
    pub fn seen(&self) -> ClockSeen {
        self.look();
        let state = *self.state.lock();
        let held = state.jump.map_or(0, |jump| state.mono_ms - jump.since_ms);
        let ahead = state.jump.map_or(0, |jump| jump.ahead_ms);
        let unsigned = |ms: i64| u64::try_from(ms).unwrap_or(0);
        ClockSeen {
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

impl State {
    fn begin(system: i64, mono: i64, seen: Option<ClockSeen>) -> Self {
        let mut state = State { time_ms: system, mono_ms: mono, jump: None };
        if let Some(seen) = seen {
            let closed = system - millis(seen.system_ms);
            let plausible = (-STEP_MAX_MS..=CLOSED_MAX_MS).contains(&closed);
            state.time_ms = millis(seen.time_ms) + if plausible { closed } else { 0 };
            let held = if plausible { millis(seen.held_ms) } else { 0 };
            let ahead_ms = system - state.time_ms;
            state.jump = (ahead_ms.abs() > STEP_MAX_MS).then_some(Jump { ahead_ms, since_ms: mono - held });
        }
        state
    }

    fn look(&mut self, system: i64, mono: i64, hold: Duration) -> i64 {
        let expected = self.time_ms + (mono - self.mono_ms);
        let ahead_ms = system - expected;
        self.mono_ms = mono;
        self.time_ms = expected;
        if ahead_ms.abs() <= STEP_MAX_MS {
            (self.time_ms, self.jump) = (system, None);
            return system;
        }
        // Another jump is to stay where it is for as long as the first.
        let jump = self.jump.filter(|jump| (jump.ahead_ms - ahead_ms).abs() <= STEP_MAX_MS);
        let jump = jump.unwrap_or(Jump { ahead_ms, since_ms: mono });
        if u128::try_from(mono - jump.since_ms).unwrap_or(0) >= hold.as_millis() {
            (self.time_ms, self.jump) = (system, None);
            return system;
        }
        self.jump = Some(Jump { ahead_ms, ..jump });
        expected
    }
}

/// Milliseconds since the machine was started, its sleep included where the system can tell: a laptop
/// that was closed over night has not jumped.
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

fn plain(ms: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;
    const NOON: i64 = 1_790_000_000_000;
    const HOLD: Duration = Duration::from_hours(24);

    fn seen(time_ms: i64, system_ms: i64, held_ms: i64) -> Option<ClockSeen> {
        let unsigned = |ms: i64| u64::try_from(ms).unwrap();
        Some(ClockSeen { time_ms: unsigned(time_ms), system_ms: unsigned(system_ms), held_ms: unsigned(held_ms) })
    }

    #[test]
    fn a_jump_for_a_moment_is_nothing() {
        for jump in [YEAR, -HOUR, 2 * HOUR] {
            let mut state = State::begin(NOON, 0, None);
            assert_eq!(state.look(NOON + 1000, 1000, HOLD), NOON + 1000);
            assert_eq!(state.look(NOON + jump + 2000, 2000, HOLD), NOON + 2000);
            assert_eq!(state.look(NOON + jump + HOUR, HOUR, HOLD), NOON + HOUR);
            assert_eq!(state.look(NOON + 2 * HOUR, 2 * HOUR, HOLD), NOON + 2 * HOUR);
            assert!(state.jump.is_none());
        }
    }

    #[test]
    fn a_jump_that_lasts_is_believed() {
        let mut state = State::begin(NOON, 0, None);
        state.look(NOON + YEAR, 1000, HOLD);
        assert_eq!(state.look(NOON + YEAR + 24 * HOUR - 1000, 24 * HOUR, HOLD), NOON + 24 * HOUR);
        assert_eq!(state.look(NOON + YEAR + 25 * HOUR, 25 * HOUR, HOLD), NOON + YEAR + 25 * HOUR);
    }

    #[test]
    fn another_jump_begins_to_wait_anew() {
        let mut state = State::begin(NOON, 0, None);
        state.look(NOON + YEAR, 0, HOLD);
        state.look(NOON + 2 * YEAR, 23 * HOUR, HOLD);
        assert_eq!(state.look(NOON + 2 * YEAR + 2 * HOUR, 25 * HOUR, HOLD), NOON + 25 * HOUR);
    }

    #[test]
    fn corrections_are_followed() {
        let mut state = State::begin(NOON, 0, None);
        for minute in 1..100 {
            // Half a second a minute, as a bad clock drifts.
            let system = NOON + minute * 60_500;
            assert_eq!(state.look(system, minute * 60_000, HOLD), system);
        }
    }

    #[test]
    fn a_jump_between_starts_is_held_and_some_days_are_not() {
        let days = 3 * 24 * HOUR;
        let state = State::begin(NOON + days, 0, seen(NOON, NOON, 0));
        assert_eq!((state.time_ms, state.jump.is_none()), (NOON + days, true));
        for jump in [YEAR, -HOUR] {
            let mut state = State::begin(NOON + jump, 5, seen(NOON, NOON, 0));
            assert_eq!(state.look(NOON + jump, 5, HOLD), NOON);
            assert_eq!(state.look(NOON + jump + 24 * HOUR, 24 * HOUR + 5, HOLD), NOON + jump + 24 * HOUR);
        }
    }

    #[test]
    fn starts_in_between_do_not_make_it_wait_longer() {
        let mut state = State::begin(NOON + YEAR + HOUR, 0, seen(NOON, NOON + YEAR, 22 * HOUR));
        assert_eq!(state.look(NOON + YEAR + 2 * HOUR, HOUR, HOLD), NOON + 2 * HOUR);
        assert_eq!(state.look(NOON + YEAR + 4 * HOUR, 3 * HOUR, HOLD), NOON + YEAR + 4 * HOUR);
    }
}
