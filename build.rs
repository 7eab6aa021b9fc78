//! Compiles the two C files of this crate; each says why it is there.

use std::env::{var, var_os};

/// Into the library.
const SYNC_FILE_RANGE: &str = "src/store/sync_file_range.c";
/// Into the program, and what measures it.
const MALLOC_CONF: &str = "src/malloc_conf.c";

fn main() {
    println!("cargo::rerun-if-changed={SYNC_FILE_RANGE}");
    println!("cargo::rerun-if-changed={MALLOC_CONF}");
    if var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // Whole: nothing in this crate calls it, so the linker would leave it out.
    cc::Build::new().file(SYNC_FILE_RANGE).link_lib_modifier("+whole-archive").compile("tasktail_sync_file_range");
    if var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") && var_os("CARGO_FEATURE_JEMALLOC").is_some() {
        for object in cc::Build::new().file(MALLOC_CONF).compile_intermediates() {
            println!("cargo::rustc-link-arg-bins={}", object.display());
            println!("cargo::rustc-link-arg-benches={}", object.display());
        }
    }
}
