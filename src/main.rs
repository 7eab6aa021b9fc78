//! The `tasktail` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tasktail::cli::main()
}
