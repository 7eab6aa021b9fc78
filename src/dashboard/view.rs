//! The screen: the layout of the panels, and the log. Works at any size; a small screen shows only
//! the log.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use super::row::{LogRow, RowLevel};
use super::state::{DashboardState, LinkState, LogMode};
use super::text::{clock, fit, thousands, width, without};
use super::{hint, panels};
use crate::model::Timestamp;

/// Below this height only the log is shown.
const LINES_MIN: u16 = 16;
/// Below this width only the log is shown.
const COLUMNS_MIN: u16 = 44;
/// Columns of a level's word.
const LEVEL: usize = 7;
/// The key bindings shown by the help.
const KEYS: [(&str, &str); 10] = [
    ("q, Ctrl-C", "quit"),
    ("↑ ↓ k j", "scroll by a row"),
    ("PgUp PgDn", "scroll by a page"),
    ("Home End", "scroll to the oldest; to the newest, and follow it"),
    ("← →", "scroll long texts sideways"),
    ("space", "pause the log; new rows are counted"),
    ("/ text", "show only rows with this text; Esc shows all"),
    ("l", "summary (repetition in one row) or all lines"),
    ("e", "jump to the next error"),
    ("?", "toggle this help"),
];

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, state: &mut DashboardState, now: Timestamp) {
    let area = frame.area();
    if area.height < LINES_MIN || area.width < COLUMNS_MIN {
        let [log, footer] =
            Layout::vertical([Constraint::Min(1), Constraint::Length(u16::from(area.height > 5))]).areas(area);
        draw_log(frame, state, log, Some(hint::stream(state, now)));
        draw_footer(frame, state, footer);
    } else {
        draw_panels(frame, state, area, now);
    }
    if state.help {
        draw_help(frame, state, area, now);
    }
}

fn draw_panels(frame: &mut Frame<'_>, state: &mut DashboardState, area: Rect, now: Timestamp) {
    let columns = usize::from(area.width);
    let entries = panels::entries(state);
    let wanted = entries.len() + 1;
    // The journal's third includes its title and header.
    let journal_rows = wanted.min(usize::from(area.height / 3).saturating_sub(1)).max(1);
    let (title, journal) = panels::journal(state, &entries, journal_rows.saturating_sub(1), columns);
    let room = if area.height >= 40 { 6 } else { 4 };
    let status = panels::status(state, now, columns, room);
    let [top, middle, log, footer] = Layout::vertical([
        Constraint::Length(height(&journal)),
        Constraint::Length(height(&status)),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_panel(frame, &title, journal, top);
    draw_panel(frame, "Event Status", status, middle);
    draw_log(frame, state, log, None);
    draw_footer(frame, state, footer);
}

fn height(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len() + 1).unwrap_or(u16::MAX)
}

fn draw_panel(frame: &mut Frame<'_>, title: &str, lines: Vec<Line<'_>>, area: Rect) {
    frame.render_widget(Paragraph::new(lines).block(rule(title, area)), area);
}

/// Returns a horizontal rule with a title.
fn rule(title: &str, area: Rect) -> Block<'static> {
    let title = fit(title, usize::from(area.width).saturating_sub(4));
    let title = Line::from(Span::styled(format!(" {title} "), Modifier::BOLD));
    Block::new().borders(Borders::TOP).border_style(Color::DarkGray).title(title)
}

fn draw_log(frame: &mut Frame<'_>, state: &mut DashboardState, area: Rect, status: Option<String>) {
    let page = usize::from(area.height.saturating_sub(1));
    state.log_mut().set_page(page);
    let title = log_title(state, status);
    let columns = usize::from(area.width);
    let (shows_dropped, rows) = state.log().window(&state.filter);
    let mut lines: Vec<Line<'_>> = Vec::with_capacity(rows.len() + 1);
    if shows_dropped {
        let dropped = state.log().dropped();
        let text = format!(
            "… {} older rows dropped ({} lines, {} events)",
            thousands(dropped.rows),
            thousands(dropped.lines),
            thousands(dropped.events)
        );
        lines.push(Line::styled(fit(&text, columns), Modifier::DIM));
    }
    if rows.is_empty() && !shows_dropped {
        let text = if state.filter.is_empty() { "no output yet" } else { "no matching rows" };
        lines.push(Line::styled(fit(text, columns), Modifier::DIM));
    }
    let (mark, shift) = (state.log().mark(), state.log().shift());
    lines.extend(rows.iter().map(|row| line(row, columns, shift, mark == Some(row.id))));
    frame.render_widget(Paragraph::new(lines).block(rule(&title, area)), area);
}

