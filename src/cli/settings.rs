//! Flags that are also settings: each can also be set in the file and in the environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};

use crate::config::FlagValues;
use crate::model::limits::{Limit, Limits};

/// Flags that every command accepts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Use this server [env: TASKTAIL_URL] [default: the one on this machine, or one in this process]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<OsString>,
    /// Also trust these certificates (PEM) for https: of other authorities, or the server's own
    /// [env: TASKTAIL_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<OsString>,
    /// Read the access token from this file; the token can also be set in TASKTAIL_TOKEN or the settings file, but
    /// not as a flag, which other users could see [env: TASKTAIL_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<OsString>,
    /// Use this data folder on this machine [env: TASKTAIL_DATA] [default: tasktail in your state folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) data: Option<OsString>,
    /// Read settings from this TOML file [env: TASKTAIL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print only errors to stderr
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Set when to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
    /// Set the format of tasktail's own log on stderr; TASKTAIL_LOG=debug logs more
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
    /// Applies the choice to all streams opened from now on.
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
    /// Text for people
    Text,
    /// One JSON object per line
    Json,
}

/// Flags for the local log of `run`.
#[derive(Debug, Args)]
pub(super) struct SpoolArgs {
    /// Keep output in this folder until the server has confirmed it, so that it survives a kill of tasktail
    /// [env: TASKTAIL_SPOOL] [default: off, a file without a name]
    #[arg(long, value_name = "DIR")]
    spool: Option<OsString>,
    /// Limit the output that the server has not confirmed to this size, with --spool or without
    /// [env: TASKTAIL_SPOOL_BYTES_MAX] [default: 4GiB or a quarter of the free space, whichever is smaller]
    #[arg(long, value_name = "SIZE")]
    spool_bytes_max: Option<OsString>,
    /// Beyond that limit, `skip` lines, which a marker counts, or let the command `wait` for the server
    /// [env: TASKTAIL_OVERFLOW] [default: skip]
    #[arg(long, value_name = "POLICY")]
    overflow: Option<OsString>,
}

impl SpoolArgs {
    pub(super) fn flags(&self) -> FlagValues {
        pick([("spool", &self.spool), ("spool_bytes_max", &self.spool_bytes_max), ("overflow", &self.overflow)])
    }
}

/// Flag for the terminal of `run`.
#[derive(Debug, Args)]
pub(super) struct PtyArgs {
    /// Run the command in a terminal of its own: `auto` if stdout is a terminal, `always`, or `never`; `--pty` alone
    /// is `always` [env: TASKTAIL_PTY] [default: auto]
    #[arg(long, value_name = "WHEN", num_args = 0..=1, default_missing_value = "always")]
    pty: Option<OsString>,
}

impl PtyArgs {
    pub(super) fn flags(&self) -> FlagValues {
        pick([("pty", &self.pty)])
    }
}

