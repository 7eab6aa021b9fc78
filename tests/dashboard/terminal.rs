//! The dashboard in a real terminal: tmux, with a server of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tasktail::dashboard::{DashboardState, Input, show};

/// Nothing here takes so long; it is the machine that may be slow.
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PROMPT: &str = "ready>";
/// Names the pipe whose opening makes the helper panic.
const PANIC_TRIGGER: &str = "TASKTAIL_TEST_PANIC_TRIGGER";

/// A terminal of 80 x 24 with a shell in it.
pub(crate) struct Tmux {
    name: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Tmux {
    pub(crate) fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tasktail-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let tmux = Self { name, folder: tempfile::tempdir().unwrap() };
        let shell = format!("env PS1='{PROMPT} ' TERM=screen-256color LANG=C.UTF-8 sh");
        tmux.tell(&["-f", "/dev/null", "-u", "new-session", "-d", "-x", "80", "-y", "24", &shell]);
        tmux.wait_for(|screen| screen.contains(PROMPT));
        tmux
    }

    fn call(&self, args: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").env("LANG", "C.UTF-8").args(["-L", &self.name]).args(args);
        command.output().expect("tmux, which scripts/test installs")
    }

    fn tell(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// Types the keys. A command line that begins with `clear` starts on an empty screen, so that nothing an earlier
    /// command left there is taken for its output.
    pub(crate) fn keys(&self, keys: &[&str]) {
        if keys[0].starts_with("clear") {
            self.tell(&["send-keys", "-R"]);
        }
        self.tell(&[&["send-keys"], keys].concat());
    }

    pub(crate) fn wait_for(&self, seen: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if seen(&screen) {
                return screen;
            }
            assert!(begin.elapsed() < PATIENCE, "not seen within {PATIENCE:?}:\n{screen}");
        }
    }

    /// A pipe with a name in the file system.
    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// The shell has the terminal again, as it was.
    pub(crate) fn assert_restored(&self) {
        self.wait_for(|screen| screen.trim_end().ends_with(PROMPT));
        self.keys(&["stty -a; echo stty-end", "Enter"]);
        let screen = self.wait_for(|screen| screen.contains("\nstty-end"));
        for flag in [" icanon", " echo ", " isig", " icrnl", " opost"] {
            assert!(screen.contains(flag) || screen.contains(&format!("\n{}", flag.trim_start())), "{flag}:\n{screen}");
        }
        assert_eq!(self.tell(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim(), "0 1");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.call(&["kill-server"]);
    }
}

pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_tasktail")
}

