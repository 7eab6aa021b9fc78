//! The first process of a command's terminal. It runs the command as a job, as a shell does.
//!
//! The kernel discards Ctrl-Z for a process whose parent belongs to another session, and a command that is started
//! directly on a new terminal is such a process. This program is therefore started there a second time: it starts
//! the command in the foreground of the terminal and reports each change of it to the worker.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use rustix::termios::tcsetpgrp;

/// First argument of a leader; the terminal's path and the command follow.
const LEADER_ARG: &str = "__terminal-leader";

/// A change of a command, reported by its leader as one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JobReport {
    /// The command runs with this process id, which is its process group too.
    Started(Pid),
    /// It could not be started, for this reason of the system.
    Failed(i32),
    /// A signal stopped it.
    Stopped,
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

impl JobReport {
    fn line(&self) -> String {
        match self {
            JobReport::Started(pid) => format!("started {}\n", pid.as_raw_nonzero()),
            JobReport::Failed(errno) => format!("failed {errno}\n"),
            JobReport::Stopped => "stopped 0\n".to_owned(),
            JobReport::Exited(code) => format!("exited {code}\n"),
            JobReport::Killed(signal) => format!("killed {signal}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (what, number) = line.trim_end().split_once(' ')?;
        let number = number.parse().ok()?;
        match what {
            "started" => Pid::from_raw(number).map(JobReport::Started),
            "failed" => Some(JobReport::Failed(number)),
            "stopped" => Some(JobReport::Stopped),
            "exited" => Some(JobReport::Exited(number)),
            "killed" => Some(JobReport::Killed(number)),
            _ => None,
        }
    }

    /// Reads the next report; `None` once the leader has ended.
    pub(super) fn read(from: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Self::parse(&line)
    }
}

/// Returns the arguments of a leader for a command on the terminal with this path.
pub(super) fn arguments(terminal: OsString, command: &[OsString]) -> Vec<OsString> {
    [LEADER_ARG.into(), terminal].into_iter().chain(command.iter().cloned()).collect()
}

/// Runs this process as a leader if its arguments ask for that. To be called before anything else by a program
/// that sets [`WorkerOptions::job_control`](super::WorkerOptions::job_control).
pub fn run_as_leader() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()?.to_str() != Some(LEADER_ARG) {
        return None;
    }
    let terminal = args.next()?;
    let command: Vec<OsString> = args.collect();
    Some(match lead(&terminal, &command) {
        Ok(()) => ExitCode::SUCCESS,
        // The worker has ended: there is no one to report to.
        Err(_) => ExitCode::FAILURE,
    })
}

/// Runs the command. Its stdin and stderr are this process's; its stdout is the terminal, since this process's
/// stdout leads to the worker.
fn lead(terminal: &OsString, command: &[OsString]) -> io::Result<()> {
    let no_terminal = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or_default();
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(no_terminal).open(terminal)?;
    let mut job = Command::new(command.first().map_or("".as_ref(), OsString::as_os_str));
    job.args(command.iter().skip(1)).stdout(terminal.try_clone()?).process_group(0);
    let pid = match job.spawn() {
        Ok(child) => i32::try_from(child.id()).ok().and_then(Pid::from_raw),
        Err(error) => return report(&JobReport::Failed(error.raw_os_error().unwrap_or_default())),
    };
    drop(job);
    let pid = pid.ok_or_else(|| io::Error::other("the command has no process id"))?;
    tcsetpgrp(&terminal, pid)?;
    report(&JobReport::Started(pid))?;
    // A command that used the terminal before it was in the foreground is stopped, once.
    let mut may_be_early = true;
    loop {
        let status = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::STOPPED)?;
        let Some(status) = status else { continue };
        if let Some(code) = status.exit_status() {
            return report(&JobReport::Exited(code));
        }
        if let Some(signal) = status.terminating_signal() {
            return report(&JobReport::Killed(signal));
        }
        if std::mem::take(&mut may_be_early) && is_use_of_terminal(status.stopping_signal()) {
            kill_process_group(pid, Signal::CONT).ok();
            continue;
        }
        report(&JobReport::Stopped)?;
    }
}

/// Reports whether the signal stops a process for using the terminal from the background.
fn is_use_of_terminal(signal: Option<i32>) -> bool {
    [Signal::TTIN, Signal::TTOU].iter().any(|use_of_terminal| signal == Some(use_of_terminal.as_raw()))
}

fn report(report: &JobReport) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(report.line().as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_round_trip() {
        let pid = Pid::from_raw(42).unwrap();
        let reports = [
            JobReport::Started(pid),
            JobReport::Failed(2),
            JobReport::Stopped,
            JobReport::Exited(3),
            JobReport::Killed(9),
        ];
        let text: String = reports.iter().map(JobReport::line).collect();
        let mut input = text.as_bytes();
        for report in reports {
            assert_eq!(JobReport::read(&mut input), Some(report));
        }
        assert_eq!(JobReport::read(&mut input), None);
        assert_eq!(JobReport::read(&mut &b"exited"[..]), None);
    }
}
