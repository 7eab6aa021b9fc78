//! Message types and codecs of all protocols; no I/O.
//!
//! `worker` is the protocol between a worker and the server, `viewer` the one between the server
//! and its viewers, `resp` is Redis' protocol, `problem` the format of an HTTP error.

pub mod problem;
pub mod resp;
pub mod viewer;
pub mod worker;
