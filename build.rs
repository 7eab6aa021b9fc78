//! Compiles the two C files of this crate. Each file explains its purpose.

use std::env::{var, var_os};

/// Linked into the library.
const SYNC_FILE_RANGE: &str = "src/store/sync_file_range.c";
/// Linked into the binaries and the benchmarks.
const MALLOC_CONF: &str = "src/malloc_conf.c";

fn main() {
    println!("cargo::rerun-if-changed={SYNC_FILE_RANGE}");
    println!("cargo::rerun-if-changed={MALLOC_CONF}");
    if var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // Whole archive: no code in this crate calls the function, so the linker would omit it.
    cc::Build::new().file(SYNC_FILE_RANGE).link_lib_modifier("+whole-archive").compile("tasktail_sync_file_range");
    if var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") && var_os("CARGO_FEATURE_JEMALLOC").is_some() {
        for object in cc::Build::new().file(MALLOC_CONF).compile_intermediates() {
            println!("cargo::rustc-link-arg-bins={}", object.display());
            println!("cargo::rustc-link-arg-benches={}", object.display());
        }
    }
}
