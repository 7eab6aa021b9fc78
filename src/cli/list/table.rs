//! The table of tasks, fitted to a width: every task has one row.

use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};

use super::super::screen::{columns, rows_of_line};
use super::super::{show, text};
use crate::model::{Task, TaskStatus, Timestamp, command_line};

const COLUMNS: usize = 8;
const HEAD: [&str; COLUMNS] = ["TASK", "STATUS", "EXIT", "LINES", "ERRORS", "STARTED", "DURATION", "COMMAND"];
const TASK: usize = 0;
const STATUS: usize = 1;
const LINES: usize = 3;
const ERRORS: usize = 4;
const COMMAND: usize = 7;
/// Columns that are left out if there is not enough room, in this order.
const DISPENSABLE: [usize; 5] = [6, LINES, 5, ERRORS, 2];
/// Minimum width of the command's column.
const COMMAND_COLUMNS_MIN: usize = 16;
/// Minimum length of a shortened id.
const ID_CHARS_MIN: usize = 8;
/// Columns between two columns of the table.
const GAP: usize = 2;

/// Returns the lines of the table, none wider than `width`.
pub(super) fn draw(tasks: &[Task], width: Option<usize>) -> Vec<String> {
    let mut rows: Vec<[String; COLUMNS]> = tasks.iter().map(row).collect();
    let shown = match width {
        None => (0..COLUMNS).collect(),
        Some(width) => fit(&mut rows, width),
    };
    let widths = widths(&rows);
    let bold = Style::new().bold();
    let head = line(&HEAD.map(str::to_owned), &shown, &widths, width, [Style::new(); 2]);
    let mut lines = vec![format!("{bold}{head}{bold:#}")];
    lines.extend(rows.iter().zip(tasks).map(|(row, task)| {
        let loss = if row[LINES].starts_with('!') { AnsiColor::Yellow.on_default() } else { Style::new() };
        line(row, &shown, &widths, width, [colour(task), loss])
    }));
    lines
}

/// Returns the columns that fit; ids are shortened if they must be.
fn fit(rows: &mut [[String; COLUMNS]], width: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..COLUMNS).collect();
    let needed = |shown: &[usize], rows: &[[String; COLUMNS]]| {
        let widths = widths(rows);
        let each = shown.iter().map(|column| if *column == COMMAND { COMMAND_COLUMNS_MIN } else { widths[*column] });
        each.sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    if needed(&shown, rows) > width {
        shorten_ids(rows);
    }
    for column in DISPENSABLE.into_iter().chain([COMMAND]) {
        if needed(&shown, rows) <= width {
            break;
        }
        shown.retain(|shown| *shown != column);
    }
    shown
}

fn widths(rows: &[[String; COLUMNS]]) -> [usize; COLUMNS] {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(cell));
        }
    }
    widths
}

/// Shortens each id to the beginning that no other id of the table has, with at least [`ID_CHARS_MIN`] characters.
fn shorten_ids(rows: &mut [[String; COLUMNS]]) {
    let mut ids: Vec<String> = rows.iter().map(|row| row[TASK].clone()).collect();
    ids.sort_unstable();
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    for row in rows {
        let id = &row[TASK];
        let Ok(at) = ids.binary_search(id) else { continue };
        let neighbours = [at.checked_sub(1).and_then(|before| ids.get(before)), ids.get(at + 1)];
        let shared = neighbours.into_iter().flatten().map(|other| common(id, other)).max().unwrap_or(0);
        // An id that begins another one is needed as a whole; ids are ASCII.
        let length = (shared + 1).max(ID_CHARS_MIN).min(id.len());
        row[TASK].truncate(length);
    }
}

fn row(task: &Task) -> [String; COLUMNS] {
    let since = task.started.unwrap_or(task.created).as_millis();
    let ago = Duration::from_millis(Timestamp::now().as_millis().saturating_sub(since));
    [
        task.exact_id(),
        task.status.to_string(),
        show::exit(task).unwrap_or_else(|| "-".to_owned()),
        lines(task),
        errors(task),
        format!("{} ago", text::age(ago)),
        text::duration(show::ran_for(task)),
        text::words(&command_line(&task.command)).into_owned(),
    ]
}

