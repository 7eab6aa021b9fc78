//! `tasktail config`: shows and checks the settings, and prints a settings file.

mod template;

use clap::{Args, Subcommand};

use super::output::Output;
use super::{SettingsSource, text, unknown_variables};
use crate::config::{SettingFault, SettingValue};

/// Exit code for settings with faults.
const EXIT_FAULTS: u8 = 1;

/// `tasktail config`.
#[derive(Debug, Args)]
#[command(after_help = "\
Settings are read from flags, then the environment, then a settings file, then
the defaults. Every setting has one name in three spellings: worker_grace in
the file, TASKTAIL_WORKER_GRACE in the environment, --worker-grace as a flag.

Examples:
  tasktail config show                                  every setting, its value and its source
  tasktail config check --config /etc/tasktail/config.toml
  tasktail config template > ~/.config/tasktail/config.toml
  tasktail config show --json | jq -r 'select(.source != \"default\") | .name'")]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

/// The commands of `tasktail config`.
#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting with its value and its source; access tokens and passwords are masked
    Show,
    /// Report every mistake in the settings; the exit code is 1 if there is one
    Check,
    /// Print a settings file with every setting and its default, commented
    Template,
}

/// Runs the command. `definitions` are those of the command line.
pub(super) fn run(
    args: &ConfigArgs,
    source: &SettingsSource,
    output: Output,
    definitions: clap::Command,
) -> anyhow::Result<u8> {
    match args.command {
        ConfigCommand::Show => show(&source.describe()?, output),
        ConfigCommand::Check => check(source, output),
        ConfigCommand::Template => {
            output.line(template::render(definitions).trim_end())?;
            Ok(0)
        }
    }
}

fn show(settings: &[SettingValue], output: Output) -> anyhow::Result<u8> {
    if output.json() {
        settings.iter().try_for_each(|setting| output.object(setting))?;
        return Ok(0);
    }
    let rows = settings.iter().map(|setting| {
        let value = text::words(setting.value.as_deref().unwrap_or("-"));
        (setting.name, value, text::words(setting.at.as_deref().unwrap_or(setting.source)))
    });
    let rows: Vec<_> = rows.collect();
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let names = width(&mut rows.iter().map(|row| row.0.len()));
    let values = width(&mut rows.iter().map(|row| row.1.chars().count()));
    for (name, value, at) in rows {
        output.line(format_args!("{name:names$}  {value:values$}  {at}"))?;
    }
    Ok(0)
}

fn check(source: &SettingsSource, output: Output) -> anyhow::Result<u8> {
    let mut faults = source.check();
    faults.extend(unknown_variables().into_iter().map(|what| SettingFault { what }));
    for fault in &faults {
        if output.json() {
            output.object(fault)?;
        } else {
            output.line(text::words(&fault.what))?;
        }
    }
    if faults.is_empty() {
        output.note("the settings have no faults");
        return Ok(0);
    }
    Ok(EXIT_FAULTS)
}
