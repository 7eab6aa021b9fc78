//! Policies for output beyond the limit of a worker's local log.

use std::str::FromStr;

/// The treatment of output for which the local log has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Lines are skipped and counted by `[N messages skipped]` in their place; those in the log stay, and so do
    /// the newest ones.
    #[default]
    Skip,
    /// The command waits until the server has confirmed earlier lines.
    Wait,
}

impl FromStr for Overflow {
    /// The accepted values.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "skip" => Ok(Overflow::Skip),
            "wait" => Ok(Overflow::Wait),
            _ => Err("use `skip` or `wait`".to_owned()),
        }
    }
}
