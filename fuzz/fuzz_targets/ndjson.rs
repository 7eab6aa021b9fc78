//! See `fuzz/checks/ndjson.rs`; the tests run the same on the corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/ndjson.rs"]
mod ndjson;

fuzz_target!(|bytes: &[u8]| ndjson::check(bytes));
