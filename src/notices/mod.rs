//! Notices: events of tasks that rules of the settings file report to other programs.
//!
//! ```text
//! tasks::NewTasks ─> engine ─(one for each open task)─> watch ─> notice ─> queue of each action ─> send
//!                      └ rules (SIGHUP replaces them)    └ conditions: end, line, silence, duration
//!                                                        webhook (signed) │ ntfy │ command
//! ```
//!
//! A queue belongs to one action of one rule, so that a receiver that does not answer delays only itself. When a queue
//! is full, notices are dropped and counted. They are held in memory only: a server that is killed loses them.

mod active;
mod command;
mod engine;
mod failure;
mod meters;
mod notice;
mod queue;
mod rule;
mod sign;
mod table;
mod watch;
mod webhook;

pub use engine::NoticeEngine;
pub use meters::NoticeMeters;
pub use rule::{NoticeAction, NoticeRule, NoticeRules, NoticeTrigger};
pub use table::parse_rule;
