//! The terminal dashboard: what stands on the screen at several sizes, what the log counts, and one
//! run in a real terminal. Also `run` in a real terminal, which needs the same tmux.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod follow;
mod plain;
mod playbook;
mod repetition;
mod run;
mod screens;
mod support;
mod terminal;
