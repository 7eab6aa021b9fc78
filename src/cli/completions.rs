//! `tasktail completions`: prints a completion script for a shell.
//!
//! The scripts of bash, zsh and fish also call `tasktail complete`, a hidden command, for ids and labels.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

/// Added to the script of bash: ids and labels first, then what the generated function knows.
const BASH: &str = r#"
_tasktail_dynamic() {
    local cur="${COMP_WORDS[COMP_CWORD]}" found
    _tasktail "$@"
    if [[ $cur != -* ]] && found=$(command tasktail complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) && [[ -n $found ]]; then
        mapfile -t COMPREPLY <<<"$found"
    fi
}
complete -F _tasktail_dynamic -o nosort -o bashdefault -o default tasktail
"#;

/// Precedes the end of the script of zsh, whose function it replaces.
const ZSH: &str = r#"_tasktail_dynamic() {
    local -a found
    [[ $PREFIX == -* ]] || found=("${(@f)$(command tasktail complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n $found[1] ]]; then
        compadd -V tasks -- "$found[@]"
    else
        _tasktail "$@"
    fi
}

"#;

/// Added to the script of fish.
const FISH: &str = r#"
complete -c tasktail -k -a "(command tasktail complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)"
"#;

/// `tasktail completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
The scripts complete commands, flags and their values; those of bash, zsh and
fish also ids of tasks and labels, which are asked of the server for at most a
second.

Examples:
  tasktail completions bash > ~/.local/share/bash-completion/completions/tasktail
  tasktail completions zsh > ~/.zfunc/_tasktail
  tasktail completions fish > ~/.config/fish/completions/tasktail.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the completions of `command`.
pub(super) fn run(args: &CompletionsArgs, mut command: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "tasktail", &mut script);
    let mut script = String::from_utf8(script)?;
    match args.shell {
        Shell::Bash => script.push_str(BASH),
        Shell::Fish => script.push_str(FISH),
        // The end calls or registers the generated function.
        Shell::Zsh => {
            if let Some(end) = script.rfind("if [ \"$funcstack[1]\"") {
                let tail = script.split_off(end);
                script.push_str(ZSH);
                script.push_str(
                    &tail
                        .replace("    _tasktail \"$@\"", "    _tasktail_dynamic \"$@\"")
                        .replace("compdef _tasktail tasktail", "compdef _tasktail_dynamic tasktail"),
                );
            }
        }
        _ => {}
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(script.as_bytes())?;
    stdout.flush()?;
    Ok(())
}
