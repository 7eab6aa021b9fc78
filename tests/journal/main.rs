//! The journal: its properties against a model, golden scripts, keys, and wake-ups.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod commit_interval;
mod golden;
mod journal_model;
mod keys;
mod lost_wakeups;
mod properties;
