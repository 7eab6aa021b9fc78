//! `scripts/many-servers`: two servers, a Redis, an S3 and a balancer, started as a user starts them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

/// Longest wait. The lease of a killed server ends after 15 s, and its tasks are sealed after that.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the script started.
struct ManyServers {
    script: Child,
    started: Value,
}

impl ManyServers {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let moto = root.join("target/moto/venv/bin/moto_server");
        assert!(moto.exists(), "{} is missing: scripts/test installs it", moto.display());
        let mut script = Command::new("python3")
            .arg(root.join("scripts/many-servers"))
            .args(["--json", "--archive", "s3", "--tasktail", env!("CARGO_BIN_EXE_tasktail")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { script, started }
    }

    fn text(&self, name: &str) -> &str {
        self.started[name].as_str().unwrap()
    }

    fn servers(&self) -> impl Iterator<Item = (&str, Pid)> {
        let servers = self.started["servers"].as_array().unwrap().iter();
        servers.map(|server| (server["url"].as_str().unwrap(), pid(&server["pid"])))
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.script), Signal::INT).ok();
        self.script.wait().unwrap()
    }
}

impl Drop for ManyServers {
    fn drop(&mut self) {
        self.interrupt();
    }
}

fn pid(value: &Value) -> Pid {
    Pid::from_raw(value.as_i64().unwrap().try_into().unwrap()).unwrap()
}

/// Returns the body of a page, empty if there is none.
fn get(url: &str) -> String {
    let answer = Command::new("curl").args(["--silent", "--fail", "--max-time", "10", url]).output().expect("curl");
    String::from_utf8(answer.stdout).unwrap()
}

fn log(url: &str) -> Vec<String> {
    let text = get(&format!("{url}/api/v1/tasks/build/log?format=text"));
    // Others are about the command.
    text.lines().filter(|line| !line.starts_with("# ")).map(str::to_owned).collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn numbers(last: u32) -> Vec<String> {
    (1..=last).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn run_through_the_balancer_survives_the_kill_of_its_server() {
    let mut many = ManyServers::start();
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!("seq 1 1000; until [ -e {} ]; do sleep 0.05; done; seq 1001 2000", go.display());
    let mut run = Command::new(env!("CARGO_BIN_EXE_tasktail"))
        .args(["--url", many.text("url"), "run", "--task", "build", "--pty", "never", "--", "sh", "-c", &script])
        .env("HOME", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for (server, _) in many.servers() {
        until("the first lines at both servers", || log(server) == numbers(1_000)).await;
    }
    let has_worker = |url: &str| get(&format!("{url}/metrics")).lines().any(|line| line == "tasktail_workers 1");
    let used: Vec<Pid> = many.servers().filter(|(url, _)| has_worker(url)).map(|(_, pid)| pid).collect();
    assert_eq!(used.len(), 1, "one of the servers has the worker");
    kill_process(used[0], Signal::KILL).unwrap();
    std::fs::write(&go, "").unwrap();
    until("the end of run", || run.try_wait().unwrap().is_some()).await;
    assert!(run.wait().unwrap().success());

    let url = many.text("url").to_owned();
    assert_eq!(log(&url), numbers(2_000));
    let objects = format!("{}/logs?list-type=2&prefix=tasks/build/", many.text("endpoint"));
    until("the finished log is in the object store", || get(&objects).matches("/log.").count() == 1).await;
    until("the seal", || get(&format!("{url}/api/v1/tasks/build")).contains(r#""state":"complete""#)).await;
    assert_eq!(log(&url), numbers(2_000));

    let pids: Vec<Pid> = many.started["processes"].as_object().unwrap().values().map(pid).collect();
    assert_eq!(pids.len(), 4);
    assert!(many.interrupt().success());
    assert!(pids.into_iter().all(|pid| test_kill_process(pid).is_err()), "everything has ended");
    assert!(!Path::new(many.text("folder")).exists(), "its files are removed");
}
