//! Bytes on disk and from sockets: old formats, and the corpus of the fuzzers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod corpus;
mod formats;
