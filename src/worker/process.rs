//! Runs the child: its pipes or terminal, signal forwarding, and exit.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_current_process_group, kill_process, kill_process_group};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::environment;
use super::keys;
use super::leader::JobReport;
use super::mask::Masks;
use super::reader::{OutputCopy, PipeReader};
use super::shared::SharedBuffer;
use super::signals::ForwardedSignals;
use super::start::{self, StartedChild};
use super::terminal::{self, ChildTerminal};
use super::{Delivery, Exit, Worker, WorkerError, WorkerOptions, WorkerOutcome};
use crate::model::{Channel, command_line, signal_name};

/// Maximum time for which a stop signal to this process takes effect; the kernel discards it if no shell could
/// continue this process.
const STOP_WAIT: Duration = Duration::from_millis(500);
/// Maximum time for which this process continues after the command stopped, to copy its last output: an editor
/// leaves its screen before it stops.
const STOP_OUTPUT_WAIT: Duration = Duration::from_millis(500);
/// Interval of the checks whether that output was copied.
const STOP_OUTPUT_INTERVAL: Duration = Duration::from_millis(2);

/// Implements [`Worker::run`].
pub(super) async fn run(options: WorkerOptions, command: Vec<OsString>) -> Result<WorkerOutcome, WorkerError> {
    let signals = ForwardedSignals::listen(options.pty);
    let signals =
        signals.map_err(|e| WorkerError::Setup { what: format!("cannot listen for signals: {e}"), source: e })?;
    let own_group = options.pty || !keys::is_foreground();
    run_with(options, command, signals, own_group).await
}

async fn run_with(
    mut options: WorkerOptions,
    command: Vec<OsString>,
    mut signals: ForwardedSignals,
    own_group: bool,
) -> Result<WorkerOutcome, WorkerError> {
    let Some(program) = command.first() else { return Err(WorkerError::NoCommand) };
    let program = program.to_string_lossy().into_owned();
    options.mask_metadata();
    // Mask each argument before quoting: quotes would split a secret.
    let words: Vec<String> = command.iter().map(|word| options.masks.text(&word.to_string_lossy())).collect();
    let tee = open_tee(&options)?;
    let mut worker = Worker::start(options.clone(), words.clone())?;
    name_attempt(&mut options, &mut worker).await;
    worker.shared.push_internal(format!("starting on {}: {}", options.host, command_line(&words)));
    let started = Instant::now();
    let mut running = match RunningCommand::start(&options, &command, own_group, tee, &worker.shared) {
        Ok(running) => running,
        Err(error) => {
            let error = start_error(&program, &options.masks, error);
            let exit = Exit::code(error.exit_code());
            worker.shared.finish(exit, Some(error.to_string()));
            await_delivery(worker, &mut signals).await;
            return Err(error);
        }
    };
    let exit = running.wait(&options, &mut signals, &worker.shared).await;
    let exit = exit.map_err(|e| WorkerError::Setup { what: format!("cannot wait for the command: {e}"), source: e })?;
    worker.shared.end_waits();
    running.drain(options.drain_timeout, &mut signals, &worker.shared).await;
    drop(running);
    worker.shared.finish(exit, Some(exit_message(exit, started.elapsed())));
    let assigned = worker.assigned.clone();
    let delivery = await_delivery(worker, &mut signals).await;
    let task = assigned.borrow().clone().unwrap_or(options.task);
    Ok(WorkerOutcome { task, exit_code: exit.shell_code(), exit, delivery })
}

/// Waits for the id of the attempt, for a bounded time, and passes it to the command and to the user.
async fn name_attempt(options: &mut WorkerOptions, worker: &mut Worker) {
    if !options.attempt.is_join() {
        match worker.assigned(options.start_wait).await {
            Some(task) => options.task = task,
            None => note_later_attempt(options, worker),
        }
    }
    if let Some(starting) = &options.starting {
        starting(&options.task);
    }
}

/// Reports the id of a later attempt when the server assigns it. The command has started by then.
fn note_later_attempt(options: &WorkerOptions, worker: &Worker) {
    let (mut assigned, requested, notes) = (worker.assigned.clone(), options.task.clone(), Arc::clone(&options.notes));
    tokio::spawn(async move {
        if let Ok(Some(task)) = assigned.wait_for(Option::is_some).await.map(|task| task.clone())
            && task != requested
        {
            notes(&format!("{requested} is in use; this log is {task}"));
        }
    });
}

/// Waits for the delivery, until a signal asks to stop.
async fn await_delivery(worker: Worker, signals: &mut ForwardedSignals) -> Delivery {
    let shared = Arc::clone(&worker.shared);
    let abort = async {
        signals.next_stop().await;
        shared.abort_delivery();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        delivery = worker.delivered() => delivery,
        () = abort => Delivery::default(),
    }
}

