//! HTTP: the accept loop, the checks that every request passes, and the handlers of the routes.
//!
//! ```text
//! accept (timeouts) ─ prefix ─ client_addr ─ origin (host, public_url, cors) ─ auth ─ routes ─ one handler:
//!
//!   tasks  lines  append  download  sse    a task: its metadata, log, and live stream
//!   search                                   lines of all tasks; log_scan finds them in one log
//!   analysis/                                outline, diff and explanation of a log
//!   runs/                                  runs and their events
//!   browser/                               sign-in, share links
//!   backup                                 a snapshot of the data folder
//!   health  metrics                        health checks, the counters of the stages, metrics
//!   reference/                             OpenAPI, JSON Schemas
//!   delegates                              WebSockets (`ws`) and pages (`web`)
//! ```
//! `routes` is the single table of routes: path, required access and handler. `route_request` is what
//! a handler receives, `named_task` finds the task that it names, `body`, `decode`, `rows` and `query` read a
//! request, `reply` and `error` make responses.

pub(in crate::server) mod accept;
pub(in crate::server) mod analysis;
mod append;
pub(in crate::server) mod auth;
mod backup;
mod body;
mod browser;
pub(in crate::server) mod client_addr;
pub(in crate::server) mod conditional;
pub(in crate::server) mod cors;
mod decode;
mod delegates;
mod download;
pub(in crate::server) mod error;
mod health;
mod host;
mod lines;
mod log_scan;
mod metrics;
pub(in crate::server) mod named_task;
mod origin;
mod prefix;
pub(in crate::server) mod public_url;
pub(in crate::server) mod query;
mod reference;
mod reply;
mod route_request;
pub(in crate::server) mod routes;
mod rows;
mod runs;
mod search;
mod sse;
mod tasks;
mod timeouts;
