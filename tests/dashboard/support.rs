//! Scenes: a state that was told something, and the screen it gives.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tasktail::dashboard::{Action, DashboardItem, DashboardState, draw};
use tasktail::model::{Event, Timestamp};

/// 2026-01-03T10:15:00Z.
pub(crate) const BEGIN_MS: u64 = 1_767_435_300_000;

pub(crate) struct Scene {
    pub(crate) state: DashboardState,
    pub(crate) now_ms: u64,
    count: u64,
}

impl Scene {
    /// Text on a pipe.
    pub(crate) fn pipe() -> Self {
        Self::new(DashboardState::new("stdout", true, None))
    }

    /// A run at a server.
    pub(crate) fn server(run: &str) -> Self {
        Self::new(DashboardState::new("server", false, Some(run.parse().unwrap())))
    }

    fn new(state: DashboardState) -> Self {
        Self { state, now_ms: BEGIN_MS, count: 0 }
    }

    pub(crate) fn item(&mut self, item: DashboardItem) -> &mut Self {
        self.state.apply(item, Timestamp::from_millis(self.now_ms));
        self
    }

    pub(crate) fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now_ms += u64::try_from(duration.as_millis()).unwrap();
        self
    }

    /// Lines of text, a second apart.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        for line in text.lines() {
            self.item(DashboardItem::Read { lines: 1 });
            self.item(DashboardItem::Text(line.to_owned()));
            self.wait(Duration::from_secs(1));
        }
        self
    }

    /// Events, one a line, a second apart; each gets an id and the present time if it has none.
    pub(crate) fn events(&mut self, lines: &str) -> &mut Self {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.count += 1;
            let at = Timestamp::from_millis(self.now_ms).to_string();
            let added = [("event_id", format!("e{}", self.count).into()), ("timestamp", at.into())];
            let event = Event::parse(line).unwrap().with(&added);
            self.item(DashboardItem::Read { lines: 1 });
            self.item(DashboardItem::Event { event, in_result: false });
            self.wait(Duration::from_secs(1));
        }
        self
    }

    pub(crate) fn act(&mut self, action: Action) -> &mut Self {
        self.state.apply_action(action);
        self
    }

    pub(crate) fn screen(&mut self, columns: u16, lines: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        let now = Timestamp::from_millis(self.now_ms);
        terminal.draw(|frame| draw(frame, &mut self.state, now)).unwrap();
        let buffer = terminal.backend().buffer();
        let width = usize::from(columns);
        let text = |row: &[ratatui::buffer::Cell]| {
            let mut line = String::new();
            let mut covered = 0;
            for cell in row {
                // The second half of a wide character is an empty cell.
                if covered > 0 {
                    covered -= 1;
                    continue;
                }
                line.push_str(cell.symbol());
                covered = ratatui::text::Span::raw(cell.symbol()).width().saturating_sub(1);
            }
            line.trim_end().to_owned()
        };
        buffer.content().chunks(width).map(text).collect::<Vec<_>>().join("\n")
    }
}

/// A status event of a benchmark.
pub(crate) fn status(host: &str, workload: &str, number: u64, status: &str, message: &str) -> String {
    format!(
        r#"{{"run_id":"run-1","host":"{host}","workload":"{workload}","repetition":{number},"total_repetitions":3,"status":"{status}","type":"status","message":"{message}"}}"#
    )
}

/// A log event of a benchmark.
pub(crate) fn log(host: &str, workload: &str, number: u64, level: &str, message: &str) -> String {
    let extra = if level == "ERROR" { r#","error_type":"K6ExecutionError""# } else { "" };
    format!(
        r#"{{"run_id":"run-1","host":"{host}","workload":"{workload}","repetition":{number},"total_repetitions":3,"status":"running","type":"log","level":"{level}","message":"{message}"{extra}}}"#
    )
}
