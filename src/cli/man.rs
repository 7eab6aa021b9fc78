//! `tasktail man`: the manual pages, from the same definitions as `--help`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

/// `tasktail man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without DIR the page of tasktail itself is printed, in the format of man. With
DIR the pages of all commands are written to it, as tasktail-run.1; DIR is
created if it does not exist.

Examples:
  tasktail man | man -l -
  tasktail man ~/.local/share/man/man1       then: man tasktail-run")]
pub struct ManArgs {
    /// Write the pages of all commands to this folder
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Prints or writes the pages of `command`.
pub(super) fn run(args: &ManArgs, command: clap::Command) -> anyhow::Result<()> {
    // The page would repeat the long version on several lines in its footer.
    let command = command.long_version(None);
    match &args.folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            clap_mangen::generate_to(command, folder).with_context(|| format!("cannot write to {}", folder.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&page)?;
            Ok(stdout.flush()?)
        }
    }
}
