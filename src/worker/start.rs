//! Starts the child: on pipes or on a terminal of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::Stdio;

use rustix::process::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::leader::{self, JobReport};
use super::reader::PIPE_BYTES;
use super::terminal::{self, ChildTerminal};
use crate::model::Channel;

/// Maximum reports of a leader that are not processed yet.
const REPORTS_MAX: usize = 16;

/// A child, the source of its output, and the reporter of its changes.
pub(super) struct StartedChild {
    pub(super) child: Child,
    pub(super) pid: Pid,
    pub(super) sources: Vec<(File, Channel)>,
    pub(super) terminal: Option<ChildTerminal>,
    pub(super) reports: Option<mpsc::Receiver<JobReport>>,
}

/// Environment variables to set.
pub(super) type Variables = Vec<(&'static str, OsString)>;

fn command_of(words: &[OsString], variables: Variables) -> Command {
    let mut command = Command::new(words.first().map_or("".as_ref(), OsString::as_os_str));
    command.args(words.iter().skip(1)).envs(variables);
    command
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let no_pid = || io::Error::other("the child has no process id");
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).ok_or_else(no_pid)
}

/// Starts a command whose output is two pipes.
pub(super) fn on_pipes(words: &[OsString], variables: Variables, own_group: bool) -> io::Result<StartedChild> {
    let mut command = command_of(words, variables);
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    command.stdin(Stdio::inherit()).stdout(stdout_end).stderr(stderr_end);
    if own_group {
        command.process_group(0);
    }
    // The command holds the write ends. They must be closed here, or the pipes would never end.
    let child = command.spawn()?;
    drop(command);
    let (pid, sources) = (pid_of(&child)?, vec![(stdout, Channel::Stdout), (stderr, Channel::Stderr)]);
    Ok(StartedChild { child, pid, sources, terminal: None, reports: None })
}

/// Starts a command on a terminal of its own, with `job_control` as the job of a leader.
pub(super) fn on_terminal(words: &[OsString], variables: Variables, job_control: bool) -> io::Result<StartedChild> {
    let failed = |error: pty_process::Error| match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(error) => error.into(),
        other => io::Error::other(other),
    };
    let (pty, pts) = terminal::open().map_err(failed)?;
    let (mut command, reports) = if job_control {
        let (reports, reports_end) = io::pipe()?;
        let terminal = std::fs::read_link(format!("/proc/self/fd/{}", pts.as_fd().as_raw_fd()))?;
        let mut leader = vec!["/proc/self/exe".into()];
        leader.extend(leader::arguments(terminal.into(), words));
        let command = pty_process::Command::from(command_of(&leader, variables)).arg0("tasktail");
        (command.stdout(reports_end), Some(reports))
    } else {
        (pty_process::Command::from(command_of(words, variables)), None)
    };
    if !io::stdin().is_terminal() {
        command = command.stdin(Stdio::inherit());
    }
    let mut sources = Vec::new();
    if io::stdout().is_terminal() && !io::stderr().is_terminal() {
        // The user has separated the two streams.
        let (stderr, stderr_end) = pipe()?;
        command = command.stderr(stderr_end);
        sources.push((stderr, Channel::Stderr));
    }
    let child = command.spawn(pts).map_err(failed)?;
    let (pid, reports) = match reports {
        Some(reports) => read_reports(reports).map(|(pid, reports)| (pid, Some(reports)))?,
        None => (pid_of(&child)?, None),
    };
    let terminal = ChildTerminal::new(pty, io::stdin().is_terminal())?;
    sources.push((terminal.output()?, Channel::Stdout));
    Ok(StartedChild { child, pid, sources, terminal: Some(terminal), reports })
}

/// Waits until the leader has started the command, and reads its further reports in a thread.
fn read_reports(pipe: io::PipeReader) -> io::Result<(Pid, mpsc::Receiver<JobReport>)> {
    let mut pipe = io::BufReader::new(pipe);
    let pid = match JobReport::read(&mut pipe) {
        Some(JobReport::Started(pid)) => pid,
        Some(JobReport::Failed(errno)) => return Err(io::Error::from_raw_os_error(errno)),
        _ => return Err(io::Error::other("the leader of its terminal has failed")),
    };
    let (sender, reports) = mpsc::channel(REPORTS_MAX);
    std::thread::Builder::new().name("job".into()).spawn(move || {
        // The receiver is dropped once the command has ended.
        while let Some(report) = JobReport::read(&mut pipe)
            && sender.blocking_send(report).is_ok()
        {}
    })?;
    Ok((pid, reports))
}

fn pipe() -> io::Result<(File, Stdio)> {
    let (near, far) = io::pipe()?;
    // A smaller pipe is only slower; the kernel may refuse the size.
    rustix::pipe::fcntl_setpipe_size(&near, PIPE_BYTES).ok();
    Ok((File::from(OwnedFd::from(near)), Stdio::from(far)))
}
