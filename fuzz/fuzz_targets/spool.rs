//! See `fuzz/checks/spool.rs`; the tests run the same on the corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/spool.rs"]
mod spool;

fuzz_target!(|bytes: &[u8]| spool::check(bytes));
