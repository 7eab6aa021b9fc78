//! Every flag and every example, as clap reads them and `--help` shows them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::dashboard::DashboardArgs;
use super::doctor::DoctorArgs;
use super::events::EventsArgs;
use super::mask::MaskArgs;
use super::settings::{GlobalArgs, KeepArgs, SettingArgs};
use super::ship::ShipArgs;
use super::spool::SpoolArgs;
use super::token::TokenArgs;
use super::values::{channels, key_value, repetition};
use crate::model::units;
use crate::model::{Channel, ChannelSet, Cursor, RunId, TaskId, TaskStatus};

/// A task's output, live in the browser and the terminal, and kept when it ends.
#[derive(Debug, Parser)]
#[command(
    name = "tasktail",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  tasktail run -- make -j8             run a command; its output is here and at the URL it prints
  tasktail follow make-01j9x2k4        read it from another terminal, from the first line on
  tasktail list                        what runs and what has run
  tasktail serve                       keep a server for many tasks

Settings come from flags, then the environment (TASKTAIL_URL, TASKTAIL_DATA,
...), then a TOML file (--config, or tasktail/config.toml in your config
folder), then defaults."
)]
pub struct Cli {
    /// FlagValues that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Run a command, show its output here and stream it
    Run(RunArgs),
    /// Print a task's lines, history then live, until it ends
    Follow(FollowArgs),
    /// Append text, or stdin line by line, to a task
    Append(AppendArgs),
    /// Close a task that has no worker
    End(EndArgs),
    /// List tasks, newest first
    List(ListArgs),
    /// Show one task's facts
    Show(ShowArgs),
    /// Write a task's whole log to a file
    Export(ExportArgs),
    /// Remove tasks: their logs and all that is known of them
    Rm(RmArgs),
    /// Make a link to read one task, for people without a token
    Share(ShareArgs),
    /// Follow growing files as a task's lines
    Ship(ShipArgs),
    /// List and send what `run --spool` has kept
    Spool(SpoolArgs),
    /// Record and read the events of a run, in a file or at a server
    Events(EventsArgs),
    /// Watch a run on the whole screen
    Dashboard(DashboardArgs),
    /// Send a sentinel through every hop and say where it stops
    Doctor(DoctorArgs),
    /// Make, list and revoke the access tokens of a store
    Token(TokenArgs),
    /// Check a data folder offline: every archive, every journal
    Verify(VerifyArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// `tasktail serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints `listening on http://ADDR` on stdout once it accepts, and with --resp
`redis on redis://ADDR` after it. SIGTERM and SIGINT end it in good order. Every setting may stand in the settings file
(worker_grace = '60s') and in the environment (TASKTAIL_WORKER_GRACE) too.

Examples:
  tasktail serve
  tasktail serve --listen 127.0.0.1:0 --data /var/lib/tasktail
  tasktail serve --resp 127.0.0.1:6379       and redis-cli works on its logs
  tasktail serve --ephemeral --resp 127.0.0.1:0
  tasktail serve --retention-age 30d --retention-bytes 50GiB
  TASKTAIL_LOG=debug tasktail serve --log-format json")]
pub struct ServeArgs {
    /// Keep everything in a folder that goes with the server, on a free port unless --listen says
    /// otherwise, and print the addresses as one JSON object instead: for tests
    #[arg(long)]
    pub(super) ephemeral: bool,
    #[command(flatten)]
    pub(super) settings: SettingArgs,
}

/// `tasktail run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints `watch: URL` on stderr first. The exit code is the command's: 128+N
for signal N, 127 if there is no such command, 126 if it cannot be executed,
125 if tasktail failed before it started. The command finds TASKTAIL_URL and
TASKTAIL_TASK in its environment. Without a server anywhere, one runs inside
this process until the command ends.

A secret (--mask-env, --mask-file) is replaced before anything is shown, kept
or sent, as it is and as URL, JSON string or base64 of it; one of several
lines also line by line, for lines of 16 bytes and more. What may still become
a secret is shown once that is decided. It needs at least 4 bytes, and is not
found in pieces with something else between them, nor in other encodings.

With --spool, lines that the server has not confirmed are on disk too: an
outage of hours loses none and never slows the command, and they survive a kill
of tasktail (a power cut: all but the last 200 ms). At the end they wait there
for `tasktail spool send`. A disk that is full or slow is told, and costs lines
on disk, never the command's time.

Examples:
  tasktail run -- make -j8
  tasktail run --task nightly-7 --label branch=main --tee build.log -- ./build.sh
  tasktail run --pty -- cargo build
  tasktail run --spool /var/spool/tasktail -- ./nightly.sh
  tasktail run --mask-env DB_PASSWORD --mask-file deploy.pem -- ./deploy.sh
  tasktail --url http://logs.example:7117 run -- ./job
  tasktail run --run nightly-7 -- ansible-playbook site.yml      its LB_EVENT lines are events of that run
  tasktail run --emit-events --workload dfaas --repetition 1/3 -- k6 run load.js")]
pub struct RunArgs {
    /// The task's id [default: made from the command's name, unique]
    #[arg(long, value_name = "ID")]
    pub(super) task: Option<TaskId>,
    /// A word to find the task by; may be repeated
    #[arg(long = "label", value_name = "K=V", value_parser = key_value)]
    pub(super) labels: Vec<(String, String)>,
    /// Write the command's raw output to this file too
    #[arg(long, value_name = "FILE")]
    pub(super) tee: Option<PathBuf>,
    /// Give the command a terminal: exact order of its output, and its colours
    #[arg(long)]
    pub(super) pty: bool,
    #[command(flatten)]
    pub(super) mask: MaskArgs,
    #[command(flatten)]
    pub(super) spool: KeepArgs,
    /// The run that the output's events belong to, unless they name one [default: the task's id]
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<RunId>,
    /// Look for no events in the output [env: LB_ENABLE_EVENT_LOGGING=0|false|no]
    #[arg(long, conflicts_with = "emit_events")]
    pub(super) no_events: bool,
    /// Make an event of each line, and of the command's begin and end: for tools that write none
    #[arg(long, requires = "workload")]
    pub(super) emit_events: bool,
    /// The workload of these events
    #[arg(long, value_name = "NAME", requires = "emit_events")]
    pub(super) workload: Option<String>,
    /// Which repetition this is, and of how many, such as 1/3
    #[arg(long, value_name = "N/TOTAL", requires = "emit_events", value_parser = repetition)]
    pub(super) repetition: Option<String>,
    /// The host of these events [default: this machine]
    #[arg(long, value_name = "NAME", requires = "emit_events")]
    pub(super) host: Option<String>,
    /// The configuration that the command runs with, for its lines: `k6[NAME] stdout: ...` [default: stream]
    #[arg(long, value_name = "NAME", requires = "emit_events")]
    pub(super) config_name: Option<String>,
    /// How long the command may take to end after SIGINT or SIGTERM before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub(super) grace: Duration,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// `tasktail follow`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines of stdout go to stdout, those of stderr to stderr, and what the worker
or the server says (internal) to stderr with `# ` before it. On a terminal
only colours pass; piped, the text is as the task wrote it.
Exit code 0 at the end of the task. With --exit-status the task's own: its
exit code, 128+N for signal N, and 1 for a task that was aborted without
either or that is lost.

Examples:
  tasktail follow nightly-7
  tasktail follow nightly-7 -n 100 -t
  tasktail follow nightly-7 --since 5m --stream stderr,internal
  tasktail follow nightly-7 --no-follow | grep error
  tasktail follow nightly-7 --wait --exit-status && ./deploy")]
pub struct FollowArgs {
    /// The task
    #[arg(value_name = "TASK")]
    pub(super) task: TaskId,
    /// Begin with the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) lines: Option<u64>,
    /// Begin this long ago (`5m`) or at this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Only these streams: stdout, stderr, internal; several with commas
    #[arg(long, value_name = "S,..", value_parser = channels)]
    pub(super) stream: Option<ChannelSet>,
    /// Begin behind this cursor
    #[arg(long, value_name = "CURSOR", conflicts_with_all = ["lines", "since"])]
    pub(super) after: Option<Cursor>,
    /// Print what is there and end
    #[arg(long)]
    pub(super) no_follow: bool,
    /// Wait for a task that is not there yet
    #[arg(long)]
    pub(super) wait: bool,
    /// Put its time before each line
    #[arg(short = 't', long)]
    pub(super) timestamps: bool,
    /// Exit with the task's exit code
    #[arg(long, conflicts_with = "no_follow")]
    pub(super) exit_status: bool,
}

/// `tasktail append`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail append --task nightly-7 'unpacked, 12 files'
  ./job 2>&1 | tasktail append --task nightly-7
  tasktail append --stream internal 'step 2 of 5'        inside `tasktail run`: to its own task")]
pub struct AppendArgs {
    /// The task; inside `tasktail run` its own
    #[arg(long, value_name = "ID", env = "TASKTAIL_TASK")]
    pub(super) task: TaskId,
    /// The lines' stream: stdout, stderr or internal
    #[arg(long, value_name = "S", default_value = "stdout")]
    pub(super) stream: Channel,
    #[command(flatten)]
    pub(super) mask: MaskArgs,
    /// The text; without it stdin is read, and each line sent as it comes
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) text: Option<String>,
}

/// `tasktail end`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail end --task nightly-7 --exit-code 0
  ./job | tasktail append --task j1; tasktail end --task j1 --exit-code ${PIPESTATUS[0]}")]
pub struct EndArgs {
    /// The task; inside `tasktail run` its own
    #[arg(long, value_name = "ID", env = "TASKTAIL_TASK")]
    pub(super) task: TaskId,
    /// What its command returned
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) exit_code: i32,
}

/// `tasktail list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail list
  tasktail list --status running
  tasktail list --label branch=main --limit 500 --json | jq -r .id")]
pub struct ListArgs {
    /// Only tasks in this state: running, completed, aborted or lost
    #[arg(long, value_name = "S")]
    pub(super) status: Option<TaskStatus>,
    /// Only tasks with this label
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    pub(super) label: Option<(String, String)>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: u64,
}

/// `tasktail show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail show nightly-7
  tasktail show nightly-7 --json | jq .exit_code")]
pub struct ShowArgs {
    /// The task
    #[arg(value_name = "TASK")]
    pub(super) task: TaskId,
}

/// `tasktail export`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file appears under its name once it is whole. The log of a task that
still runs ends at its last line now.

Examples:
  tasktail export nightly-7 -o nightly-7.log
  tasktail export nightly-7 -o nightly-7.ndjson --format ndjson
  tasktail export nightly-7 -o - --timestamps | less")]
pub struct ExportArgs {
    /// The task
    #[arg(value_name = "TASK")]
    pub(super) task: TaskId,
    /// The file; `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The form: the lines as text, or as one JSON object each
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) format: ExportFormat,
    /// Put its time before each line of text
    #[arg(long)]
    pub(super) timestamps: bool,
    /// Replace a file that is there
    #[arg(long)]
    pub(super) force: bool,
}

