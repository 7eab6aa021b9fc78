//! Runs real children without a server, and inspects messages and internal lines here.

use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

fn options() -> WorkerOptions {
    WorkerOptions {
        show: false,
        delivery_timeout_unreached: Duration::ZERO,
        notes: Arc::new(|_| {}),
        // Port 1 of this machine refuses connections.
        ..WorkerOptions::new("http://127.0.0.1:1", "42".parse().unwrap())
    }
}

fn words(command: &[&str]) -> Vec<OsString> {
    command.iter().map(OsString::from).collect()
}

struct ShellRun {
    signals: mpsc::Sender<Signal>,
    done: tokio::task::JoinHandle<Result<WorkerOutcome, WorkerError>>,
    tee: tempfile::NamedTempFile,
}

impl ShellRun {
    /// Runs a shell script whose output can be waited for.
    fn shell(script: &str, options: WorkerOptions) -> Self {
        let (signals, receiver) = mpsc::channel(8);
        let tee = tempfile::NamedTempFile::new().unwrap();
        let options = WorkerOptions { tee: Some(tee.path().to_owned()), ..options };
        let done =
            tokio::spawn(run_with(options, words(&["sh", "-c", script]), ForwardedSignals::from_test(receiver), true));
        Self { signals, done, tee }
    }

    fn written(&self) -> String {
        String::from_utf8(std::fs::read(self.tee.path()).unwrap()).unwrap()
    }

    async fn until_written(&self, text: &str) {
        while !self.written().contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn exit(self) -> (Exit, i32) {
        let outcome = self.done.await.unwrap().unwrap();
        (outcome.exit, outcome.exit_code)
    }
}

#[tokio::test]
async fn the_exit_code_matches_the_command() {
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let (exit, shell_code) = ShellRun::shell(script, options()).exit().await;
        assert_eq!(shell_code, code, "{script}");
        assert_eq!(exit.signal, (code > 128).then(|| code - 128));
        assert!(!exit.aborted);
    }
}

#[tokio::test]
async fn start_failures_use_shell_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "data").unwrap();
    let cases =
        [("/no/such/command", 127), ("no-such-command-anywhere", 127), (plain.to_str().unwrap(), 126), ("/", 126)];
    for (command, code) in cases {
        let error = Worker::run(options(), words(&[command])).await.unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().starts_with(command), "{error}");
    }
    assert_eq!(Worker::run(options(), vec![]).await.unwrap_err().exit_code(), 125);
    let no_tee = WorkerOptions { tee: Some("/no/such/folder/file".into()), ..options() };
    assert_eq!(Worker::run(no_tee, words(&["true"])).await.unwrap_err().exit_code(), 125);
}

#[tokio::test]
async fn environment_and_tee_are_complete() {
    let run = ShellRun::shell(
        r#"printf '%s %s\n\377\000' "$TASKTAIL_URL" "$TASKTAIL_TASK"; sleep 0.01; echo err >&2"#,
        options(),
    );
    let path = run.tee.path().to_owned();
    let tee_file = run.tee.reopen().unwrap();
    run.done.await.unwrap().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"http://127.0.0.1:1 42\n\xff\0err\n");
    drop(tee_file);
}

#[tokio::test]
async fn sigterm_reaches_the_whole_group() {
    // The shell waits for a grandchild, which must get the signal too.
    let script = r#"trap 'echo shell got it; wait; exit 7' TERM
        sh -c 'trap "echo grandchild got it; exit 0" TERM; echo ready; while :; do sleep 0.01; done' & wait"#;
    let run = ShellRun::shell(script, options());
    run.until_written("ready").await;
    run.signals.try_send(Signal::TERM).unwrap();
    run.until_written("shell got it").await;
    run.until_written("grandchild got it").await;
    let (exit, code) = run.exit().await;
    assert_eq!((exit.aborted, code), (true, 7));
}

#[tokio::test]
async fn sigkill_follows_the_grace_period() {
    let options = WorkerOptions { kill_grace: Duration::from_millis(100), ..options() };
    let run = ShellRun::shell("trap '' TERM; echo ready; while :; do sleep 0.01; done", options);
    run.until_written("ready").await;
    run.signals.try_send(Signal::TERM).unwrap();
    let (exit, code) = run.exit().await;
    assert_eq!((exit.signal, exit.aborted, code), (Some(9), true, 137));
}

#[tokio::test]
async fn an_open_pipe_does_not_hang_the_worker() {
    let options = WorkerOptions { drain_timeout: Duration::from_millis(50), ..options() };
    let run = ShellRun::shell("sleep 600 & echo pid $!.; exit 4", options);
    run.until_written(".").await;
    let pid = run.written().trim_start_matches("pid ").trim_end_matches(".\n").parse().ok().and_then(Pid::from_raw);
    assert_eq!(run.exit().await.1, 4);
    kill_process(pid.unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_a_server() {
    let options = WorkerOptions { delivery_timeout_unreached: Duration::from_secs(600), ..options() };
    let run = ShellRun::shell("echo done", options);
    run.until_written("done").await;
    // Send it until the run ends: the first signal may still find the child alive.
    while !run.done.is_finished() {
        run.signals.try_send(Signal::INT).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_pty_preserves_the_output_order() {
    let script = "test -t 1 && test -t 2 && for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done";
    let run = ShellRun::shell(script, WorkerOptions { pty: true, ..options() });
    let path = run.tee.path().to_owned();
    let tee_file = run.tee.reopen().unwrap();
    assert_eq!(run.done.await.unwrap().unwrap().exit_code, 0);
    let wanted: String = (1..=5).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted);
    drop(tee_file);
}
