//! The worker: runs a command, or is embedded in a program, and streams its output to a server.
//!
//! Data flow: `process` reads the child's pipes and shows the output, `local_log` keeps it in a file until it is
//! durable at the server, splits it with `lines` and numbers the lines, `encode` makes messages of them, and
//! `uplink` sends these over a connection that may fail and return. The network never slows the task and never
//! affects its result: the task only waits for a copy to the page cache.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tasktail::model::Channel;
//! use tasktail::worker::{Exit, Worker, WorkerOptions};
//!
//! // Wrap a command, like `tasktail run`.
//! let options = WorkerOptions::new("http://127.0.0.1:7117", "build-7".parse()?);
//! let outcome = Worker::run(options, vec!["make".into(), "-j8".into()]).await?;
//! println!("make ended with {}", outcome.exit_code);
//!
//! // Embed the worker in a program.
//! let worker = Worker::connect(WorkerOptions::new("http://127.0.0.1:7117", "import-42".parse()?))?;
//! worker.line(Channel::Stdout, "12 files read");
//! let delivery = worker.end(Exit::code(0)).await;
//! assert_eq!(delivery.undelivered_lines, 0);
//! # Ok(())
//! # }
//! ```

mod encode;
mod environment;
mod error;
mod flood;
mod keys;
mod leader;
mod lines;
mod local_log;
mod mask;
mod partial;
mod process;
mod reader;
mod report;
mod session;
mod shared;
mod signals;
pub mod spool;
mod start;
mod terminal;
pub mod unsent;
mod uplink;
mod utf16;

pub use crate::model::Overflow;
pub use error::WorkerError;
pub use leader::run_as_leader;
pub use lines::{LineSplitter, SplitLine};
pub use local_log::LocalLogOptions;
pub use report::{Delivery, DeliveryEnd, Retained};
pub use session::WorkerSession;
pub use shared::DeliveryProgress;

pub use mask::{MaskError, Masker, Masks, MasksBuilder, SECRET_BYTES_MIN, SECRETS_BYTES_MAX};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Endpoint;
use crate::model::{AttemptMode, Channel, TaskId, Timestamp};

use local_log::LocalLog;
use shared::SharedBuffer;
use spool::{SessionFolder, SpoolKeeper};
use uplink::Uplink;

/// A callback for the worker's messages to the user, each one line without a newline.
pub type NoteFn = Arc<dyn Fn(&str) + Send + Sync>;

/// A callback with the id of the task's log, before the command starts. It is the requested id if the server has
/// not answered yet; a message then reports the id of a later attempt.
pub type StartingFn = Arc<dyn Fn(&TaskId) + Send + Sync>;

/// A callback for the progress of the delivery after the end of the output, several times a second.
pub type ProgressFn = Arc<dyn Fn(DeliveryProgress) + Send + Sync>;

/// A callback for another server's URL after a failed connection attempt; `None` keeps the current one. Never
/// called while connected.
pub type Reconnect = Arc<dyn Fn() -> BoxFuture<'static, Option<Endpoint>> + Send + Sync>;

/// Options of a worker; [`WorkerOptions::new`] sets the defaults.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Server URL: `http://HOST:PORT`, or `https://`. Passed to the child as `TASKTAIL_URL`.
    pub url: String,
    /// Certificates to trust besides the system's. The file's path is passed to the child as
    /// `TASKTAIL_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// Task id. Passed to the child as `TASKTAIL_TASK`.
    pub task: TaskId,
    /// The log to get if the id is in use.
    pub attempt: AttemptMode,
    /// Maximum time that [`Worker::run`] waits, before it starts the command, for the server to assign the attempt, so
    /// that `TASKTAIL_TASK` names it. 500 ms by default.
    pub start_wait: Duration,
    /// Called by [`Worker::run`] before the command starts.
    pub starting: Option<StartingFn>,
    /// Labels of the task.
    pub labels: BTreeMap<String, String>,
    /// Worker name in `hello`; the host name by default.
    pub worker: String,
    /// Host name.
    pub host: String,
    /// Access token, sent as `Authorization: Bearer TOKEN`.
    pub token: Option<String>,
    /// File that also receives the child's raw output of both channels; created or truncated.
    pub tee: Option<PathBuf>,
    /// The place that keeps output until the server has confirmed it.
    pub local_log: LocalLogOptions,
    /// Runs the child on its own terminal: one stream (`stdout`), exact order, colours, and no buffering. If stdout
    /// is a terminal and stderr is not, the child's stderr stays apart.
    pub pty: bool,
    /// Lets Ctrl-Z stop a child with its own terminal, and this process with it. Requires that this program calls
    /// [`run_as_leader`] first, since it is started again as the child's parent. Off by default.
    pub job_control: bool,
    /// Copies the child's output to this process's stdout and stderr (on by default).
    pub show: bool,
    /// Time from a forwarded SIGINT or SIGTERM to SIGKILL. 10 s by default.
    pub kill_grace: Duration,
    /// Maximum time to read a pipe that another process holds open after the child's exit. 2 s by default.
    pub drain_timeout: Duration,
    /// Secrets to replace by `***` everywhere: in the output (also the displayed output and the tee), the
    /// command, the labels, the host, and the worker's internal lines and messages.
    pub masks: Masks,
    /// Maximum time that [`Worker::end`] waits without progress if the server was reached before. 2 min by default; with a
    /// spool, which keeps the rest, at most 10 s.
    pub delivery_timeout: Duration,
    /// The same if the server was never reached. 10 s by default; with a spool at most 2 s.
    pub delivery_timeout_unreached: Duration,
    /// Callback for messages to the user; prints them to stderr by default.
    pub notes: NoteFn,
    /// Callback for the progress of a delivery that lasts longer than a second.
    pub progress: Option<ProgressFn>,
    /// Callback for another server if the current one cannot be reached.
    pub reconnect: Option<Reconnect>,
}