/// `export --format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// Lines as text
    Text,
    /// One JSON object a line
    Ndjson,
}

/// `tasktail rm`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail rm nightly-7
  tasktail list --status lost --json | jq -r .id | xargs tasktail rm")]
pub struct RmArgs {
    /// The tasks, by their whole ids
    #[arg(value_name = "TASK", required = true)]
    pub(super) tasks: Vec<TaskId>,
}

/// `tasktail share`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the link alone on stdout. Whoever has it can read this task and follow
it live, and nothing else, until it expires. It takes an admin's token. To end
all links before their time, delete share.key in the server's data folder.

Examples:
  tasktail share nightly-7
  tasktail share nightly-7 --expires 2h | xclip
  tasktail share nightly-7 --json | jq -r .expires")]
pub struct ShareArgs {
    /// The task
    #[arg(value_name = "TASK")]
    pub(super) task: TaskId,
    /// How long the link is good
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = units::duration)]
    pub(super) expires: Duration,
}

/// `tasktail verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads everything in --data and changes nothing: each archive's frames, lines,
sums and SHA-256, each journal's blocks against its record, and whether one
speaks of what the other has not. Prints a line for each fault and a summary.
The store is looked at in a copy in the temporary folder (TMPDIR); while a
server has the folder, only sealed archives are checked.
Exit code 0 if all is well, 1 if there are faults.

Examples:
  tasktail verify
  tasktail verify --data /var/lib/tasktail
  tasktail verify --json | jq -r 'select(.what) | .at'")]
pub struct VerifyArgs {}

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
    pub(super) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn clap_finds_no_fault() {
        Cli::command().debug_assert();
    }
}
