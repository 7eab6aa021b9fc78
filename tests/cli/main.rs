//! The command line from outside: the real binary, each test in a home of its own.

mod alone;
mod support;
mod usage;
mod with_server;
