//! The worker: runs a command (or is one itself) and streams its output to a server, live.
//!
//! A line's way: `process` reads the child's pipes and shows them here, `lines` splits bytes into
//! lines, `buffer` numbers and keeps them until they are durable at the server, `uplink` carries
//! them over a connection that may come and go. The task is never slowed by the network and its
//! result never depends on it: a server that is away costs a note, and at worst skipped lines.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tasktail::model::Channel;
//! use tasktail::worker::{Exit, Worker, WorkerOptions};
//!
//! // A command, wrapped: what `tasktail run` does.
//! let options = WorkerOptions::new("http://127.0.0.1:7117", "build-7".parse()?);
//! let outcome = Worker::run(options, vec!["make".into(), "-j8".into()]).await?;
//! println!("make ended with {}", outcome.exit_code);
//!
//! // A program that is itself the worker.
//! let worker = Worker::connect(WorkerOptions::new("http://127.0.0.1:7117", "import-42".parse()?))?;
//! worker.line(Channel::Stdout, "12 files read");
//! let delivery = worker.end(Exit::code(0)).await;
//! assert_eq!(delivery.undelivered_lines, 0);
//! # Ok(())
//! # }
//! ```

mod buffer;
mod lines;
mod mask;
mod process;
mod reader;
mod session;
mod shared;
mod signals;
pub mod spool;
mod tail;
mod terminal;
mod uplink;

pub use lines::{LineSplitter, SplitLine};
pub use session::Session;
pub use spool::SpoolOptions;

pub use mask::{MaskError, Masker, Masks, MasksBuilder, SECRET_BYTES_MIN, SECRETS_BYTES_MAX};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

use crate::client::{BadToken, BadUrl, Endpoint};
use crate::model::{Channel, TaskId, Timestamp};

use shared::Shared;
use spool::{Folder, SpoolThread};
use uplink::Uplink;

/// Where a worker's notes for a person go, one line of text each, without a newline.
pub type Notes = Arc<dyn Fn(&str) + Send + Sync>;

/// Asked for another server after an attempt to connect has failed: gives its URL, or `None` to
/// keep trying the same one. Never called while a connection is alive.
pub type Reconnect = Arc<dyn Fn() -> BoxFuture<'static, Option<Endpoint>> + Send + Sync>;

/// What a worker needs to know; [`WorkerOptions::new`] fills in the defaults.
#[derive(Clone)]
pub struct WorkerOptions {
    /// The server: `http://HOST:PORT`, or `https://`. The child finds it as `TASKTAIL_URL`.
    pub url: String,
    /// Certificates to trust beside the machine's own. The child finds the file as `TASKTAIL_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// The task. The child finds it as `TASKTAIL_TASK`.
    pub task: TaskId,
    /// Words attached to the task.
    pub labels: BTreeMap<String, String>,
    /// This worker's name in `hello`; the machine's name by default.
    pub worker: String,
    /// The machine's name.
    pub host: String,
    /// Sent as `Authorization: Bearer TOKEN`.
    pub token: Option<String>,
    /// The child's raw output, both channels, goes into this file too (created or emptied).
    pub tee: Option<PathBuf>,
    /// Lines that the server has not confirmed are kept on disk too: an outage of hours loses nothing,
    /// nor does a kill of this worker. What is left there at the end is sent with [`spool::send`].
    pub spool: Option<SpoolOptions>,
    /// The child gets a terminal of its own: one stream (`stdout`), exact order, colours.
    pub pty: bool,
    /// The child's output is shown on this process's stdout and stderr (on by default).
    pub show: bool,
    /// From a SIGINT or SIGTERM that was passed on to SIGKILL. 10 s by default.
    pub kill_grace: Duration,
    /// How long a pipe that another process holds open is still read after the child's exit. 2 s by default.
    pub drain_timeout: Duration,
    /// Secrets: each leaves the worker as `***`, wherever it stands: in the output (also where it is
    /// shown and in the tee), the command, the labels, the host, the worker's own lines and notes.
    pub masks: Masks,
    /// How long [`Worker::end`] waits without any progress, if the server was reached before. 10 s by default.
    pub delivery_timeout: Duration,
    /// The same, if the server was never reached. 2 s by default.
    pub delivery_timeout_unreached: Duration,
    /// Where notes go: a line on stderr each, by default.
    pub notes: Notes,
    /// Asked for another server when one cannot be reached.
    pub reconnect: Option<Reconnect>,
}