/// Returns the number of the command's lines, with a mark if some are missing.
fn lines(task: &Task) -> String {
    match task.missing_lines() {
        _ if task.complete != Some(false) => task.kept_lines().to_string(),
        0 => format!("! {}", task.kept_lines()),
        missing => format!("! {} of {}", task.kept_lines(), task.kept_lines().saturating_add(missing)),
    }
}

/// Returns the number of errors, and that of warnings after a plus.
fn errors(task: &Task) -> String {
    match (task.errors, task.warnings) {
        (None, _) => "-".to_owned(),
        (Some(errors), None | Some(0)) => errors.to_string(),
        (Some(errors), Some(warnings)) => format!("{errors}+{warnings}"),
    }
}

/// Formats the shown cells of a row, with the styles of its status and of its lines, cut at the right edge.
fn line(
    row: &[String; COLUMNS],
    shown: &[usize],
    widths: &[usize; COLUMNS],
    width: Option<usize>,
    [status, loss]: [Style; 2],
) -> String {
    let (mut line, mut used) = (String::new(), 0);
    for (at, column) in shown.iter().copied().enumerate() {
        let is_last = at + 1 == shown.len();
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(used));
        if room == 0 {
            break;
        }
        let cell = cut(&row[column], room.min(if column == COMMAND { usize::MAX } else { widths[column] }));
        let style = match column {
            STATUS => status,
            LINES => loss,
            _ => Style::new(),
        };
        let padding = " ".repeat(widths[column].min(room).saturating_sub(columns(&cell)));
        let (before, after) = if matches!(column, TASK | STATUS | COMMAND) { ("", &*padding) } else { (&*padding, "") };
        let after = if is_last { "" } else { after };
        line.push_str(&format!("{before}{style}{cell}{style:#}{after}"));
        used += widths[column] + GAP;
        if !is_last && room > widths[column] + GAP {
            line.push_str("  ");
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Cuts a text to a width, with `…` at its end.
fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let rows = rows_of_line(text);
    let start = rows.first().map(|row| row.draw(false, &[], width.saturating_sub(1))).unwrap_or_default();
    if width == 0 { String::new() } else { format!("{start}…") }
}

fn colour(task: &Task) -> Style {
    let colour = match (task.status, task.exit_code, task.signal) {
        (TaskStatus::Running, ..) => AnsiColor::Cyan,
        (TaskStatus::Completed, Some(0), _) => AnsiColor::Green,
        (TaskStatus::Completed, ..) => AnsiColor::Red,
        (TaskStatus::Aborted | TaskStatus::Lost, ..) => AnsiColor::Yellow,
    };
    colour.on_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, command: &str) -> Task {
        let json = format!(
            r#"{{"id":"{id}","status":"completed","exit_code":0,"signal":null,"command":["{command}"],"labels":{{}},
            "host":null,"created":"2026-11-30T10:00:00Z","started":null,"ended":"2026-11-30T10:00:01Z","lines":12345,
            "bytes":1,"first_line":1,"last_line":1,"skipped_lines":0,"trimmed_lines":0,"live":false,"artifact":null}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn every_row_fits_any_width() {
        let wide = "\u{5b8c}\u{4e86}".repeat(60);
        let tasks = [
            task("make-1m8nxrc955r9a", "make -j8"),
            task("make-1m8nxrc9zzzzz", &wide),
            task("nightly.2", &"x".repeat(300)),
            task(&"n".repeat(128), "true"),
        ];
        for width in 1..200 {
            let lines = draw(&tasks, Some(width));
            assert_eq!(lines.len(), 5);
            for line in lines {
                let plain = rows_of_line(&line)[0].text();
                assert!(columns(&plain) <= width, "{width}: {plain}");
            }
        }
    }

    #[test]
    fn ids_are_shortened_to_unique_beginnings() {
        let tasks = [task("make-1m8nxrc955r9a", "make"), task("make-1m8nxrc9zzzzz", "make"), task("nightly", "n")];
        let lines = draw(&tasks, Some(40));
        let first = |line: &String| line.split_whitespace().next().unwrap().to_owned();
        assert_eq!(
            lines.iter().skip(1).map(first).collect::<Vec<_>>(),
            ["make-1m8nxrc95", "make-1m8nxrc9z", "nightly"]
        );
        assert!(draw(&tasks, None)[1].contains("make-1m8nxrc955r9a"), "whole in a pipe");
    }
}
