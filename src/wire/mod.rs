//! What crosses a socket, as types; pure, no I/O.
//!
//! `worker` is the protocol between a worker and the server, `viewer` the one between the server
//! and whoever follows a task, `resp` the one Redis clients speak, `problem` the shape of an HTTP error.

pub mod problem;
pub mod resp;
pub mod viewer;
pub mod worker;
