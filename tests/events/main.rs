//! Events: extraction, files, and real Ansible.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod ansible;
mod extract;
mod follow;
mod log;
