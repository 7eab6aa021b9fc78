//! See `fuzz/checks/worker_message.rs`; the tests run the same on the corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/worker_message.rs"]
mod worker_message;

fuzz_target!(|bytes: &[u8]| worker_message::check(bytes));
