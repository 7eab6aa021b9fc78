//! Compiles `src/store/sync_file_range.c` into the library; it says why it is there.

fn main() {
    let source = "src/store/sync_file_range.c";
    println!("cargo::rerun-if-changed={source}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // Whole: nothing in this crate calls it, so the linker would leave it out.
    cc::Build::new().file(source).link_lib_modifier("+whole-archive").compile("tasktail_sync_file_range");
}
