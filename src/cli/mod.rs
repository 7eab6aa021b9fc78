//! The command line: parses it and dispatches to the commands.
//!
//! `args` lists the commands; each command's file has its flags and its code. Data is printed to
//! stdout, everything else to stderr, both through `output`. Exit codes: 0 for success, 1 for a
//! failure, 2 for an invalid command line; `grep` and `diff` return those of grep and diff, `run` and
//! `follow --exit-status` return the task's code.

mod adopt;
mod append;
mod args;
mod backup;
mod complete;
mod completions;
mod config;
mod dashboard;
mod diff;
mod doctor;
mod events;
mod explain;
mod export;
mod follow;
mod grep;
mod list;
mod locate;
mod man;
mod mask;
mod mcp;
mod notify;
mod open;
mod output;
mod owner;
mod progress;
mod rejected;
mod replay;
mod rm;
mod run;
mod screen;
mod search;
mod sender;
mod serve;
mod service;
mod settings;
mod share;
mod shell_hint;
mod ship;
mod show;
mod spool;
mod task_ref;
mod terminal_size;
mod text;
mod token;
mod values;
mod verify;
mod version;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use args::{Cli, CliCommand};
use output::Output;
pub use settings::GlobalArgs;
use settings::{LogFormat, SettingArgs};

use crate::config::{ConfigError, FlagValues, SettingFault, SettingSource, SettingValue, Settings};
use crate::worker::run_as_leader;

/// Exit code for an invalid command line, the same as clap's.
const EXIT_USAGE: u8 = 2;
/// Exit code for a failure of tasktail before the command starts, as in `env` and `docker run`.
const EXIT_BEFORE_START: u8 = 125;
/// Exit code after Ctrl-C, as in a shell.
const EXIT_INTERRUPTED: u8 = 130;

/// Parses the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = run_as_leader() {
        return code;
    }
    let cli = Cli::parse();
    cli.global.color.apply();
    let output = Output::new(cli.global.quiet, cli.global.json);
    let (failed, usage) = match cli.command {
        CliCommand::Run(_) => (EXIT_BEFORE_START, EXIT_BEFORE_START),
        CliCommand::Grep(_) | CliCommand::Diff(_) => (grep::EXIT_TROUBLE, EXIT_USAGE),
        _ => (1, EXIT_USAGE),
    };
    match prepare_and_run(cli, output) {
        Ok(code) => ExitCode::from(code),
        // The reader closed the pipe (`| head`): not an error.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            let is_usage = error.downcast_ref::<ConfigError>().is_some_and(ConfigError::is_usage);
            ExitCode::from(if is_usage { usage } else { failed })
        }
    }
}

/// The settings and the output of a command.
struct Context {
    settings: Settings,
    output: Output,
}

