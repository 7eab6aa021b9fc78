//! Events out of any text: every form they come in, however the text is cut into pieces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod ansible;
mod forms;
mod limits;
mod properties;
mod support;
#[path = "../ansible/expected.rs"]
mod expected;
