//! Compiles the two C files of this crate; each states its purpose.

use std::env::{var, var_os};

/// Linked into the library.
const SYNC_FILE_RANGE: &str = "src/store/sync_file_range.c";
/// Linked into the program and the benchmarks.
const MALLOC_OPTIONS: &str = "src/malloc_options.c";

fn main() {
    println!("cargo::rerun-if-changed={SYNC_FILE_RANGE}");
    println!("cargo::rerun-if-changed={MALLOC_OPTIONS}");
    if var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // Whole, because nothing in this crate calls it and the linker would drop it.
    cc::Build::new().file(SYNC_FILE_RANGE).link_lib_modifier("+whole-archive").compile("tasktail_sync_file_range");
    if var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") && var_os("CARGO_FEATURE_MIMALLOC").is_some() {
        let mut build = cc::Build::new();
        if let Ok(include) = var("DEP_MIMALLOC_INCLUDE_DIR") {
            build.include(include);
        }
        for object in build.file(MALLOC_OPTIONS).compile_intermediates() {
            println!("cargo::rustc-link-arg-bins={}", object.display());
            println!("cargo::rustc-link-arg-benches={}", object.display());
        }
    }
}