impl WorkerOptions {
    /// The defaults for this server and this task.
    pub fn new(url: impl Into<String>, task: TaskId) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            url: url.into(),
            ca_file: None,
            task,
            labels: BTreeMap::new(),
            worker: host.clone(),
            host,
            token: None,
            tee: None,
            spool: None,
            pty: false,
            show: true,
            kill_grace: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(2),
            masks: Masks::default(),
            delivery_timeout: Duration::from_secs(10),
            delivery_timeout_unreached: Duration::from_secs(2),
            notes: Arc::new(note_on_stderr),
            reconnect: None,
        }
    }
}

impl WorkerOptions {
    /// What this worker says of itself is said without secrets from here on.
    fn mask_own_words(&mut self) {
        if self.masks.is_empty() {
            return;
        }
        self.labels = mask_labels(&self.labels, &self.masks);
        self.host = self.masks.text(&self.host);
        self.worker = self.masks.text(&self.worker);
        let (notes, masks) = (Arc::clone(&self.notes), self.masks.clone());
        self.notes = Arc::new(move |text| notes(&masks.text(text)));
    }
}

impl fmt::Debug for WorkerOptions {
    /// Without the token and the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOptions")
            .field("url", &self.url)
            .field("task", &self.task)
            .field("labels", &mask_labels(&self.labels, &self.masks))
            .field("host", &self.masks.text(&self.host))
            .field("pty", &self.pty)
            .finish_non_exhaustive()
    }
}

fn mask_labels(labels: &BTreeMap<String, String>, masks: &Masks) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (masks.text(name), masks.text(value))).collect()
}

/// Why a worker could not do its work. [`WorkerError::exit_code`] says what to exit with.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Not an `http://HOST:PORT`.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// Not an access token.
    #[error(transparent)]
    BadToken(#[from] BadToken),
    /// Nothing to run.
    #[error("no command was given")]
    NoCommand,
    /// The command does not exist. Its task has ended with exit code 127.
    #[error("{command}: command not found")]
    NotFound {
        /// The command.
        command: String,
    },
    /// The command is there and cannot be executed. Its task has ended with exit code 126.
    #[error("{command}: cannot be executed")]
    NotExecutable {
        /// The command.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something else failed before the command ran.
    #[error("{what}")]
    Setup {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl WorkerError {
    /// What the process should exit with: 127 not found, 126 not executable, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            WorkerError::NotFound { .. } => 127,
            WorkerError::NotExecutable { .. } => 126,
            _ => 125,
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// What it returned, if it returned.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was ended from outside: this worker was told to stop.
    pub aborted: bool,
}

impl Exit {
    /// It returned this.
    pub const fn code(code: i32) -> Self {
        Self { code: Some(code), signal: None, aborted: false }
    }

    /// This signal ended it.
    pub const fn signal(signal: i32) -> Self {
        Self { code: None, signal: Some(signal), aborted: false }
    }

    /// As a shell gives it: the code, or 128+N for signal N.
    pub const fn shell_code(self) -> i32 {
        match (self.code, self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 0,
        }
    }
}

/// What has become of a task's lines at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The server has confirmed everything, the end too.
    pub complete: bool,
    /// Lines that could not be delivered in time.
    pub undelivered_lines: u64,
    /// Lines that the drop rule took; marks in the log count them.
    pub skipped_lines: u64,
}

/// How a command ended, and what has become of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What this process should exit with: the command's code, or 128+N for signal N.
    pub exit_code: i32,
    /// How the command ended.
    pub exit: Exit,
    /// What has become of its lines.
    pub delivery: Delivery,
}

/// A task's voice: takes lines at any time, without waiting, and delivers them in the background.
///
/// Guarantees: lines arrive in the order they were given, none twice; what is missing because the
/// server was too slow or away is counted by a mark in its place; memory is bounded
/// ([`WORKER_BUFFER_LINES`](crate::model::limits::WORKER_BUFFER_LINES),
/// [`WORKER_BUFFER_BYTES`](crate::model::limits::WORKER_BUFFER_BYTES)).
/// Dropped without [`Worker::end`], it goes silent, and the server will call the task lost.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    uplink: AbortOnDropHandle<Delivery>,
}

