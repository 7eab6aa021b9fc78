//! The progress line of `run` while the output of an ended command is still being sent.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::output::Output;
use crate::worker::{DeliveryProgress, ProgressFn};

/// Interval of progress lines without a terminal, where they cannot be redrawn.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Clears the line under the cursor.
const CLEAR_LINE: &str = "\r\x1b[K";

/// A progress line on stderr.
#[derive(Clone)]
pub(super) struct RunProgress {
    output: Output,
    drawn: Arc<Mutex<DrawnProgress>>,
}

#[derive(Default)]
struct DrawnProgress {
    /// Time and lines of the first report, for the rate.
    first: Option<(Instant, u64)>,
    line_at: Option<Instant>,
    /// There is a line to clear.
    visible: bool,
}

impl RunProgress {
    pub(super) fn new(output: Output) -> Self {
        Self { output, drawn: Arc::default() }
    }

    /// Returns the callback for the worker.
    pub(super) fn reporter(&self) -> ProgressFn {
        let progress = self.clone();
        Arc::new(move |now| progress.report(now))
    }

    fn report(&self, now: DeliveryProgress) {
        if self.output.quiet() {
            return;
        }
        let mut drawn = self.drawn.lock();
        let (began, sent_before) = *drawn.first.get_or_insert((Instant::now(), now.sent_lines));
        let text = describe(now, began.elapsed(), sent_before);
        let mut stderr = std::io::stderr().lock();
        if stderr.is_terminal() {
            drawn.visible = true;
            // A closed stderr leaves no place to report the error.
            write!(stderr, "{CLEAR_LINE}tasktail: {text} (Ctrl-C stops)").and_then(|()| stderr.flush()).ok();
        } else if drawn.line_at.is_none_or(|at| at.elapsed() >= LINE_INTERVAL) {
            drawn.line_at = Some(Instant::now());
            writeln!(stderr, "tasktail: {text}").ok();
        }
    }

    /// Removes the line from a terminal.
    pub(super) fn clear(&self) {
        if std::mem::take(&mut self.drawn.lock().visible) {
            let mut stderr = std::io::stderr().lock();
            write!(stderr, "{CLEAR_LINE}").and_then(|()| stderr.flush()).ok();
        }
    }
}

/// Returns `sending 12.3 M of 20 M lines, 4 s left`.
fn describe(now: DeliveryProgress, elapsed: Duration, sent_before: u64) -> String {
    let DeliveryProgress { sent_lines, lines } = now;
    if sent_lines >= lines {
        return format!("waiting for the server to confirm {} lines", short(lines));
    }
    let rate = sent_lines.saturating_sub(sent_before) as f64 / elapsed.as_secs_f64().max(0.001);
    let left = (lines - sent_lines) as f64 / rate;
    let left = if rate > 0.0 && left < 1e6 { format!(", {:.0} s left", left.max(1.0)) } else { String::new() };
    format!("sending {} of {} lines{left}", short(sent_lines), short(lines))
}

/// Returns a number with three digits and a unit: `950`, `12.3 k`, `20 M`.
fn short(n: u64) -> String {
    let (value, unit) = match n {
        0..1_000 => return n.to_string(),
        1_000..1_000_000 => (n as f64 / 1e3, "k"),
        _ => (n as f64 / 1e6, "M"),
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_lines_and_time() {
        let after = |sent_lines, seconds| {
            describe(DeliveryProgress { sent_lines, lines: 20_000_000 }, Duration::from_secs(seconds), 300_000)
        };
        assert_eq!(after(12_300_000, 6), "sending 12.3 M of 20 M lines, 4 s left");
        assert_eq!(after(300_000, 0), "sending 300 k of 20 M lines");
        assert_eq!(after(20_000_000, 9), "waiting for the server to confirm 20 M lines");
        assert_eq!([short(999), short(1_000), short(1_250_000)], ["999", "1 k", "1.2 M"]);
    }
}
