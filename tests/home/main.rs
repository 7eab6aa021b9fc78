//! Several servers over one Redis and one object store.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod adopt;
#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod processes;
mod rights;
mod runs;
mod script;
mod secrets;
mod tasks;

use common::home::TestHome;
use common::{TestServer, serve_with};
use tasktail::model::limits::Limits;

/// A server over a shared store.
pub(crate) async fn serve(home: &TestHome) -> TestServer {
    serve_limited(home, |_| {}).await
}

/// A server over a shared store, with limits of the test's own.
pub(crate) async fn serve_limited(home: &TestHome, change: impl FnOnce(&mut Limits)) -> TestServer {
    let options = home.options();
    serve_with(|serve| {
        serve.home = Some(options);
        serve.limits.live_window_lines = 2_000;
        serve.limits.keeper_lease = std::time::Duration::from_secs(1);
        change(&mut serve.limits);
    })
    .await
}