fn exit_message(exit: Exit, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match (exit.code, exit.signal) {
        (None, Some(signal)) => format!("ended after {seconds:.1} s by {}", signal_name(signal)),
        _ => format!("ended after {seconds:.1} s with exit code {}", exit.shell_code()),
    }
}

fn start_error(program: &str, masks: &Masks, error: io::Error) -> WorkerError {
    let path_exists = program.contains('/') && std::path::Path::new(program).exists();
    let command = masks.text(program);
    match error.kind() {
        io::ErrorKind::NotFound if !path_exists => WorkerError::NotFound { command },
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            WorkerError::NotExecutable { command, source: error }
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            WorkerError::NotExecutable { command, source: error }
        }
        _ => WorkerError::Setup { what: format!("cannot start {command}: {error}"), source: error },
    }
}

type TeeFile = Option<(String, Arc<Mutex<Option<File>>>)>;

fn open_tee(options: &WorkerOptions) -> Result<TeeFile, WorkerError> {
    let Some(path) = &options.tee else { return Ok(None) };
    let name = path.display().to_string();
    match File::create(path) {
        Ok(file) => Ok(Some((name, Arc::new(Mutex::new(Some(file)))))),
        Err(source) => Err(WorkerError::Setup { what: format!("cannot write to {name}: {source}"), source }),
    }
}

/// A running child and the threads that read its output.
struct RunningCommand {
    /// The command, or the leader of its terminal.
    child: Child,
    pid: Pid,
    /// The child leads its own process group; otherwise it shares this process's.
    own_group: bool,
    readers: Vec<PipeReader>,
    terminal: Option<ChildTerminal>,
    /// Changes of the command, if it has a leader.
    reports: Option<mpsc::Receiver<JobReport>>,
    /// The command is stopped, and this process is about to be.
    suspended: bool,
}

/// A change of a child's state.
enum ChildChange {
    Ended(Exit),
    Stopped,
}

impl RunningCommand {
    fn start(
        options: &WorkerOptions,
        command: &[OsString],
        own_group: bool,
        tee: TeeFile,
        shared: &Arc<SharedBuffer>,
    ) -> io::Result<Self> {
        let variables = environment::variables(options, |name| std::env::var_os(name), terminal::is_attended());
        let StartedChild { child, pid, sources, terminal, reports } = if options.pty {
            start::on_terminal(command, variables, options.job_control)?
        } else {
            start::on_pipes(command, variables, own_group)?
        };
        let mut readers = Vec::new();
        for (source, channel) in sources {
            let copies = open_copies(channel, options.show, &tee)?;
            readers.push(PipeReader::spawn(source, channel, copies, Arc::clone(shared), Arc::clone(&options.notes))?);
        }
        Ok(Self { child, pid, own_group, readers, terminal, reports, suspended: false })
    }

    /// Waits for the child's exit and forwards signals to it.
    async fn wait(
        &mut self,
        options: &WorkerOptions,
        signals: &mut ForwardedSignals,
        shared: &SharedBuffer,
    ) -> io::Result<Exit> {
        let mut stop = StopRequest::default();
        let mut resume_at: Option<Instant> = None;
        loop {
            let signal = tokio::select! {
                change = self.change() => match change? {
                    ChildChange::Ended(exit) => return Ok(stop.exit(exit, options.kill_grace)),
                    ChildChange::Stopped => {
                        resume_at = self.suspend(shared).await.map(|()| Instant::now() + STOP_WAIT);
                        continue;
                    }
                },
                () = sleep_until(stop.kill_at.unwrap_or_else(Instant::now)), if stop.kill_at.is_some() => {
                    stop.kill_at = None;
                    let grace = options.kill_grace.as_secs_f64();
                    shared.push_internal(format!("still running after {grace:.1} s; sending SIGKILL"));
                    self.kill(Signal::KILL);
                    continue;
                }
                () = sleep_until(resume_at.unwrap_or_else(Instant::now)), if resume_at.is_some() => Signal::CONT,
                signal = signals.next() => signal,
            };
            match signal {
                Signal::WINCH => self.terminal.iter().for_each(ChildTerminal::copy_size),
                Signal::CONT => {
                    resume_at = None;
                    self.resume(shared);
                }
                Signal::INT if !self.own_group => {
                    // The terminal has sent it to the child too, and the child decides how to react.
                    shared.push_internal(format!("{} from the terminal", signal_name(signal.as_raw())));
                }
                signal => {
                    shared.push_internal(format!("{} received and forwarded", signal_name(signal.as_raw())));
                    self.kill(signal);
                    stop.received(signal, options.kill_grace);
                }
            }
        }
    }