impl Worker {
    /// Runs `command` (program, then arguments) as this task and waits for its end.
    ///
    /// Takes SIGINT, SIGTERM and SIGHUP for itself (but for those it was started to ignore, as by
    /// `nohup`) and passes them to the child's process group. In the foreground of a terminal the
    /// child stays in this process's group, so that it can read from the terminal and Ctrl-Z stops
    /// both; there Ctrl-C reaches it directly, and other signals reach the child alone. The child's
    /// stdin is this process's. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// The command could not be started, or the URL is none. A server that cannot be reached is
    /// not an error: it is noted, and [`Outcome::delivery`] says what is missing.
    pub async fn run(options: WorkerOptions, command: Vec<OsString>) -> Result<Outcome, WorkerError> {
        process::run(options, command).await
    }

    /// Starts delivering in the background of the current tokio runtime; returns at once, whether
    /// or not the server can be reached.
    ///
    /// # Errors
    /// The URL is none, or there is no tokio runtime.
    pub fn connect(mut options: WorkerOptions) -> Result<Self, WorkerError> {
        options.mask_own_words();
        let command = std::env::args().map(|word| options.masks.text(&word)).collect();
        Self::start(options, command)
    }

    /// Appends `text` to the task's log: a line, or several if it has newlines inside.
    pub fn line(&self, channel: Channel, text: &str) {
        self.shared.push_line(channel, text, Timestamp::now());
    }

    /// Says that no line follows and waits, for a bounded time, until the server has it all.
    pub async fn end(self, exit: Exit) -> Delivery {
        self.shared.finish(exit, None);
        self.delivered().await
    }

    async fn delivered(self) -> Delivery {
        // An uplink that panicked has delivered nothing that is known of.
        self.uplink.await.unwrap_or_default()
    }

    /// `options` and `command` without secrets.
    fn start(options: WorkerOptions, command: Vec<String>) -> Result<Self, WorkerError> {
        let server = server_of(&options)?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|e| WorkerError::Setup { what: "no tokio runtime".into(), source: std::io::Error::other(e) })?;
        let session = Session::new(&options, command);
        let shared = Arc::new(Shared::new(options.masks.clone()));
        let spool =
            options.spool.as_ref().map(|spool| start_spool(spool, &session, &shared, &options.notes)).transpose()?;
        let uplink = runtime.spawn(Uplink::new(options, server, session, Arc::clone(&shared)).with_spool(spool).run());
        Ok(Self { shared, uplink: AbortOnDropHandle::new(uplink) })
    }
}

/// The server that these options name, as it is spoken to.
fn server_of(options: &WorkerOptions) -> Result<Endpoint, WorkerError> {
    let token = options.token.as_deref().map(str::parse).transpose()?;
    Ok(options.url.parse::<Endpoint>()?.with_ca_file(options.ca_file.clone()).with_token(token))
}

/// Makes the session's folder, and says what earlier ones have left.
fn start_spool(
    options: &SpoolOptions,
    session: &Session,
    shared: &Arc<Shared>,
    notes: &Notes,
) -> Result<SpoolThread, WorkerError> {
    let dir = options.dir.display();
    match spool::count(&options.dir) {
        0 => {}
        1 => notes(&format!("{dir} has lines of a task that were not sent: `tasktail spool send {dir}` sends them")),
        n => notes(&format!("{dir} has lines of {n} tasks that were not sent: `tasktail spool send {dir}` sends them")),
    }
    let failed = |what: &str, source: std::io::Error| WorkerError::Setup {
        what: format!("cannot use the spool {dir}: {what}"),
        source,
    };
    let folder = Folder::create(&options.dir, session.clone())
        .map_err(|error| failed(&error.to_string(), std::io::Error::other(error)))?;
    shared.open_spool(options.bytes_max);
    SpoolThread::start(folder, 0, options.bytes_max, shared, Arc::clone(notes))
        .map_err(|error| failed("no thread for it", error))
}

fn note_on_stderr(text: &str) {
    // Nobody is left to be told when stderr is gone.
    writeln!(std::io::stderr().lock(), "tasktail: {text}").ok();
}
