//! The flags that are settings too: each has a name in the file and in the environment as well.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};

use crate::config::FlagValues;
use crate::model::limits::{Limit, Limits};

/// FlagValues that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The server to use [env: TASKTAIL_URL] [default: the one on this machine, or one in this process]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<OsString>,
    /// Certificates (PEM) to trust beside this machine's own, for a server at https://: those of other authorities, or
    /// the server's itself [env: TASKTAIL_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<OsString>,
    /// A file with the access token for the server; the token itself is taken from TASKTAIL_TOKEN or the settings
    /// file, never from a flag that others could see [env: TASKTAIL_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<OsString>,
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
    pub(super) fn flags(&self) -> FlagValues {
        pick([("url", &self.url), ("ca_file", &self.ca_file), ("token_file", &self.token_file), ("data", &self.data)])
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

/// Where `run` keeps what the server has not confirmed.
#[derive(Debug, Args)]
pub(super) struct KeepArgs {
    /// Keep lines in this folder until the server has confirmed them [env: TASKTAIL_SPOOL] [default: off]
    #[arg(long, value_name = "DIR")]
    spool: Option<OsString>,
    /// Bytes kept there for this task; then lines are skipped, and a mark counts them
    /// [env: TASKTAIL_SPOOL_BYTES_MAX] [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    spool_bytes_max: Option<OsString>,
}

impl KeepArgs {
    pub(super) fn flags(&self) -> FlagValues {
        pick([("spool", &self.spool), ("spool_bytes_max", &self.spool_bytes_max)])
    }
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
    /// Serve Redis clients on this address too; port 0 picks one [default: off]
    #[arg(long, value_name = "ADDR")]
    resp: Option<OsString>,
    /// Speak https, and rediss on the Redis port, with this certificate (PEM, with those between it and its root);
    /// a new one is taken when the file changes [env: TASKTAIL_TLS_CERT] [default: off]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<OsString>,
    /// The certificate's private key (PEM) [env: TASKTAIL_TLS_KEY] [default: off]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<OsString>,
    /// Serve others than this machine even without access tokens or without TLS; it says so again each hour
    #[arg(long)]
    insecure: bool,
    /// The address under which people reach it, where a proxy or a name stands before it, such as
    /// https://logs.example; requests under this name are served [env: TASKTAIL_PUBLIC_URL] [default: off]
    #[arg(long, value_name = "URL")]
    public_url: Option<OsString>,
    /// Reverse proxies (addresses or networks, with commas) whose X-Forwarded-For, -Proto and -Host, or Forwarded,
    /// are believed [env: TASKTAIL_TRUSTED_PROXY] [default: off]
    #[arg(long, value_name = "ADDR,..")]
    trusted_proxy: Option<OsString>,
    /// Take the events of runs from this folder of RUN/events.jsonl, as they are written [env: TASKTAIL_RUNS]
    /// [default: off]
    #[arg(long, value_name = "DIR")]
    runs: Option<OsString>,
    /// Pages of these sites may read here, with what they show themselves, such as
    /// https://ci.example,https://dash.example:8443 [default: off]
    #[arg(long, value_name = "ORIGIN,..")]
    allowed_origins: Option<OsString>,
    /// Take JWTs of another system for share links: its key, a secret for HS256 of 32 bytes or more, or a JSON Web
    /// Key [default: off]
    #[arg(long, value_name = "FILE")]
    share_jwt_key_file: Option<OsString>,
    /// These JWTs must name this audience [default: off, and they must name none]
    #[arg(long, value_name = "NAME")]
    share_jwt_audience: Option<OsString>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl SettingArgs {
    pub(super) fn flags(&self) -> FlagValues {
        let mut flags = pick([
            ("listen", &self.listen),
            ("durability", &self.durability),
            ("resp", &self.resp),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
            ("public_url", &self.public_url),
            ("trusted_proxy", &self.trusted_proxy),
            ("runs", &self.runs),
            ("allowed_origins", &self.allowed_origins),
            ("share_jwt_key_file", &self.share_jwt_key_file),
            ("share_jwt_audience", &self.share_jwt_audience),
        ]);
        if self.insecure {
            flags.push(("insecure", "true".into()));
        }
        flags.extend(self.limits.0.iter().cloned());
        flags
    }
}

/// A flag for every limit, as their table has them.
#[derive(Clone, Debug, Default)]
struct LimitArgs(FlagValues);

/// The flags' names, which clap keeps for as long as the program runs.
static LIMIT_FLAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| Limit::ALL.iter().map(|limit| limit.name().replace('_', "-")).collect());

impl Args for LimitArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let defaults = Limits::default();
        let args = Limit::ALL.iter().zip(LIMIT_FLAGS.iter()).map(|(limit, flag)| {
            clap::Arg::new(limit.name())
                .long(flag.as_str())
                .value_name(limit.value_name())
                .value_parser(clap::value_parser!(OsString))
                .help_heading("Limits")
                .help(format!("{} [default: {}]", limit.help(), defaults.show(*limit)))
        });
        command.args(args)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |limit: &Limit| Some((limit.name(), matches.get_one::<OsString>(limit.name())?.clone()));
        Ok(Self(Limit::ALL.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

fn pick<const N: usize>(values: [(&'static str, &Option<OsString>); N]) -> FlagValues {
    values.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect()
}
