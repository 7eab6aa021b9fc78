//! The client side of the server's protocols, used by terminals, workers and tests.
//!
//! `endpoint` parses a server's address, `http` sends requests, `connect` opens WebSockets, and
//! `follow` reads a task's lines live, `many` those of several tasks. `post` sends one request to another server.
//! Nothing here depends on how the server stores a log: the module could be a separate program.

pub mod connect;
pub mod endpoint;
pub mod follow;
mod follow_error;
pub mod http;
pub mod many;
pub mod post;
mod receive;
mod run;
mod token;

pub use endpoint::{BadUrl, Endpoint, Scheme};
pub use http::{ClientError, HttpClient};
pub use run::{RunFollower, RunItem, RunStreamStart};
pub use token::{BadToken, BearerToken};