fn prepare_and_run(mut cli: Cli, output: Output) -> anyhow::Result<u8> {
    if let CliCommand::Complete(args) = &cli.command {
        // The flags that decide the server are in the command line to complete.
        let Some(global) = args.global() else { return Ok(0) };
        cli.global = global;
    }
    if let CliCommand::Completions(args) = &cli.command {
        return completions::run(args, Cli::command()).map(|()| 0);
    }
    if let CliCommand::Man(args) = &cli.command {
        return man::run(args, Cli::command()).map(|()| 0);
    }
    let source = SettingsSource::new(&cli)?;
    if let CliCommand::Config(args) = &cli.command {
        return config::run(args, &source, output, Cli::command());
    }
    let settings = source.load()?;
    let default_filter = if matches!(cli.command, CliCommand::Serve(_)) { "info" } else { "warn" };
    init_tracing(cli.global.log_format, default_filter)?;
    settings.warnings.iter().for_each(|warning| output.note(warning));
    if matches!(cli.command, CliCommand::Serve(_) | CliCommand::Run(_)) {
        unknown_variables().iter().for_each(|warning| output.note(warning));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(dispatch(cli.command, Context { settings, output }, source));
    // A thread that reads stdin would block the exit.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: CliCommand, context: Context, source: SettingsSource) -> anyhow::Result<u8> {
    // Boxed because the sizes of the commands' futures differ widely.
    match command {
        CliCommand::Serve(args) => Box::pin(serve::run(args, context, source)).await,
        CliCommand::Run(args) => Box::pin(run::run(args, context)).await,
        CliCommand::Follow(args) => Box::pin(follow::run(args, context)).await,
        CliCommand::Append(args) => Box::pin(append::run(args, context)).await,
        CliCommand::End(args) => Box::pin(append::end(args, context)).await,
        CliCommand::List(args) => Box::pin(list::run(args, context)).await,
        CliCommand::Show(args) => Box::pin(show::run(args, context)).await,
        CliCommand::Grep(args) => Box::pin(grep::run(args, context)).await,
        CliCommand::Diff(args) => Box::pin(diff::run(args, context)).await,
        CliCommand::Explain(args) => Box::pin(explain::run(args, context)).await,
        CliCommand::Replay(args) => Box::pin(replay::run(args, context)).await,
        CliCommand::Export(args) => Box::pin(export::run(args, context)).await,
        CliCommand::Open(args) => Box::pin(open::run(args, context)).await,
        CliCommand::Rm(args) => Box::pin(rm::run(args, context)).await,
        CliCommand::Share(args) => Box::pin(share::run(args, context)).await,
        CliCommand::Ship(args) => Box::pin(ship::run(args, context)).await,
        CliCommand::Spool(args) => Box::pin(spool::run(args, context)).await,
        CliCommand::Events(args) => Box::pin(events::run(args, context)).await,
        CliCommand::Mcp(args) => Box::pin(mcp::run(args, context)).await,
        CliCommand::Dashboard(args) => Box::pin(dashboard::run(args, context)).await,
        CliCommand::Doctor(args) => Box::pin(doctor::run(args, context)).await,
        CliCommand::Token(args) => token::run(args, &context),
        CliCommand::Backup(args) => Box::pin(backup::run(args, context)).await,
        CliCommand::Restore(args) => Box::pin(backup::restore(args, context)).await,
        CliCommand::Verify(args) => Box::pin(verify::run(args, context)).await,
        CliCommand::Adopt(args) => Box::pin(adopt::run(args, context)).await,
        CliCommand::Complete(args) => Box::pin(complete::run(args, context)).await,
        CliCommand::Completions(_) | CliCommand::Man(_) | CliCommand::Config(_) => Ok(0),
    }
}

/// The flags and the file that settings are read from, again for a reload.
struct SettingsSource {
    flags: FlagValues,
    file: Option<PathBuf>,
}

impl SettingsSource {
    fn new(cli: &Cli) -> Result<Self, ConfigError> {
        let mut flags = cli.global.flags();
        if let CliCommand::Serve(args) = &cli.command {
            if args.ephemeral && cli.global.data.is_some() {
                let why = "it uses a temporary data folder, which conflicts with --data; use one of the two";
                let at = SettingSource::Flag("--ephemeral".to_owned());
                return Err(ConfigError::Value { at, why: why.to_owned() });
            }
            flags.extend(SettingArgs::flags(&args.settings));
        }
        if let CliCommand::Run(args) = &cli.command {
            flags.extend(args.spool.flags());
            flags.extend(args.pty.flags());
        }
        if let CliCommand::Adopt(args) = &cli.command {
            flags.extend(args.flags());
        }
        let env = |name: &str| std::env::var_os(name);
        let named = cli.global.config.clone();
        let file = named.or_else(|| env("TASKTAIL_CONFIG").filter(|value| !value.is_empty()).map(Into::into));
        Ok(Self { flags, file })
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        Settings::load(&self.flags, |name| std::env::var_os(name), self.file.as_deref())
    }

    /// Returns every setting with its value and its source.
    fn describe(&self) -> Result<Vec<SettingValue>, ConfigError> {
        Settings::describe(&self.flags, |name| std::env::var_os(name), self.file.as_deref())
    }

    /// Returns every mistake in the settings.
    fn check(&self) -> Vec<SettingFault> {
        Settings::check(&self.flags, |name| std::env::var_os(name), self.file.as_deref())
    }
}

/// Returns a warning for each environment variable that looks like a setting and is none.
fn unknown_variables() -> Vec<String> {
    crate::config::unknown_variables(std::env::vars_os().map(|(name, _)| name))
}

/// Sends diagnostics to stderr, filtered by `TASKTAIL_LOG` in the syntax of tracing's EnvFilter.
fn init_tracing(format: LogFormat, default_filter: &str) -> anyhow::Result<()> {
    let wanted = std::env::var("TASKTAIL_LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default_filter))
        .context("TASKTAIL_LOG: use a level such as info, or tasktail=debug,warn")?;
    let ansi = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    // At `trace` this target logs the headers of a handshake, including the access token.
    let without_headers = filter_fn(|metadata| !metadata.target().starts_with("tungstenite::handshake"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(ansi).finish().with(without_headers).init(),
        LogFormat::Json => builder.json().finish().with(without_headers).init(),
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM. Both are handled from this call on, not only once the future is
/// polled, so a signal sent in response to later output does not kill the process.
fn interrupted() -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT");
    let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM");
    async move {
        let (mut interrupt, mut terminate) = (interrupt?, terminate?);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    }
}
