//! Several servers over one Redis and one object store.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../common/mod.rs"]
mod common;
mod runs;
mod secrets;
mod tasks;

use common::home::TestHome;
use common::{TestServer, serve_with};

/// A server over a shared store.
pub(crate) async fn serve(home: &TestHome) -> TestServer {
    let options = home.options();
    serve_with(|serve| {
        serve.home = Some(options);
        serve.limits.live_window_lines = 2_000;
    })
    .await
}
