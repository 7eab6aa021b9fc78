//! The server over its sockets: HTTP, WebSockets, SSE, TLS, authorization.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod analysis;
mod authorization;
mod bind;
#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../common/mod.rs"]
mod common;
mod download;
mod http;
mod metrics;
mod openapi;
mod partial;
mod pipeline;
mod prefix;
mod proxy;
mod reference;
mod resend;
mod runs;
mod search;
mod sse;
#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../cli/support.rs"]
mod support;
mod tls;
mod upload;
mod viewer;
mod worker;