fn log_title(state: &DashboardState, status: Option<String>) -> String {
    let log = state.log();
    let mode = if state.mode == LogMode::Summary { "summary" } else { "all" };
    let place = match log.paused() {
        Some(new) => format!(" · paused, {} new", thousands(new)),
        None if log.follows() => String::new(),
        None => " · scrolled back (End follows)".to_owned(),
    };
    let filter = if state.filter.is_empty() { String::new() } else { format!(" · only “{}”", state.filter) };
    let errors = match log.failures() {
        0 => String::new(),
        1 => " · 1 error".to_owned(),
        count => format!(" · {} errors", thousands(count as u64)),
    };
    let hidden = match state.hidden {
        1 if state.mode == LogMode::Summary => " · 1 line left out".to_owned(),
        count if count > 0 && state.mode == LogMode::Summary => format!(" · {} lines left out", thousands(count)),
        _ => String::new(),
    };
    let status = status.map(|status| format!("{status} · ")).unwrap_or_default();
    format!("{status}Log Stream · {mode}{place}{filter}{errors}{hidden}")
}

fn line(row: &LogRow, columns: usize, shift: usize, marked: bool) -> Line<'static> {
    let mut spans = vec![Span::styled(format!("{} ", clock(row.at)), Modifier::DIM)];
    let style = style(row.level);
    if let Some(word) = row.level.word() {
        spans.push(Span::styled(format!("{word:LEVEL$} "), style.add_modifier(Modifier::BOLD)));
    }
    if let Some(place) = &row.place {
        spans.push(Span::styled(format!("{} ", fit(place, columns / 3)), Color::Cyan));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let error = row.error.as_ref().map(|error| format!(" [{error}]")).unwrap_or_default();
    let room = columns.saturating_sub(used);
    // The error's type is more useful than the end of a long message.
    let error = fit(&error, room / 2);
    let message = fit(&without(&row.message(), shift), room.saturating_sub(width(&error)));
    spans.push(Span::styled(message, style));
    spans.push(Span::styled(error, Style::new().fg(Color::Magenta)));
    let line = Line::from(spans);
    if marked { line.patch_style(Modifier::REVERSED) } else { line }
}

fn style(level: RowLevel) -> Style {
    match level {
        RowLevel::Text => Style::new().fg(Color::Gray),
        RowLevel::Note => Style::new().add_modifier(Modifier::ITALIC | Modifier::DIM),
        RowLevel::Debug => Style::new().fg(Color::DarkGray),
        RowLevel::Info => Style::new(),
        RowLevel::Warning => Style::new().fg(Color::Yellow),
        RowLevel::Error => Style::new().fg(Color::Red),
    }
}

fn draw_footer(frame: &mut Frame<'_>, state: &DashboardState, area: Rect) {
    let text = if state.typing {
        format!("/{}▏ Enter applies, Esc clears", state.filter)
    } else {
        let ended =
            if state.link == LinkState::Ended { format!("{} has ended · ", state.source) } else { String::new() };
        let mode = if state.mode == LogMode::Summary { "all" } else { "summary" };
        format!("{ended}q quit  space pause  / filter  l {mode}  e next error  ↑↓ scroll  ? help")
    };
    let style = if state.typing { Style::new() } else { Style::new().add_modifier(Modifier::DIM) };
    frame.render_widget(Line::styled(fit(&text, usize::from(area.width)), style), area);
}

fn draw_help(frame: &mut Frame<'_>, state: &DashboardState, area: Rect, now: Timestamp) {
    let columns = usize::from(area.width.saturating_sub(4)).min(100);
    let mut lines: Vec<Line<'_>> =
        KEYS.iter().map(|(key, does)| Line::raw(fit(&format!("{key:<10} {does}"), columns))).collect();
    let warnings = hint::warnings(state, now);
    if !warnings.is_empty() {
        lines.push(Line::raw(""));
        lines.extend(warnings.iter().map(|text| Line::styled(fit(&format!("! {text}"), columns), Color::Yellow)));
    }
    let wanted = lines.iter().map(Line::width).max().unwrap_or(0) + 2;
    let wide = u16::try_from(wanted).unwrap_or(u16::MAX).saturating_add(2).min(area.width);
    let high = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let place = area.centered(Constraint::Length(wide), Constraint::Length(high));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Keys ")), place);
}