    /// Waits for a change of the child. Cancel-safe.
    async fn change(&mut self) -> io::Result<ChildChange> {
        let Some(reports) = &mut self.reports else {
            return self.child.wait().await.map(exit_of).map(ChildChange::Ended);
        };
        match reports.recv().await {
            Some(JobReport::Exited(code)) => Ok(ChildChange::Ended(Exit::code(code))),
            Some(JobReport::Killed(signal)) => Ok(ChildChange::Ended(killed(signal))),
            Some(JobReport::Stopped) => Ok(ChildChange::Stopped),
            Some(_) | None => {
                // The leader was killed. The terminal's processes are hung up with it.
                self.reports = None;
                self.child.wait().await.map(exit_of).map(ChildChange::Ended)
            }
        }
    }

    /// Stops this process's group, as Ctrl-Z in a shell does, if keys are typed here. It continues with SIGCONT.
    async fn suspend(&mut self, shared: &SharedBuffer) -> Option<()> {
        let terminal = self.terminal.as_ref()?;
        let mut checks = interval(STOP_OUTPUT_INTERVAL);
        let caught_up = async {
            while !self.readers.iter().all(PipeReader::has_caught_up) {
                checks.tick().await;
            }
        };
        // A terminal that accepts no output, such as after Ctrl-S, must not prevent the stop.
        timeout(STOP_OUTPUT_WAIT, caught_up).await.ok();
        terminal.suspend()?;
        self.suspended = true;
        shared.push_internal("stopped from the terminal");
        kill_current_process_group(Signal::TSTP).ok()
    }

    /// Continues the command and takes the terminal again.
    fn resume(&mut self, shared: &SharedBuffer) {
        self.terminal.iter().for_each(ChildTerminal::resume);
        if std::mem::take(&mut self.suspended) {
            shared.push_internal("continued");
            self.kill(Signal::CONT);
        }
    }

    /// Reads the rest of the pipes, without waiting for background processes that hold them open.
    async fn drain(&mut self, limit: Duration, signals: &mut ForwardedSignals, shared: &SharedBuffer) {
        let readers = futures::future::join_all(self.readers.iter_mut().map(|reader| reader.drain(limit)));
        let all_ended = tokio::select! {
            ended = readers => ended.into_iter().all(|ended| ended),
            _ = signals.next_stop() => false,
        };
        if !all_ended {
            let seconds = limit.as_secs_f64();
            shared.push_internal(format!(
                "the command has ended, but a background process still holds its output open; reading stopped after {seconds:.1} s"
            ));
        }
    }

    fn kill(&self, signal: Signal) {
        // If the child has just exited, there is no process to signal.
        if self.own_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) }.ok();
    }
}

/// A signal that asks the command to stop.
#[derive(Debug, Default)]
struct StopRequest {
    aborted: bool,
    hung_up_at: Option<Instant>,
    kill_at: Option<Instant>,
}

impl StopRequest {
    fn received(&mut self, signal: Signal, grace: Duration) {
        if signal == Signal::HUP {
            // A command may ignore it and run on, so it is not killed.
            self.hung_up_at = Some(Instant::now());
        } else {
            self.aborted = true;
            self.kill_at = self.kill_at.or_else(|| Some(Instant::now() + grace));
        }
    }

    /// Marks the exit as aborted if one of the signals has caused it.
    fn exit(&self, exit: Exit, grace: Duration) -> Exit {
        let hung_up = self.hung_up_at.is_some_and(|at| at.elapsed() < grace);
        Exit { aborted: exit.aborted || self.aborted || hung_up, ..exit }
    }
}

fn open_copies(channel: Channel, show: bool, tee: &TeeFile) -> io::Result<Vec<OutputCopy>> {
    let mut copies = Vec::new();
    if show {
        let own = match channel {
            Channel::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
            _ => io::stdout().as_fd().try_clone_to_owned()?,
        };
        copies.push(OutputCopy { name: channel.to_string(), file: Arc::new(Mutex::new(Some(File::from(own)))) });
    }
    copies.extend(tee.iter().map(|(name, file)| OutputCopy { name: name.clone(), file: Arc::clone(file) }));
    Ok(copies)
}

fn exit_of(status: ExitStatus) -> Exit {
    status.signal().map_or(Exit { code: status.code(), ..Exit::default() }, killed)
}

/// Returns the exit by a signal. SIGINT and SIGHUP always count as a user's abort: a terminal sends them to the
/// child too.
fn killed(signal: i32) -> Exit {
    Exit { aborted: [Signal::INT, Signal::HUP].map(Signal::as_raw).contains(&signal), ..Exit::signal(signal) }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