impl WorkerOptions {
    /// Returns the default options for this server and task.
    pub fn new(url: impl Into<String>, task: TaskId) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            url: url.into(),
            ca_file: None,
            task,
            attempt: AttemptMode::Join,
            start_wait: Duration::from_millis(500),
            starting: None,
            labels: BTreeMap::new(),
            worker: host.clone(),
            host,
            token: None,
            tee: None,
            local_log: LocalLogOptions::default(),
            pty: false,
            job_control: false,
            show: true,
            kill_grace: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(2),
            masks: Masks::default(),
            delivery_timeout: Duration::from_mins(2),
            delivery_timeout_unreached: Duration::from_secs(10),
            notes: Arc::new(note_on_stderr),
            progress: None,
            reconnect: None,
        }
    }
}

impl WorkerOptions {
    /// Masks secrets in the labels, the names, and all later messages.
    fn mask_metadata(&mut self) {
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
    /// Formats without the token and the secrets.
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

/// The result of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// It was stopped from outside, by a signal to this worker.
    pub aborted: bool,
}

impl Exit {
    /// Creates the result of a task that exited with `code`.
    pub const fn code(code: i32) -> Self {
        Self { code: Some(code), signal: None, aborted: false }
    }

    /// Creates the result of a task that `signal` ended.
    pub const fn signal(signal: i32) -> Self {
        Self { code: None, signal: Some(signal), aborted: false }
    }

    /// Returns the shell's exit code: the code, or 128+N for signal N.
    pub const fn shell_code(self) -> i32 {
        match (self.code, self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 0,
        }
    }
}

/// The result of a command and the delivery of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOutcome {
    /// Id of the task's log, which differs from the requested one if that was in use.
    pub task: TaskId,
    /// Exit code for this process: the command's code, or 128+N for signal N.
    pub exit_code: i32,
    /// Result of the command.
    pub exit: Exit,
    /// Delivery of its lines.
    pub delivery: Delivery,
}

/// A handle for a task's log: accepts lines at any time without waiting and delivers them in the background.
///
/// Guarantees: lines arrive in the order they were written, none twice. They are kept in a local file until the server
/// has confirmed them. Lines beyond its limit ([`LocalLogOptions::bytes_max`]) are counted by a gap marker in their
/// place, whatever the policy. If it is dropped without [`Worker::end`], the server marks the task as lost.
#[derive(Debug)]
pub struct Worker {
    options: Arc<WorkerOptions>,
    shared: Arc<SharedBuffer>,
    uplink: AbortOnDropHandle<Delivery>,
    /// Id of the task's log, once the server has assigned it.
    assigned: watch::Receiver<Option<TaskId>>,
}

impl Worker {
    /// Runs `command` (program, then arguments) as this task and waits for its end.
    ///
    /// Intercepts SIGINT, SIGTERM and SIGHUP (except those ignored at start, as with `nohup`) and forwards
    /// them to the child's process group. In the foreground of a terminal the child stays in this process's
    /// group, so that it can read from the terminal and Ctrl-Z stops both. There, Ctrl-C reaches the child
    /// directly, and other signals are forwarded to the child alone. The child inherits stdin. Requires a
    /// tokio runtime with I/O and time.
    ///
    /// # Errors
    /// The command could not be started, or the URL is invalid. An unreachable server is not an error: it is
    /// logged, and [`WorkerOutcome::delivery`] counts the missing lines.
    pub async fn run(options: WorkerOptions, command: Vec<OsString>) -> Result<WorkerOutcome, WorkerError> {
        process::run(options, command).await
    }

