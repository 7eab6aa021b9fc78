//! HTTP: the accept loop, the routes and their handlers.

pub(in crate::server) mod accept;
pub(in crate::server) mod append;
pub(in crate::server) mod auth;
pub(in crate::server) mod body;
pub(in crate::server) mod browser;
pub(in crate::server) mod client_addr;
pub(in crate::server) mod download;
pub(in crate::server) mod error;
pub(in crate::server) mod health;
pub(in crate::server) mod host;
pub(in crate::server) mod lines;
pub(in crate::server) mod origin;
pub(in crate::server) mod pipeline;
pub(in crate::server) mod public_url;
pub(in crate::server) mod query;
pub(in crate::server) mod routes;
pub(in crate::server) mod runs;
pub(in crate::server) mod sse;
pub(in crate::server) mod tasks;
pub(in crate::server) mod timeouts;
