//! See `fuzz/checks/cursor.rs`; the tests run the same on the corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/cursor.rs"]
mod cursor;

fuzz_target!(|bytes: &[u8]| cursor::check(bytes));
