//! Holding back while the command floods its output: on a machine that is busy with it, sending would only take the
//! processors away from the command. The local log has the output, and nobody can read along at this rate.

use std::time::Duration;

use tokio::time::Instant;

/// Backlog from which the uplink is too slow for the output. What was sent before occupies a server on this machine
/// for as long as the command needs to write many times as much.
const BACKLOG_BYTES: u64 = 2 * 1024 * 1024;
/// Output per second that is a flood: several times what a server stores of short lines.
const FLOOD_BYTES_PER_SECOND: u128 = 48 * 1024 * 1024;
/// Interval of messages during a flood, so that viewers still see it move.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(250);
/// Interval at which the end of a flood is looked for.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Shortest time over which a rate is measured.
const MEASURE_TIME: Duration = Duration::from_millis(5);

/// The state of the local log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogLevel {
    /// Bytes written since the start.
    pub(super) written: u64,
    /// Bytes that were not sent.
    pub(super) backlog: u64,
    /// Less than half of the limit is left, so that waiting could cost lines.
    pub(super) is_short: bool,
}

/// A measurement of the rate of output.
#[derive(Debug)]
pub(super) struct FloodGauge {
    measured: Instant,
    written: u64,
    is_flood: bool,
    sent: Instant,
}

impl FloodGauge {
    /// Creates a gauge for a new connection.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { measured: now, written: 0, is_flood: false, sent: now }
    }

    /// Returns whether the next message should wait.
    pub(super) fn should_wait(&mut self, level: LogLevel) -> bool {
        let now = Instant::now();
        let time = now - self.measured;
        if time >= MEASURE_TIME {
            let bytes = u128::from(level.written.saturating_sub(self.written));
            self.is_flood = bytes * 1_000_000 / time.as_micros() >= FLOOD_BYTES_PER_SECOND;
            (self.measured, self.written) = (now, level.written);
        }
        self.is_flood && level.backlog >= BACKLOG_BYTES && !level.is_short && now - self.sent < MESSAGE_INTERVAL
    }

    /// Records that a message was sent.
    pub(super) fn sent(&mut self) {
        self.sent = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    fn level(written: u64) -> LogLevel {
        LogLevel { written, backlog: written, is_short: false }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_wait_only_while_the_command_floods() {
        const MIB: u64 = 1024 * 1024;
        let mut gauge = FloodGauge::new();
        let mut written = 0;
        let mut flood = async |gauge: &mut FloodGauge, bytes: u64| {
            advance(STEP).await;
            written += bytes;
            gauge.should_wait(level(written))
        };
        assert!(!flood(&mut gauge, MIB).await, "a small backlog is sent at once");
        assert!(flood(&mut gauge, 20 * MIB).await);
        // One message per interval passes.
        let mut passed = 0;
        for _ in 0..50 {
            if !flood(&mut gauge, 4 * MIB).await {
                passed += 1;
                gauge.sent();
            }
        }
        assert!((3..=5).contains(&passed), "{passed} messages in a second");
        assert!(!flood(&mut gauge, MIB / 2).await, "the flood is over");
        assert!(!flood(&mut gauge, 0).await, "the backlog is sent without a pause");
        assert!(flood(&mut gauge, 4 * MIB).await);
        let short = LogLevel { is_short: true, ..level(300 * MIB) };
        advance(STEP).await;
        assert!(!gauge.should_wait(short), "the limit of the log comes first");
    }
}
