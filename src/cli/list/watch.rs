//! `list --watch`: the table, updated in place.

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::super::locate::Locator;
use super::super::terminal_size::terminal_size;
use super::super::{EXIT_INTERRUPTED, interrupted};
use super::{ListArgs, fetch, table};

/// Time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Draws the table until Ctrl-C.
///
/// # Errors
/// Stdout is no terminal, or there is no response.
pub(super) async fn run(args: &ListArgs, locator: &Locator) -> anyhow::Result<u8> {
    if terminal_size().is_none() {
        bail!("--watch needs a terminal");
    }
    let interrupted = interrupted();
    let client = locator.client().await?;
    // The first answer is printed as an error if it is one.
    let mut tasks = fetch(args, &client).await;
    let mut screen = WatchScreen::open()?;
    let mut ticks = interval_at(Instant::now() + UPDATE_INTERVAL, UPDATE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupted = std::pin::pin!(interrupted);
    loop {
        let (tasks_now, more) = tasks?;
        screen.draw(&tasks_now, more)?;
        tasks = tokio::select! {
            result = &mut interrupted => return result.map(|()| EXIT_INTERRUPTED),
            tasks = async { ticks.tick().await; fetch(args, &client).await } => tasks,
        };
    }
}

/// The alternate screen of the terminal, left on drop.
struct WatchScreen {
    stdout: anstream::AutoStream<std::io::Stdout>,
}

impl WatchScreen {
    fn open() -> std::io::Result<Self> {
        let mut stdout = std::io::stdout();
        stdout.write_all(b"\x1b[?1049h\x1b[?25l\x1b[2J")?;
        stdout.flush()?;
        Ok(Self { stdout: anstream::stdout() })
    }

    /// Draws the rows that fit the terminal.
    fn draw(&mut self, tasks: &[crate::model::Task], more: bool) -> std::io::Result<()> {
        let Some((columns, rows)) = terminal_size() else { return Ok(()) };
        let lines = table::draw(tasks, Some(columns));
        let hidden = tasks.len().saturating_sub(rows.saturating_sub(2));
        let mut frame: Vec<String> = lines.into_iter().take(rows.saturating_sub(1)).collect();
        let rest = match (hidden, more) {
            (0, false) => String::new(),
            (0, true) => "more tasks match; see --limit".to_owned(),
            (hidden, _) => format!("{hidden} more"),
        };
        frame.push(rest.chars().take(columns).collect());
        // The cursor moves to each row, which is erased and drawn; nothing scrolls.
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(b"\x1b[H")?;
        for (at, line) in frame.iter().enumerate() {
            write!(stdout, "\x1b[{};1H\x1b[K", at + 1)?;
            stdout.flush()?;
            write!(self.stdout, "{line}")?;
            self.stdout.flush()?;
        }
        stdout.write_all(b"\x1b[J")?;
        stdout.flush()
    }
}

impl Drop for WatchScreen {
    fn drop(&mut self) {
        let mut stdout = std::io::stdout();
        // A terminal that is gone needs no restoring.
        stdout.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| stdout.flush()).ok();
    }
}
