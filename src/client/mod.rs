//! The other end of the server's sockets: what a terminal, a worker or a test uses to reach it.
//!
//! `endpoint` is where a server is, `http` asks and sends, `follow` reads a task's lines as they
//! come. Nothing here knows how a log is kept: it could be a program of its own.

pub mod connect;
pub mod endpoint;
pub mod follow;
pub mod http;
mod run;
mod token;

pub use endpoint::{BadUrl, Endpoint, Scheme};
pub use http::{ClientError, HttpClient};
pub use run::{RunFollower, RunItem, RunStart};
pub use token::{BadToken, BearerToken};
