//! Limits on what is kept: each is reached from outside, and what a reader is told of it is checked.

mod kills;
mod log_bytes;
mod patterns;
mod rates;
mod store;
