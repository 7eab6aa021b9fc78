//! When a command runs in a terminal of its own.

use std::str::FromStr;

/// When `run` allocates a pseudo-terminal for its command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PtyMode {
    /// If stdout is a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: the output is a pipe.
    Never,
}

impl PtyMode {
    /// Reports whether to allocate one.
    pub const fn is_on(self, stdout_is_terminal: bool) -> bool {
        match self {
            PtyMode::Auto => stdout_is_terminal,
            PtyMode::Always => true,
            PtyMode::Never => false,
        }
    }
}

impl FromStr for PtyMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(PtyMode::Auto),
            "always" => Ok(PtyMode::Always),
            "never" => Ok(PtyMode::Never),
            _ => Err(format!(
                "`{text}` is not auto, always or never; if it is the command, write `--` before it, such as `--pty -- {text}`"
            )),
        }
    }
}
