//! A full-screen view of a run in the terminal: its journal, the state of its event stream, its log.
//!
//! ```text
//! server (RunFollower, counters) ─────────┐
//! piped text (Extractor) ─────────────────┤─> DashboardItem ──bounded queue──> DashboardState ──> view ──> terminal
//! a file (FileFollower, Extractor) ───────┘                                          ^
//!                                                                  keys (/dev/tty) ──┘
//! ```
//!
//! [`DashboardState`] is pure: it processes items and actions with the current time as an argument, and
//! uses neither terminal nor clock. No item is dropped on the path to it: a slow screen skips frames, and
//! a fast reader blocks. All text is cleaned by [`crate::events::clean`] when a row is created.

mod collapse;
mod counts;
mod hint;
mod input;
mod item;
mod keys;
mod log;
mod normal;
mod panels;
mod plain;
mod playbook;
mod recap;
mod row;
mod screen;
mod state;
mod text;
mod view;

pub use collapse::{Collapser, Lane, Placement};
pub use counts::StageCounts;
pub use input::{Input, InputError, InputFeed};
pub use item::DashboardItem;
pub use keys::{Action, action};
pub use log::{DroppedRows, LogPanel, ROWS_MAX};
pub use normal::{is_failure_text, normalise};
pub use plain::{PlainError, follow_plain};
pub use recap::PlayRecap;
pub use row::{LogRow, RowLevel};
pub use screen::{ScreenError, show};
pub use state::{ActionOutcome, DashboardState, LinkState, LogMode};
pub use view::draw;
