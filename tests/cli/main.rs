//! The command line from outside: the real binary, each test in a home of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
mod alone;
mod run_events;
mod ship;
mod support;
mod usage;
mod with_server;
