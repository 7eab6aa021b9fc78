//! The structure of the source: layers, circles and type names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod circles;
mod layers;
mod type_names;
