//! The `tasktail` command.

use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_env = "gnu", feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tasktail::cli::main()
}
