//! The top level of the command line: global flags and the list of commands.
//!
//! Each command's flags are in the command's own file.

use clap::{Parser, Subcommand};

use super::adopt::AdoptArgs;
use super::append::{AppendArgs, EndArgs};
use super::backup::{BackupArgs, RestoreArgs};
use super::complete::CompleteArgs;
use super::completions::CompletionsArgs;
use super::config::ConfigArgs;
use super::dashboard::DashboardArgs;
use super::diff::DiffArgs;
use super::doctor::DoctorArgs;
use super::events::EventsArgs;
use super::explain::ExplainArgs;
use super::export::ExportArgs;
use super::follow::FollowArgs;
use super::grep::GrepCommandArgs;
use super::list::ListArgs;
use super::man::ManArgs;
use super::mcp::McpArgs;
use super::open::OpenArgs;
use super::replay::ReplayArgs;
use super::rm::RmArgs;
use super::run::RunArgs;
use super::serve::ServeArgs;
use super::settings::GlobalArgs;
use super::share::ShareArgs;
use super::ship::ShipArgs;
use super::show::ShowArgs;
use super::spool::SpoolCommandArgs;
use super::token::TokenArgs;
use super::verify::VerifyArgs;
use super::version;

/// Stream a command's output live to the browser and the terminal, and keep it.
#[derive(Debug, Parser)]
#[command(
    name = "tasktail",
    version,
    long_version = version::long(),
    max_term_width = 110,
    after_help = "\
Examples:
  tasktail run -- make -j8             run a command and stream its output to the URL that is printed
  tasktail follow                      print its lines in another terminal, from the first on
  tasktail list                        list running and finished tasks
  tasktail serve                       run a server for many tasks

Settings are read from flags, then the environment (TASKTAIL_URL,
TASKTAIL_DATA, ...), then a TOML file (--config, or tasktail/config.toml in
your config folder), then defaults."
)]
pub struct Cli {
    /// Flags that every command accepts.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the server
    Serve(ServeArgs),
    /// Run a command as a task: show its output here and stream it
    Run(RunArgs),
    /// Print the lines of tasks, history then live, until they end
    #[command(visible_alias = "logs")]
    Follow(FollowArgs),
    /// Append text, or stdin line by line, to a task
    Append(AppendArgs),
    /// End a task that has no worker
    End(EndArgs),
    /// List tasks, newest first
    #[command(visible_aliases = ["ls", "ps"])]
    List(ListArgs),
    /// Show details of a task
    #[command(visible_alias = "inspect")]
    Show(ShowArgs),
    /// Print the lines of any task that match a regular expression
    Grep(GrepCommandArgs),
    /// Print the lines that a task's log has and the last good one has not
    Diff(DiffArgs),
    /// Print the most telling lines of a task's log within a size
    Explain(ExplainArgs),
    /// Print a task's log at the speed at which it was written
    Replay(ReplayArgs),
    /// Write a task's whole log to stdout or a file
    Export(ExportArgs),
    /// Serve the page of a task from the data folder until Ctrl-C, and print its address
    Open(OpenArgs),
    /// Delete tasks and their logs
    Rm(RmArgs),
    /// Create a read-only link to one task, usable without a token
    Share(ShareArgs),
    /// Follow growing files as lines of a task
    Ship(ShipArgs),
    /// List and send lines that `run --spool` left on disk
    Spool(SpoolCommandArgs),
    /// Record and read the events of a run, in a file or at a server
    Events(EventsArgs),
    /// Watch a run full-screen
    Dashboard(DashboardArgs),
    /// Serve the logs to a language model over stdio (Model Context Protocol)
    Mcp(McpArgs),
    /// Send a test message through every stage and report where it stops
    Doctor(DoctorArgs),
    /// Create, list and revoke the access tokens of a data folder
    Token(TokenArgs),
    /// Copy a data folder while it is in use
    Backup(BackupArgs),
    /// Copy a backup to a new data folder
    Restore(RestoreArgs),
    /// Check a data folder offline, or the logs in an object store
    Verify(VerifyArgs),
    /// List the logs of an object store again in a Redis that has lost them
    Adopt(AdoptArgs),
    /// Show and check the settings, and print a settings file
    Config(ConfigArgs),
    /// Print the manual page, or write the pages of all commands
    Man(ManArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the ids or labels that can stand at the end of a command line
    #[command(hide = true)]
    Complete(CompleteArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_definitions_are_valid() {
        Cli::command().debug_assert();
    }
}
