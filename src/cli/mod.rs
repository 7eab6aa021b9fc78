//! The command line: what can be asked for, with examples, and where each request goes.
//!
//! `args` holds the flags of every command, one file each does the work. Data goes to stdout,
//! everything else to stderr, both through `output`. Exit codes: 0 done, 1 could not be done, 2 the
//! command line is wrong; `run` and `follow --exit-status` pass the task's own code on.

mod append;
mod args;
mod completions;
mod dashboard;
mod doctor;
mod events;
mod export;
mod follow;
mod list;
mod locate;
mod mask;
mod output;
mod rm;
mod run;
mod sending;
mod serve;
mod settings;
mod share;
mod ship;
mod show;
mod spool;
mod text;
mod token;
mod values;
mod verify;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use args::{Cli, Command};
use output::Output;
pub use settings::GlobalArgs;
use settings::{LogFormat, SettingArgs};

use crate::config::{ConfigError, SettingSource, Settings};

/// The command line is wrong; clap exits with the same.
const EXIT_USAGE: u8 = 2;
/// tasktail itself failed before the command started, as `env` and `docker run` have it.
const EXIT_BEFORE_START: u8 = 125;
/// Ended by Ctrl-C, as a shell gives it.
const EXIT_INTERRUPTED: u8 = 130;

/// Reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.global.color.apply();
    let output = Output::new(cli.global.quiet, cli.global.json);
    let (failed, usage) = match cli.command {
        Command::Run(_) => (EXIT_BEFORE_START, EXIT_BEFORE_START),
        _ => (1, EXIT_USAGE),
    };
    match prepare_and_run(cli, output) {
        Ok(code) => ExitCode::from(code),
        // Whoever read the output has seen enough (`| head`).
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            let is_usage = error.downcast_ref::<ConfigError>().is_some_and(ConfigError::is_usage);
            ExitCode::from(if is_usage { usage } else { failed })
        }
    }
}

/// What every command has at hand.
struct Context {
    settings: Settings,
    output: Output,
}

fn prepare_and_run(cli: Cli, output: Output) -> anyhow::Result<u8> {
    if let Command::Completions(args) = &cli.command {
        return completions::run(args, output).map(|()| 0);
    }
    let settings = load_settings(&cli)?;
    let default_filter = if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" };
    init_tracing(cli.global.log_format, default_filter)?;
    settings.warnings.iter().for_each(|warning| output.note(warning));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(dispatch(cli.command, Context { settings, output }));
    // A thread that waits for stdin would hold the exit up.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command, context: Context) -> anyhow::Result<u8> {
    // Boxed: the commands' futures differ much in size.
    match command {
        Command::Serve(args) => Box::pin(serve::run(args, context)).await,
        Command::Run(args) => Box::pin(run::run(args, context)).await,
        Command::Follow(args) => Box::pin(follow::run(args, context)).await,
        Command::Append(args) => Box::pin(append::run(args, context)).await,
        Command::End(args) => Box::pin(append::end(args, context)).await,
        Command::List(args) => Box::pin(list::run(args, context)).await,
        Command::Show(args) => Box::pin(show::run(args, context)).await,
        Command::Export(args) => Box::pin(export::run(args, context)).await,
        Command::Rm(args) => Box::pin(rm::run(args, context)).await,
        Command::Share(args) => Box::pin(share::run(args, context)).await,
        Command::Ship(args) => Box::pin(ship::run(args, context)).await,
        Command::Spool(args) => Box::pin(spool::run(args, context)).await,
        Command::Events(args) => Box::pin(events::run(args, context)).await,
        Command::Dashboard(args) => Box::pin(dashboard::run(args, context)).await,
        Command::Doctor(args) => Box::pin(doctor::run(args, context)).await,
        Command::Token(args) => token::run(args, &context),
        Command::Verify(args) => Box::pin(verify::run(args, context)).await,
        Command::Completions(_) => Ok(0),
    }
}

fn load_settings(cli: &Cli) -> Result<Settings, ConfigError> {
    let mut flags = cli.global.flags();
    if let Command::Serve(args) = &cli.command {
        if args.ephemeral && cli.global.data.is_some() {
            let why =
                "it keeps everything in a folder that goes with it, so --data cannot be meant: use one of the two";
            return Err(ConfigError::Value { at: SettingSource::Flag("--ephemeral".to_owned()), why: why.to_owned() });
        }
        flags.extend(SettingArgs::flags(&args.settings));
    }
    if let Command::Run(args) = &cli.command {
        flags.extend(args.spool.flags());
    }
    let env = |name: &str| std::env::var_os(name);
    let file = cli.global.config.clone().or_else(|| env("TASKTAIL_CONFIG").filter(|v| !v.is_empty()).map(Into::into));
    Settings::load(&flags, env, file.as_deref())
}

/// Own diagnostics go to stderr; `TASKTAIL_LOG` says how much, in the words of tracing's EnvFilter.
fn init_tracing(format: LogFormat, default_filter: &str) -> anyhow::Result<()> {
    let wanted = std::env::var("TASKTAIL_LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default_filter))
        .context("TASKTAIL_LOG: write a level such as info, or tasktail=debug,warn")?;
    let ansi = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    // At `trace` it prints a handshake with all its headers, the access token among them.
    let discreet = filter_fn(|what| !what.target().starts_with("tungstenite::handshake"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(ansi).finish().with(discreet).init(),
        LogFormat::Json => builder.json().finish().with(discreet).init(),
    }
    Ok(())
}

/// Listens, from this call on, for Ctrl-C and for the system's request to end; resolves at the first. What is
/// printed after this call may be answered with either: it does not end the process at once.
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
