//! Key bindings.

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

/// An action of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Exit.
    Quit,
    /// Scroll by rows; negative values scroll to older ones.
    Scroll(isize),
    /// Scroll by pages.
    Page(isize),
    /// Scroll to the oldest row.
    Home,
    /// Scroll to the newest row, and follow it.
    End,
    /// Scroll long texts sideways.
    Shift {
        /// Toward their end; otherwise toward their start.
        right: bool,
    },
    /// Jump to the next failure.
    NextError,
    /// Pause or resume the log.
    Pause,
    /// Toggle between summary and all.
    Mode,
    /// Start to type a filter.
    Filter,
    /// Add a letter to the filter.
    Type(char),
    /// Remove the last letter of the filter.
    Erase,
    /// Apply the filter.
    Keep,
    /// Clear the filter, or close the help.
    Clear,
    /// Show or hide the key bindings.
    Help,
    /// Redraw, for example after a resize.
    Redraw,
}

/// Returns the action for a terminal event; `typing` sends letters to the filter.
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
