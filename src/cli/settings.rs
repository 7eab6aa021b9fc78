//! The flags that are settings too: each has a name in the file and in the environment as well.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::Flags;

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The server to use [env: TASKTAIL_URL] [default: the one on this machine, or one in this process]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<OsString>,
    /// The data folder of a server on this machine [env: TASKTAIL_DATA] [default: tasktail in your state folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) data: Option<OsString>,
    /// A TOML file with settings [env: TASKTAIL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Whether to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
    /// How tasktail's own diagnostics look on stderr; TASKTAIL_LOG=debug shows more of them
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        env = "TASKTAIL_LOG_FORMAT",
        hide_env_values = true
    )]
    pub(super) log_format: LogFormat,
}

impl GlobalArgs {
    pub(super) fn flags(&self) -> Flags {
        pick([("url", &self.url), ("data", &self.data)])
    }
}

/// `--color`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Makes it the choice of every stream that is opened from now on.
    pub(super) fn apply(self) {
        let choice = match self {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// The server's settings.
#[derive(Debug, Args)]
pub(super) struct SettingArgs {
    /// The address to serve on; port 0 picks one [env: TASKTAIL_LISTEN] [default: 127.0.0.1:7117]
    #[arg(long, value_name = "ADDR")]
    listen: Option<OsString>,
    /// When a line counts as kept: `commit` after a sync of the disk, `interval` after the write, with a sync
    /// every 200 ms [env: TASKTAIL_DURABILITY] [default: commit]
    #[arg(long, value_name = "WHEN")]
    durability: Option<OsString>,
    /// Lines of a task that stay in its journal; older ones move to its archive [default: 10000]
    #[arg(long, value_name = "N")]
    live_window_lines: Option<OsString>,
    /// A journal nobody finished goes this long after its last line [default: 24h]
    #[arg(long, value_name = "TIME")]
    journal_expiry: Option<OsString>,
    /// A task whose worker is silent this long is called lost [default: 60s]
    #[arg(long, value_name = "TIME")]
    worker_grace: Option<OsString>,
    /// Remove tasks this long after their end, such as 30d [default: off]
    #[arg(long, value_name = "TIME")]
    retention_age: Option<OsString>,
    /// Keep this many finished tasks, the newest [default: off]
    #[arg(long, value_name = "N")]
    retention_count: Option<OsString>,
    /// Keep finished tasks up to this size altogether, the newest, such as 10GiB [default: off]
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<OsString>,
    /// Connections served at the same time [default: 4096]
    #[arg(long, value_name = "N")]
    connections_max: Option<OsString>,
    /// Serve Redis clients on this address too; port 0 picks one [default: off]
    #[arg(long, value_name = "ADDR")]
    resp: Option<OsString>,
    /// Redis clients served at the same time [default: 4096]
    #[arg(long, value_name = "N")]
    resp_connections_max: Option<OsString>,
    /// Take the events of runs from this folder of RUN/events.jsonl, as they are written [env: TASKTAIL_RUNS]
    /// [default: off]
    #[arg(long, value_name = "DIR")]
    runs: Option<OsString>,
}

impl SettingArgs {
    pub(super) fn flags(&self) -> Flags {
        pick([
            ("listen", &self.listen),
            ("durability", &self.durability),
            ("live_window_lines", &self.live_window_lines),
            ("journal_expiry", &self.journal_expiry),
            ("worker_grace", &self.worker_grace),
            ("retention_age", &self.retention_age),
            ("retention_count", &self.retention_count),
            ("retention_bytes", &self.retention_bytes),
            ("connections_max", &self.connections_max),
            ("resp", &self.resp),
            ("resp_connections_max", &self.resp_connections_max),
            ("runs", &self.runs),
        ])
    }
}

fn pick<const N: usize>(values: [(&'static str, &Option<OsString>); N]) -> Flags {
    values.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect()
}
