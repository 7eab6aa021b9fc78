//! See `fuzz/checks/viewer.rs`; the tests run the same on the corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/viewer.rs"]
mod viewer;

fuzz_target!(|bytes: &[u8]| viewer::check(bytes));