    /// Starts delivering in the background of the current tokio runtime and returns at once, even if the
    /// server cannot be reached.
    ///
    /// # Errors
    /// The URL is invalid, or there is no tokio runtime.
    pub fn connect(mut options: WorkerOptions) -> Result<Self, WorkerError> {
        options.mask_metadata();
        let command = std::env::args().map(|arg| options.masks.text(&arg)).collect();
        Self::start(options, command)
    }

    /// Appends `text` to the task's log, as several lines if it contains newlines.
    pub fn line(&self, channel: Channel, text: &str) {
        self.shared.push_line(channel, text, Timestamp::now());
    }

    /// Returns the id of the task's log once the server has assigned it, or `None` if it did not within `limit`.
    async fn assigned(&mut self, limit: Duration) -> Option<TaskId> {
        let assigned = timeout(limit, self.assigned.wait_for(Option::is_some)).await.ok()?.ok()?;
        assigned.clone()
    }

    /// Ends the task and waits until the server has confirmed everything, or until it makes no progress.
    pub async fn end(self, exit: Exit) -> Delivery {
        self.shared.finish(exit, None);
        let options = Arc::clone(&self.options);
        let delivery = self.delivered().await;
        if !delivery.complete {
            (options.notes)(&delivery.report(&options.task, options.local_log.spool.as_deref()));
        }
        delivery
    }

    async fn delivered(self) -> Delivery {
        // An uplink that panicked counts as having delivered nothing.
        self.uplink.await.unwrap_or_default()
    }

    /// Starts the uplink and the spool. `options` and `command` must be masked already.
    fn start(options: WorkerOptions, command: Vec<String>) -> Result<Self, WorkerError> {
        let server = server_of(&options)?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|e| WorkerError::Setup { what: "no tokio runtime".into(), source: std::io::Error::other(e) })?;
        let session = WorkerSession::new(&options, command);
        let (log, folder) = open_log(&options, &session)?;
        let shared = Arc::new(SharedBuffer::new(options.masks.clone(), log));
        let keeper = folder.map(|folder| SpoolKeeper::start(folder, shared.log(), Arc::clone(&options.notes)));
        let keeper = keeper
            .transpose()
            .map_err(|source| WorkerError::Setup { what: "cannot start the thread of the spool".to_owned(), source })?;
        let (assign, assigned) = watch::channel(None);
        let uplink =
            Uplink::new(options.clone(), server, session, Arc::clone(&shared)).with_keeper(keeper).with_assign(assign);
        let uplink = AbortOnDropHandle::new(runtime.spawn(uplink.run()));
        Ok(Self { options: Arc::new(options), shared, uplink, assigned })
    }
}

/// Returns the endpoint of the configured server.
fn server_of(options: &WorkerOptions) -> Result<Endpoint, WorkerError> {
    let token = options.token.as_deref().map(str::parse).transpose()?;
    Ok(options.url.parse::<Endpoint>()?.with_ca_file(options.ca_file.clone()).with_token(token))
}

/// Creates the local log, with a spool in a folder of the session, and reports sessions left by earlier workers.
fn open_log(
    options: &WorkerOptions,
    session: &WorkerSession,
) -> Result<(LocalLog, Option<SessionFolder>), WorkerError> {
    let notes = Arc::clone(&options.notes);
    let Some(spool) = &options.local_log.spool else {
        return Ok((local_log::anonymous(&options.local_log, notes), None));
    };
    let dir = spool.display();
    match unsent::count_unsent(spool) {
        0 => {}
        1 => notes(&format!("{dir} contains unsent lines of a task; send them with `tasktail spool send {dir}`")),
        n => notes(&format!("{dir} contains unsent lines of {n} tasks; send them with `tasktail spool send {dir}`")),
    }
    let folder = SessionFolder::create(spool, session.clone()).map_err(|error| WorkerError::Setup {
        what: format!("cannot use the spool {dir}: {error}"),
        source: std::io::Error::other(error),
    })?;
    let log = local_log::named(&options.local_log, folder.path(), notes);
    Ok((log, Some(folder)))
}

fn note_on_stderr(text: &str) {
    // If stderr is closed, there is no other channel for the message.
    writeln!(std::io::stderr().lock(), "tasktail: {text}").ok();
}
