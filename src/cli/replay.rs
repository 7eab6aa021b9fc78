//! `tasktail replay`: prints a log at the speed at which it was written.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::locate::{Locator, Purpose};
use super::task_ref::resolve_id;
use super::{Context, EXIT_INTERRUPTED, interrupted, text};
use crate::client::HttpClient;
use crate::model::{Channel, Line, TaskId, units};

/// Lines per request.
const PAGE_LINES: u64 = 1_000;

/// `tasktail replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines appear after the same pauses as when the task ran, divided by --speed; a longer
pause than --max-pause is cut. A log of a running task is replayed up to its current
last line.

Examples:
  tasktail replay nightly-7
  tasktail replay nightly-7 --speed 10
  tasktail replay nightly-7 --from 1200 --max-pause 500ms")]
pub struct ReplayArgs {
    /// The task, or the beginning of its id; the newest one if left out
    #[arg(value_name = "TASK")]
    task: Option<TaskId>,
    /// Replay this many times as fast
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Cut longer pauses to this
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    max_pause: Duration,
    /// Start with this line
    #[arg(long, value_name = "LINE", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
}

/// Parses a speed: a number above zero.
fn speed(text: &str) -> Result<f64, String> {
    let speed = text.trim_end_matches('x').parse::<f64>().ok().filter(|speed| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| format!("`{text}` is not a speed: use a number above zero, such as 0.5 or 10"))
}

pub(super) async fn run(args: ReplayArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = tokio::select! {
        result = replay(&args, &locator, output.json()) => result.map(|()| 0),
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    };
    locator.close().await;
    result
}

async fn replay(args: &ReplayArgs, locator: &Locator, json: bool) -> anyhow::Result<()> {
    let client = locator.client().await?;
    let task = resolve_id(&client, args.task.as_ref()).await?;
    let mut lines = ReplayPages { task, client: &client, next: args.from, ready: VecDeque::new(), ended: false };
    let mut clock = ReplayClock { speed: args.speed, max_pause: args.max_pause, last: None };
    while let Some(line) = lines.next().await? {
        if let Some(until) = clock.advance(line.timestamp.as_millis(), Instant::now()) {
            sleep_until(until).await;
        }
        print(&line, json)?;
    }
    Ok(())
}

/// The lines of the log, page by page.
struct ReplayPages<'a> {
    task: TaskId,
    client: &'a HttpClient,
    next: u64,
    ready: VecDeque<Line<'static>>,
    ended: bool,
}

#[derive(Deserialize)]
struct ReplayPage {
    lines: Vec<Line<'static>>,
    next_line: u64,
    last_line: u64,
}

impl ReplayPages<'_> {
    async fn next(&mut self) -> anyhow::Result<Option<Line<'static>>> {
        while self.ready.is_empty() && !self.ended {
            let query = [("from", Some(self.next.to_string())), ("limit", Some(PAGE_LINES.to_string()))];
            let path = format!("/api/v1/tasks/{}/lines", self.task);
            let page: ReplayPage = self.client.get(&path, &query).await?;
            self.ended = page.next_line > page.last_line || page.next_line <= self.next;
            self.next = page.next_line;
            self.ready.extend(page.lines);
        }
        Ok(self.ready.pop_front())
    }
}

/// The times at which lines are due.
struct ReplayClock {
    speed: f64,
    max_pause: Duration,
    /// The time of the last line in the log, and when it was due.
    last: Option<(u64, Instant)>,
}

impl ReplayClock {
    /// Returns when a line of this time is due, or `None` for at once. Lines may be a little out of order. Delays of
    /// the output do not add up.
    fn advance(&mut self, written_ms: u64, now: Instant) -> Option<Instant> {
        let Some((before_ms, due)) = self.last else {
            self.last = Some((written_ms, now));
            return None;
        };
        let pause = Duration::from_millis(written_ms.saturating_sub(before_ms));
        let pause = Duration::try_from_secs_f64(pause.as_secs_f64() / self.speed).unwrap_or(Duration::MAX);
        let due = due + pause.min(self.max_pause);
        self.last = Some((written_ms.max(before_ms), due));
        (due > now).then_some(due)
    }
}

/// Prints a line like `follow`: stdout to stdout, the rest to stderr.
fn print(line: &Line<'_>, json: bool) -> anyhow::Result<()> {
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    if json {
        let mut out = stdout.lock();
        writeln!(out, "{}", text::json(&serde_json::to_string(line)?, out.is_terminal()))?;
        return Ok(out.flush()?);
    }
    if line.channel == Channel::Stdout {
        let colours = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        write_line(&mut stdout.lock(), line, std::io::stdout().is_terminal(), colours)
    } else {
        let colours = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
        write_line(&mut stderr.lock(), line, std::io::stderr().is_terminal(), colours)
    }
}

fn write_line(out: &mut impl Write, line: &Line<'_>, terminal: bool, colours: bool) -> anyhow::Result<()> {
    let shown = if terminal { text::for_terminal(&line.line, colours) } else { line.line.as_ref().into() };
    let mark = if line.channel == Channel::Internal { "# " } else { "" };
    write!(out, "{mark}{shown}{}", if line.partial { "" } else { "\n" })?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_scaled_and_cut() {
        let start = Instant::now();
        let mut clock = ReplayClock { speed: 2.0, max_pause: Duration::from_secs(2), last: None };
        let mut due = |ms: u64| clock.advance(ms, start).map(|due| due - start);
        assert_eq!(due(10_000), None);
        assert_eq!(due(11_000), Some(Duration::from_millis(500)));
        assert_eq!(due(10_500), Some(Duration::from_millis(500)), "a line out of order comes at once");
        assert_eq!(due(71_000), Some(Duration::from_millis(2_500)), "a long pause is cut");
        assert_eq!(due(71_100), Some(Duration::from_millis(2_550)));
    }

    #[test]
    fn a_speed_is_above_zero() {
        assert_eq!(speed("10x"), Ok(10.0));
        assert!(["0", "-1", "inf", "fast", "NaN"].iter().all(|text| speed(text).is_err()));
    }
}