/// Flags for the server's settings.
#[derive(Debug, Args)]
pub(super) struct SettingArgs {
    /// Listen on this address; port 0 picks a free one [env: TASKTAIL_LISTEN] [default: 127.0.0.1:7117]
    #[arg(long, value_name = "ADDR")]
    listen: Option<OsString>,
    /// Confirm a line after a sync to disk (`commit`), or after the write with a sync every 200 ms (`interval`)
    /// [env: TASKTAIL_DURABILITY] [default: commit]
    #[arg(long, value_name = "WHEN")]
    durability: Option<OsString>,
    /// Also serve Redis clients on this address; port 0 picks a free one [default: off]
    #[arg(long, value_name = "ADDR")]
    resp: Option<OsString>,
    /// Keep tasks in this Redis or Valkey, which several servers share: redis://, rediss://, redis+sentinel://H:P,../NAME
    /// or redis+cluster://; needs --archive. Set one with a password in the environment or in the settings file
    /// [env: TASKTAIL_JOURNAL] [default: off]
    #[arg(long, value_name = "URL")]
    journal: Option<OsString>,
    /// Confirm a line after this number of Redis replicas has it; `auto` is 1 if there is a replica
    /// [env: TASKTAIL_JOURNAL_ACKS] [default: auto]
    #[arg(long, value_name = "N")]
    journal_acks: Option<OsString>,
    /// Also trust these certificates (PEM) for rediss [env: TASKTAIL_JOURNAL_CA_FILE] [default: off]
    #[arg(long, value_name = "FILE")]
    journal_ca_file: Option<OsString>,
    /// Start although the settings of that Redis cannot be read, or let it evict tasks
    #[arg(long)]
    journal_trust: bool,
    /// Keep archives in this object store, which several servers share: s3://BUCKET/PREFIX, or file:///DIR for a shared
    /// folder; needs --journal [env: TASKTAIL_ARCHIVE] [default: off]
    #[arg(long, value_name = "URL")]
    archive: Option<OsString>,
    /// Use this S3 service, such as https://s3.example [env: TASKTAIL_ARCHIVE_ENDPOINT] [default: off, that of AWS]
    #[arg(long, value_name = "URL")]
    archive_endpoint: Option<OsString>,
    /// Also trust these certificates (PEM) for an S3 service over https [env: TASKTAIL_ARCHIVE_CA_FILE] [default: off]
    #[arg(long, value_name = "FILE")]
    archive_ca_file: Option<OsString>,
    /// Use this S3 region [env: TASKTAIL_ARCHIVE_REGION] [default: off, that of the environment]
    #[arg(long, value_name = "NAME")]
    archive_region: Option<OsString>,
    /// Serve https, and rediss on the Redis port, with this certificate chain (PEM); reloaded when the file changes
    /// [env: TASKTAIL_TLS_CERT] [default: off]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<OsString>,
    /// Use this private key (PEM) for the certificate [env: TASKTAIL_TLS_KEY] [default: off]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<OsString>,
    /// Allow non-loopback addresses without tokens or TLS (warns hourly)
    #[arg(long)]
    insecure: bool,
    /// Set the public address, if it differs because of a proxy or a name, such as https://logs.example; also
    /// accepts requests for this name [env: TASKTAIL_PUBLIC_URL] [default: off]
    #[arg(long, value_name = "URL")]
    public_url: Option<OsString>,
    /// Trust X-Forwarded-For, -Proto and -Host, or Forwarded, from these reverse proxies (addresses or networks,
    /// separated by commas) [env: TASKTAIL_TRUSTED_PROXY] [default: off]
    #[arg(long, value_name = "ADDR,..")]
    trusted_proxy: Option<OsString>,
    /// Read the events of runs live from RUN/events.jsonl in this folder [env: TASKTAIL_RUNS] [default: off]
    #[arg(long, value_name = "DIR")]
    runs: Option<OsString>,
    /// CORS: allow these origins to read with their own credentials, such as
    /// https://ci.example,https://dash.example:8443 [default: off]
    #[arg(long, value_name = "ORIGIN,..")]
    allowed_origins: Option<OsString>,
    /// Let pages of these origins show the log of a task in a frame or with <tasktail-log>, such as
    /// https://ci.example [default: off]
    #[arg(long, value_name = "ORIGIN,..")]
    frame_ancestors: Option<OsString>,
    /// Accept JWTs of another system as share links; the file contains its key, an HS256 secret of 32 bytes or
    /// more, or a JSON Web Key [default: off]
    #[arg(long, value_name = "FILE")]
    share_jwt_key_file: Option<OsString>,
    /// Require this audience in these JWTs [default: off, and they must have none]
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
            ("journal", &self.journal),
            ("journal_acks", &self.journal_acks),
            ("journal_ca_file", &self.journal_ca_file),
            ("archive", &self.archive),
            ("archive_endpoint", &self.archive_endpoint),
            ("archive_ca_file", &self.archive_ca_file),
            ("archive_region", &self.archive_region),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
            ("public_url", &self.public_url),
            ("trusted_proxy", &self.trusted_proxy),
            ("runs", &self.runs),
            ("allowed_origins", &self.allowed_origins),
            ("frame_ancestors", &self.frame_ancestors),
            ("share_jwt_key_file", &self.share_jwt_key_file),
            ("share_jwt_audience", &self.share_jwt_audience),
        ]);
        if self.insecure {
            flags.push(("insecure", "true".into()));
        }
        if self.journal_trust {
            flags.push(("journal_trust", "true".into()));
        }
        flags.extend(self.limits.0.iter().cloned());
        flags
    }
}

/// A flag for every limit of the table.
#[derive(Clone, Debug, Default)]
struct LimitArgs(FlagValues);

/// The names of the flags, for which clap requires a static lifetime.
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

pub(super) fn pick<const N: usize>(values: [(&'static str, &Option<OsString>); N]) -> FlagValues {
    values.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect()
}
