//! Runs the child: its pipes or terminal, signal forwarding, and exit.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until};

use super::mask::Masks;
use super::reader::{OutputCopy, PIPE_BYTES, PipeReader};
use super::shared::SharedBuffer;
use super::signals::ForwardedSignals;
use super::terminal::{self, ChildTerminal};
use super::{Delivery, Exit, Worker, WorkerError, WorkerOptions, WorkerOutcome};
use crate::model::{Channel, command_line, signal_name};

/// Implements [`Worker::run`].
pub(super) async fn run(options: WorkerOptions, command: Vec<OsString>) -> Result<WorkerOutcome, WorkerError> {
    let signals = ForwardedSignals::listen(options.pty);
    let signals =
        signals.map_err(|e| WorkerError::Setup { what: format!("cannot listen for signals: {e}"), source: e })?;
    let own_group = options.pty || !terminal::is_foreground();
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
    running.drain(options.drain_timeout, &mut signals, &worker.shared).await;
    drop(running);
    worker.shared.finish(exit, Some(exit_message(exit, started.elapsed())));
    let delivery = await_delivery(worker, &mut signals).await;
    Ok(WorkerOutcome { exit_code: exit.shell_code(), exit, delivery })
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
    child: Child,
    pid: Pid,
    /// The child leads its own process group; otherwise it shares this process's.
    own_group: bool,
    readers: Vec<PipeReader>,
    terminal: Option<ChildTerminal>,
}

impl RunningCommand {
    fn start(
        options: &WorkerOptions,
        command: &[OsString],
        own_group: bool,
        tee: TeeFile,
        shared: &Arc<SharedBuffer>,
    ) -> io::Result<Self> {
        let mut child = Command::new(command.first().map_or("".as_ref(), OsString::as_os_str));
        child.args(command.iter().skip(1));
        child.env("TASKTAIL_URL", &options.url).env("TASKTAIL_TASK", options.task.as_str());
        if let Some(file) = options.ca_file.as_deref().and_then(|file| std::path::absolute(file).ok()) {
            child.env("TASKTAIL_CA_FILE", file);
        }
        let (child, sources, terminal) =
            if options.pty { start_on_terminal(child)? } else { start_on_pipes(child, own_group)? };
        let no_pid = || io::Error::other("the child has no process id");
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).ok_or_else(no_pid)?;
        let mut readers = Vec::new();
        for (source, channel) in sources {
            let copies = open_copies(channel, options.show, &tee)?;
            readers.push(PipeReader::spawn(source, channel, copies, Arc::clone(shared), Arc::clone(&options.notes))?);
        }
        Ok(Self { child, pid, own_group, readers, terminal })
    }

    /// Waits for the child's exit and forwards signals to it.
    async fn wait(
        &mut self,
        options: &WorkerOptions,
        signals: &mut ForwardedSignals,
        shared: &SharedBuffer,
    ) -> io::Result<Exit> {
        let mut kill_at: Option<Instant> = None;
        let mut aborted = false;
        loop {
            let signal = tokio::select! {
                status = self.child.wait() => return Ok(exit_of(status?, aborted)),
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    kill_at = None;
                    let grace = options.kill_grace.as_secs_f64();
                    shared.push_internal(format!("still running after {grace:.1} s; sending SIGKILL"));
                    self.kill(Signal::KILL);
                    continue;
                }
                signal = signals.next() => signal,
            };
            if signal == Signal::WINCH {
                self.terminal.iter().for_each(ChildTerminal::copy_size);
                continue;
            }
            let name = signal_name(signal.as_raw());
            if signal == Signal::INT && !self.own_group {
                // The terminal has sent it to the child too, and the child decides how to react.
                shared.push_internal(format!("{name} from the terminal"));
                continue;
            }
            shared.push_internal(format!("{name} received and forwarded"));
            self.kill(signal);
            if signal != Signal::HUP {
                aborted = true;
                kill_at = kill_at.or_else(|| Some(Instant::now() + options.kill_grace));
            }
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

type SpawnedChild = (Child, Vec<(File, Channel)>, Option<ChildTerminal>);

fn start_on_pipes(mut command: Command, own_group: bool) -> io::Result<SpawnedChild> {
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    command.stdin(Stdio::inherit()).stdout(stdout_end).stderr(stderr_end);
    if own_group {
        command.process_group(0);
    }
    // The command holds the write ends. They must be closed here, or the pipes would never end.
    let child = command.spawn()?;
    drop(command);
    Ok((child, vec![(stdout, Channel::Stdout), (stderr, Channel::Stderr)], None))
}

fn start_on_terminal(command: Command) -> io::Result<SpawnedChild> {
    let failed = |error: pty_process::Error| match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(error) => error.into(),
        other => io::Error::other(other),
    };
    let typing = terminal::is_foreground();
    let (pty, pts) = terminal::open().map_err(failed)?;
    let mut command = pty_process::Command::from(command);
    if !io::stdin().is_terminal() {
        command = command.stdin(Stdio::inherit());
    }
    let child = command.spawn(pts).map_err(failed)?;
    let terminal = ChildTerminal::new(pty, typing)?;
    let output = terminal.output()?;
    Ok((child, vec![(output, Channel::Stdout)], Some(terminal)))
}

fn pipe() -> io::Result<(File, Stdio)> {
    let (near, far) = io::pipe()?;
    // A smaller pipe is only slower; the kernel may refuse the size.
    rustix::pipe::fcntl_setpipe_size(&near, PIPE_BYTES).ok();
    Ok((File::from(OwnedFd::from(near)), Stdio::from(far)))
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

/// Converts the status. SIGINT always counts as a user's abort, wherever it was typed.
fn exit_of(status: ExitStatus, aborted: bool) -> Exit {
    let signal = status.signal();
    Exit { code: status.code(), signal, aborted: aborted || signal == Some(Signal::INT.as_raw()) }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
