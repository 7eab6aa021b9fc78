//! Compiles the two C files of this crate, each of which explains its purpose, and finds the commit of a release.

use std::env::{var, var_os};
use std::process::Command;

/// Linked into the library.
const SYNC_FILE_RANGE: &str = "src/store/sync_file_range.c";
/// Linked into the binaries and the benchmarks.
const MALLOC_CONF: &str = "src/malloc_conf.c";

fn main() {
    println!("cargo::rerun-if-changed={SYNC_FILE_RANGE}");
    println!("cargo::rerun-if-changed={MALLOC_CONF}");
    if let Some(commit) = commit() {
        println!("cargo::rustc-env=TASKTAIL_BUILD_COMMIT={commit}");
    }
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

/// Returns the commit of a release build: `TASKTAIL_BUILD_COMMIT` if it is set, else that of the source folder.
/// A debug build has none: with it every commit would build everything again.
fn commit() -> Option<String> {
    println!("cargo::rerun-if-env-changed=TASKTAIL_BUILD_COMMIT");
    if let Ok(commit) = var("TASKTAIL_BUILD_COMMIT") {
        return Some(commit);
    }
    if var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    let git = |args: &[&str]| {
        let done = Command::new("git").args(args).output().ok().filter(|done| done.status.success())?;
        String::from_utf8(done.stdout).ok().map(|text| text.trim().to_owned())
    };
    // A package that cargo has unpacked is no work tree of its own, but it may be inside of another one.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    for file in ["HEAD", "index"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit} with changes") })
}
