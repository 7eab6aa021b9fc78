//! What a key asks for.

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Move the log by rows; below zero to older ones.
    Scroll(isize),
    /// Move it by pages.
    Page(isize),
    /// To the oldest row.
    Home,
    /// To the newest, and follow it.
    End,
    /// Move long texts sideways.
    Shift {
        /// To their end; else to their begin.
        right: bool,
    },
    /// To the next failure.
    NextError,
    /// Stop the log, or let it go on.
    Pause,
    /// Summary or all.
    Mode,
    /// Begin to type a filter.
    Filter,
    /// A letter of the filter.
    Type(char),
    /// Take its last letter away.
    Erase,
    /// The filter is typed.
    Keep,
    /// No filter, no help.
    Clear,
    /// Show the keys, or show them no longer.
    Help,
    /// The screen has another size.
    Redraw,
}

/// What an event of the terminal asks for; `typing` is whether letters go to the filter.
pub fn action(event: &Event, typing: bool) -> Option<Action> {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        Event::Resize(..) => return Some(Action::Redraw),
        _ => return None,
    };
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Esc => Action::Clear,
        KeyCode::Enter if typing => Action::Keep,
        KeyCode::Backspace if typing => Action::Erase,
        KeyCode::Char(c) if typing => Action::Type(c),
        KeyCode::Up | KeyCode::Char('k') => Action::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Scroll(1),
        KeyCode::PageUp | KeyCode::Char('b') => Action::Page(-1),
        KeyCode::PageDown | KeyCode::Char('f') => Action::Page(1),
        KeyCode::Home | KeyCode::Char('g') => Action::Home,
        KeyCode::End | KeyCode::Char('G') => Action::End,
        KeyCode::Left => Action::Shift { right: false },
        KeyCode::Right => Action::Shift { right: true },
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char(' ') => Action::Pause,
        KeyCode::Char('l' | 'L') => Action::Mode,
        KeyCode::Char('e') => Action::NextError,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char('?' | 'h') => Action::Help,
        _ => return None,
    })
}
