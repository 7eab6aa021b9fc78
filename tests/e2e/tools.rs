//! Processes of these tests, and what they leave.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Home, Serve, lines_of, until, wait};

/// A command in the background, whose output goes to files: no pipe can fill or break.
pub(crate) struct Background {
    pub(crate) child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Background {
    /// `tasktail ARGS`; `name` is that of its files.
    pub(crate) fn start(home: &Home, name: &str, args: &[&str]) -> Self {
        let (out, err) = (home.path(&format!("{name}.out")), home.path(&format!("{name}.err")));
        let mut command = home.command(args);
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: command.spawn().unwrap(), out, err }
    }

    /// Lines on its stdout so far.
    pub(crate) fn out(&self) -> Vec<String> {
        lines_of(&self.out)
    }

    /// Its stderr so far.
    pub(crate) fn err(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// Waits until its stderr says this.
    pub(crate) fn says(&self, words: &str) {
        until(words, || self.err().contains(words));
    }

    /// Its exit code, once it has ended.
    pub(crate) fn code(&mut self) -> Option<i32> {
        wait(&mut self.child)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // After a failed test: nothing may be left running.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A server on this port (port 0: any) over the home's data folder, with flags of the test's own.
pub(crate) fn serve_at(home: &Home, listen: &str, flags: &[&str]) -> Serve {
    Serve::start(home.command(&[&["serve", "--listen", listen], flags].concat()))
}

/// The address in a server's URL.
pub(crate) fn addr(serve: &Serve) -> String {
    serve.url.strip_prefix("http://").unwrap().to_owned()
}

/// SIGKILL, as the power cut of a process.
pub(crate) fn kill(serve: &mut Serve) {
    serve.child.kill().unwrap();
    serve.child.wait().unwrap();
}

/// The folder that a home's server keeps everything in.
pub(crate) fn data(home: &Home) -> PathBuf {
    home.path(".local/state/tasktail")
}

/// A script that writes `line 1` to `line LAST`, about ten lines every 20 ms.
pub(crate) fn steady(last: usize) -> String {
    format!("i=0; while [ $i -lt {last} ]; do i=$((i+1)); echo line $i; [ $((i % 10)) = 0 ] && sleep 0.02; done")
}

/// What [`steady`] writes.
pub(crate) fn steady_lines(last: usize) -> Vec<String> {
    (1..=last).map(|n| format!("line {n}")).collect()
}

/// A script's wait for a file that the test makes.
pub(crate) fn wait_for(file: &Path) -> String {
    format!("while ! [ -e {} ]; do sleep 0.02; done", file.display())
}

/// What the standard tool reads out of a task's sealed archive: the texts of its stdout lines.
pub(crate) fn zstdcat(home: &Home, task: &str) -> Vec<String> {
    let file = data(home).join(format!("archive/{task}.ndjson.zst"));
    until("the archive is sealed", || file.is_file());
    let output = Command::new("zstdcat").arg(&file).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let rows = String::from_utf8(output.stdout).unwrap();
    let lines = rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let stdout = lines.filter(|line| line["stream"] == "stdout");
    stdout.map(|line| line["line"].as_str().unwrap().to_owned()).collect()
}

/// A number of `/proc/PID/status`, in bytes.
pub(crate) fn memory(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The most memory that a process has had, in bytes, without the pages of its own file.
pub(crate) fn peak(pid: u32) -> u64 {
    memory(pid, "VmHWM:").saturating_sub(memory(pid, "RssFile:"))
}

/// Between two looks at another process.
#[expect(clippy::disallowed_methods, reason = "another process's progress cannot be waited for otherwise")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
