//! A full-screen view of a run in the terminal: its journal, the state of its event stream, its log.
//!
//! ```text
//! server (RunFollower, /api/v1/pipeline) ─┐
//! piped text (Extractor) ─────────────────┤─> Item ──bounded queue──> State ──> view ──> terminal
//! a file (FileFollower, Extractor) ───────┘                            ^
//!                                                     keys (/dev/tty) ─┘
//! ```
//!
//! [`State`] is pure: it takes items, actions and the present, and knows neither terminal nor clock.
//! Nothing that comes is dropped on the way to it: a screen that is slower shows the newest, and a
//! reader that is faster waits. All text is passed through [`crate::events::clean`] where a row is made.

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
mod row;
mod screen;
mod state;
mod text;
mod view;

pub use collapse::{Collapser, Lane, Placement};
pub use counts::Counts;
pub use input::{Feed, Input, InputError};
pub use item::Item;
pub use keys::{Action, action};
pub use log::{Gone, Log, ROWS_MAX};
pub use normal::{is_failure_text, normalise};
pub use plain::{PlainError, follow_plain};
pub use row::{Level, Row};
pub use screen::{ScreenError, show};
pub use state::{Ending, Link, Mode, State};
pub use view::draw;
