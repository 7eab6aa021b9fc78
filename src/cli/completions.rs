//! `tasktail completions`: prints a completion script for a shell.

use std::io::Write as _;

use clap::Args;

/// `tasktail completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail completions bash > ~/.local/share/bash-completion/completions/tasktail
  tasktail completions zsh > ~/.zfunc/_tasktail
  tasktail completions fish > ~/.config/fish/completions/tasktail.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Prints the completions of `command`.
pub(super) fn run(args: &CompletionsArgs, mut command: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "tasktail", &mut script);
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&script)?;
    stdout.flush()?;
    Ok(())
}
