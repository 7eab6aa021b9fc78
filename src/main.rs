//! The `tasktail` command.
fn main() {}