/// Opening waits until the other end is there.
fn open(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

fn event(message: &str) -> String {
    format!(
        r#"LB_EVENT {{"run_id": "run-1", "host": "h1", "workload": "dfaas", "repetition": 1, "total_repetitions": 3, "status": "running", "type": "log", "level": "INFO", "message": "{message}"}}"#
    )
}

/// Ansible's output of a looped debug, section 1.5 of the formats: every event is there twice.
fn looped(message: &str) -> String {
    let plain = event(message);
    let escaped = plain.replace('"', "\\\"");
    format!("ok: [localhost] => (item={plain}) => {{\n    \"msg\": \"{escaped}\"\n}}\n")
}

#[test]
fn a_pipe_is_live_and_the_terminal_is_restored() {
    let tmux = Tmux::start();
    let fifo = tmux.fifo("out");
    tmux.keys(&[&format!("cat {} | {} dashboard --log raw.log", fifo.display(), binary()), "Enter"]);
    let mut out = open(&fifo);
    tmux.wait_for(|screen| screen.contains("waiting for the first event"));

    let mut text = String::from("\nTASK [Emit captured events] ************************************\n");
    text.push_str(&looped("k6[cfg1] log stream started"));
    out.write_all(text.as_bytes()).unwrap();
    // The journal too shows the message: each part is waited for, not only the last that was missing before.
    let row = "dfaas@h1 1/3 k6[cfg1] log stream started";
    let parts = ["Run Journal (ID: run-1)", "⟳ running ░░░░░░░░ 1/3", "Event Status", "live (stdout"];
    let log = ["Log Stream", "TASK [Emit captured", row];
    tmux.wait_for(|screen| parts.iter().chain(&log).all(|part| screen.contains(part)));

    let mut worst = Duration::ZERO;
    for nth in 0..10 {
        let name = char::from(b'a' + nth);
        let written = Instant::now();
        writeln!(out, "{}", event(&format!("sentinel {name}{name}{name}"))).unwrap();
        tmux.wait_for(|screen| screen.contains(&format!("sentinel {name}{name}{name}")));
        worst = worst.max(written.elapsed());
    }
    let screen = tmux.screen();
    assert_eq!(screen.lines().filter(|line| line.contains(row)).count(), 1, "{screen}");
    println!("written to visible, the worst of ten: {worst:?}");
    assert!(worst < Duration::from_secs(1), "{worst:?}");

    tmux.tell(&["resize-window", "-x", "100", "-y", "30"]);
    let wide = |screen: &str| screen.lines().next().is_some_and(|line| line.chars().count() == 100);
    let screen = tmux.wait_for(|screen| wide(screen) && screen.contains("? help"));
    assert_eq!(screen.lines().count(), 30, "{screen}");
    tmux.keys(&["/", "ccc"]);
    tmux.wait_for(|screen| screen.contains("/ccc") && !screen.contains("1/3 sentinel ddd"));
    tmux.keys(&["Escape"]);
    tmux.wait_for(|screen| screen.contains("1/3 sentinel ddd"));

    drop(out);
    tmux.wait_for(|screen| screen.contains("stdout has ended · q quit"));
    tmux.keys(&["q"]);
    tmux.wait_for(|screen| screen.contains("run run-1: running, 11 events"));
    tmux.assert_restored();
    tmux.keys(&["clear; grep -c sentinel raw.log; rm raw.log", "Enter"]);
    tmux.wait_for(|screen| screen.lines().any(|line| line == "10"));
}

#[test]
fn signals_restore_the_terminal() {
    let tmux = Tmux::start();
    for name in ["TERM", "HUP", "INT"] {
        let fifo = tmux.fifo(name);
        let pid = tmux.folder.path().join(format!("{name}.pid"));
        let start = format!("exec {} dashboard < {}", binary(), fifo.display());
        tmux.keys(&[&format!("clear; sh -c 'echo $$ > {}; {start}'", pid.display()), "Enter"]);
        let out = open(&fifo);
        tmux.wait_for(|screen| screen.contains("waiting for the first event"));
        let pid = std::fs::read_to_string(&pid).unwrap();
        assert!(Command::new("kill").args(["-s", name, pid.trim()]).status().unwrap().success());
        tmux.wait_for(|screen| screen.contains("no event in 0 lines of text"));
        tmux.assert_restored();
        drop(out);
    }
}

#[test]
fn ctrl_c_leaves_with_0() {
    let tmux = Tmux::start();
    let fifo = tmux.fifo("out");
    tmux.keys(&[&format!("{} dashboard < {}; echo code $?", binary(), fifo.display()), "Enter"]);
    let out = open(&fifo);
    tmux.wait_for(|screen| screen.contains("waiting for the first event"));
    tmux.keys(&["C-c"]);
    tmux.wait_for(|screen| screen.contains("\ncode 0"));
    tmux.assert_restored();
    drop(out);
}

#[test]
fn a_panic_restores_the_terminal() {
    let tmux = Tmux::start();
    let (fifo, trigger) = (tmux.fifo("out"), tmux.fifo("trigger"));
    let this = std::env::current_exe().unwrap();
    let helper = format!("{} --ignored --exact --nocapture terminal::helper_that_panics", this.display());
    let environment = format!("RUST_BACKTRACE=0 {PANIC_TRIGGER}={}", trigger.display());
    tmux.keys(&[&format!("clear; {environment} {helper} < {}; echo code $?", fifo.display()), "Enter"]);
    let out = open(&fifo);
    tmux.wait_for(|screen| screen.contains("waiting for the first event"));
    drop(open(&trigger));
    let screen = tmux.wait_for(|screen| screen.contains("\ncode "));
    drop(out);
    assert!(screen.contains("a panic on purpose"), "its words are seen, not lost with the screen:\n{screen}");
    tmux.assert_restored();
}

/// Runs in the terminal of the test above: shows a screen and panics in another thread.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test above"]
async fn helper_that_panics() {
    let input = Input::Pipe { keep: None };
    let state = DashboardState::new(input.source(), true, None);
    let feed = input.start().await.unwrap();
    let trigger = std::env::var_os(PANIC_TRIGGER).unwrap();
    std::thread::spawn(|| {
        // Waits until the test opens the other end.
        File::open(trigger).unwrap();
        panic!("a panic on purpose");
    });
    let result = show(feed, state, false).await;
    assert!(result.is_err_and(|error| error.to_string().contains("crashed")));
    // The end of the runtime would wait for the thread that reads stdin.
    std::process::exit(0);
}
