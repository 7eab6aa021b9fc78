//! One machine in daily use: suspended and killed processes, copies of the data folder, accounts without a home,
//! access by other accounts.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Home, Serve, finish, lines_of, signal, until, wait};

fn data_of(home: &Home) -> PathBuf {
    home.path(".local/state/tasktail")
}

fn show(home: &Home, task: &str) -> Value {
    serde_json::from_str(&home.ok(&["show", task, "--json"])).unwrap()
}

/// A server that is suspended until this is dropped.
struct Suspended(Serve);

impl Suspended {
    fn new(server: Serve) -> Self {
        signal(&server.child, "STOP");
        let stat = format!("/proc/{}/stat", server.child.id());
        until("the server is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
        Self(server)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        signal(&self.0.child, "CONT");
    }
}

#[test]
fn a_copy_of_the_folder_does_not_lead_to_the_original() {
    let home = Home::new();
    let server = home.serve();
    home.ok(&["append", "--task", "bk1", "precious"]);
    home.ok(&["end", "--task", "bk1", "--exit-code", "0"]);
    let copy = home.path("copy");
    let copied = Command::new("cp").arg("-a").arg(data_of(&home)).arg(&copy).status().unwrap();
    assert!(copied.success() && copy.join("server.json").exists());
    home.ok(&["append", "--task", "later", "x"]);
    let in_copy = |args: &[&str]| home.run(&[&["--data", copy.to_str().unwrap()], args].concat());
    let listed = in_copy(&["list"]).stdout;
    assert!(listed.contains("bk1") && !listed.contains("later"), "{listed}");
    assert_eq!(in_copy(&["rm", "bk1"]).code, Some(0));
    assert!(!in_copy(&["list"]).stdout.contains("bk1"));
    assert_eq!(home.ok(&["follow", "bk1"]), "precious\n", "the original keeps it");
    drop(server);
    assert_eq!(home.ok(&["follow", "bk1"]), "precious\n");
}

#[test]
fn a_suspended_server_is_reported_and_stops_no_command() {
    let home = Home::new();
    let server = home.serve();
    let (pid, url) = (server.child.id(), server.url.clone());
    home.ok(&["append", "--task", "t", "x"]);
    let suspended = Suspended::new(server);
    for args in [&["list"][..], &["follow", "t"], &["rm", "t"], &["append", "--task", "t", "y"], &["open"]] {
        let began = Instant::now();
        let done = home.run(args);
        assert_eq!(done.code, Some(1), "{args:?}: {}", done.stderr);
        assert!(began.elapsed() < Duration::from_secs(10), "{args:?}");
        assert!(done.stderr.contains(&format!("(process {pid}, stopped)")), "{}", done.stderr);
        assert!(done.stderr.contains(&format!("kill -CONT {pid}")), "{}", done.stderr);
    }
    // Given by its URL.
    let done = finish(home.command(&["list"]).env("TASKTAIL_URL", &url).spawn().unwrap());
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("does not answer within 2 s"), "{}", done.stderr);
    // The command runs at once, and its lines arrive when the server continues.
    let script = "touch started; while ! [ -e go ]; do sleep 0.05; done; echo kept";
    let run = home.command(&["run", "--task", "r", "--", "sh", "-c", script]).spawn().unwrap();
    until("the command has started", || home.path("started").exists());
    drop(suspended);
    until("the task is known", || home.run(&["show", "r"]).code == Some(0));
    std::fs::write(home.path("go"), "").unwrap();
    let done = finish(run);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "kept\n"));
    assert!(done.stderr.contains("stopped) does not answer"), "{}", done.stderr);
    assert_eq!(home.ok(&["follow", "r"]), "kept\n");
}

#[test]
fn a_killed_run_is_lost_when_its_grace_is_over() {
    let home = Home::new();
    let grace = |command: &mut Command| {
        command.env("TASKTAIL_WORKER_GRACE", "2s");
    };
    let mut command = home.command(&["run", "--task", "t", "--", "sh", "-c", "echo one; exec sleep 100"]);
    grace(&mut command);
    let mut run = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let details = || -> Value {
        let mut command = home.command(&["show", "t", "--json"]);
        grace(&mut command);
        serde_json::from_str(&finish(command.spawn().unwrap()).stdout).unwrap_or_default()
    };
    until("the line is stored", || details()["last_line"].as_u64() >= Some(2));
    run.kill().unwrap();
    wait(&mut run);
    let killed = Instant::now();
    // Each command opens the folder for a moment only, so the time must pass between them.
    until("the task is lost", || details()["status"] == "lost");
    assert!(killed.elapsed() < Duration::from_secs(30), "the grace began again with every command");
    let (first, again) = (details(), details());
    assert!(first["ended"].is_string() && first["ended"] == again["ended"], "{first}");
    let lasted = home.ok(&["show", "t"]);
    assert!(lasted.contains("status:        lost"), "{lasted}");
}

#[test]
fn an_account_without_a_home_needs_only_a_url() {
    let home = Home::new();
    let server = home.serve();
    let homeless = |args: &[&str], url: Option<&str>| {
        let mut command = home.command(args);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TASKTAIL_LISTEN", "127.0.0.1:0");
        command.envs(url.map(|url| ("TASKTAIL_URL", url)));
        finish(command.spawn().unwrap())
    };
    let url = Some(server.url.as_str());
    let done = homeless(&["run", "--task", "t", "--", "echo", "hi"], url);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "hi\n"), "{}", done.stderr);
    for args in [
        &["follow", "t"][..],
        &["list"],
        &["show", "t"],
        &["export", "t", "-o", "-"],
        &["append", "--task", "a", "x"],
        &["end", "--task", "a", "--exit-code", "0"],
        &["doctor"],
        &["open"],
        &["events", "status", "--run", "none"],
        &["rm", "t"],
    ] {
        let done = homeless(args, url);
        assert!(!done.stderr.contains("HOME"), "{args:?}: {}", done.stderr);
        assert!(done.code == Some(0) || args[0] == "events", "{args:?}: {}", done.stderr);
    }
    // Without a URL the message names what is missing; a command is run nevertheless.
    let done = homeless(&["list"], None);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("HOME") && done.stderr.contains("--data"), "{}", done.stderr);
    let done = homeless(&["run", "--", "echo", "hi"], None);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "hi\n"));
    assert!(done.stderr.contains("--data DIR"), "{}", done.stderr);
}

/// Returns the files and folders below `folder` that others than the owner may access.
fn shared(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        if path.metadata().unwrap().permissions().mode() & 0o077 != 0 {
            found.push(path.display().to_string());
        }
        if path.is_dir() {
            folders.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn other_accounts_cannot_read_a_log() {
    let home = Home::new();
    let open_umask = |args: &str| {
        let script = format!("umask 000; exec '{}' {args}", env!("CARGO_BIN_EXE_tasktail"));
        let mut command = home.command(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in command.current_dir(home.path("")).get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        finish(shell.spawn().unwrap())
    };
    let data = data_of(&home);
    assert_eq!(open_umask("run --task t -- echo secret").code, Some(0));
    assert_eq!(shared(&data), [""; 0]);
    // An existing store is tightened.
    let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(&data).status().unwrap();
    assert!(opened.success() && !shared(&data).is_empty());
    let server = home.serve();
    home.ok(&["append", "--task", "u", "x"]);
    assert_eq!(shared(&data), [""; 0], "while a server uses it");
    drop(server);
    assert_eq!(shared(&data), [""; 0]);
}

#[test]
fn open_serves_the_log_of_a_run_that_has_ended() {
    let home = Home::new();
    assert!(home.run(&["open"]).stderr.contains("no task yet"));
    home.ok(&["run", "--task", "old", "--", "echo", "a"]);
    home.ok(&["run", "--task", "t", "--", "echo", "b"]);
    let mut open = home.command(&["open"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(open.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (server, task) = line.trim_end().split_once("/tasks/").unwrap();
    assert_eq!(task, "t", "the newest");
    let lines = finish(home.command(&["follow", "old"]).env("TASKTAIL_URL", server).spawn().unwrap());
    assert_eq!(lines.stdout, "a\n", "{}", lines.stderr);
    // A server that runs is used.
    let again = home.run(&["open", "old"]);
    assert_eq!((again.code, again.stdout), (Some(0), format!("{server}/tasks/old\n")));
    signal(&open, "INT");
    assert_eq!(wait(&mut open), Some(0));
    let missing = home.run(&["open", "nosuch"]);
    assert_eq!(missing.code, Some(1));
    assert_eq!(missing.stderr, "tasktail: there is no task `nosuch`; list tasks with `tasktail list`\n");
}

#[test]
fn hangup_reloads_the_settings_of_a_server() {
    let home = Home::new();
    let config = home.path("config.toml");
    std::fs::write(&config, "worker_grace = '60s'\n").unwrap();
    let log = home.path("log");
    let mut command = home.command(&["--config", config.to_str().unwrap(), "serve"]);
    command
        .env("TASKTAIL_LOG", "info")
        .stderr(std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let hangup = |child: &Child, text: &str, expected: &[&str]| {
        std::fs::write(&config, text).unwrap();
        std::fs::write(&log, "").unwrap();
        signal(child, "HUP");
        until("the reload is reported", || {
            let text = lines_of(&log).join("\n");
            expected.iter().all(|words| text.contains(words))
        });
    };
    hangup(&child, "worker_grace = 'soon'\n", &["keeping the old settings", "worker_grace"]);
    hangup(
        &child,
        "worker_grace = '1s'\nretention_age = '30d'\nconnections_max = 7\n",
        &["changed worker_grace", "changed retention_age", "restart the server to change connections_max", "reloaded"],
    );
    let url = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
    // The new grace is in force.
    let mut run = home.command(&["--url", &url, "run", "--task", "t", "--", "sleep", "100"]).spawn().unwrap();
    until("the task runs", || home.run(&["show", "t"]).code == Some(0));
    run.kill().unwrap();
    wait(&mut run);
    until("the task is lost", || show(&home, "t")["status"] == "lost");
    signal(&child, "TERM");
    assert_eq!(wait(&mut child), Some(0));
}

#[test]
fn an_ephemeral_server_ends_with_its_owner() {
    let home = Home::new();
    let tmp = home.path("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let program = env!("CARGO_BIN_EXE_tasktail");
    let start = |prefix: &str| {
        // The shell is the owner: it stays, and is killed.
        let script = format!("{prefix} '{program}' serve --ephemeral > addresses & wait");
        let mut owner = Command::new("sh");
        owner.args(["-c", &script]).current_dir(home.path("")).env("TMPDIR", &tmp).env("HOME", home.path(""));
        let mut owner = owner.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the server has started", || !lines_of(&home.path("addresses")).is_empty());
        owner.kill().unwrap();
        owner.wait().unwrap();
        let addresses: Value = serde_json::from_str(&lines_of(&home.path("addresses"))[0]).unwrap();
        addresses["http"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned()
    };
    let address = start("");
    until("the server has ended", || std::net::TcpStream::connect(&address).is_err());
    until("its folder is removed", || std::fs::read_dir(&tmp).unwrap().next().is_none());
    // With nohup it stays.
    std::fs::remove_file(home.path("addresses")).unwrap();
    let address = start("nohup");
    assert!(std::net::TcpStream::connect(&address).is_ok());
    let pids = Command::new("pgrep").args(["-f", &format!("^{program} serve --ephemeral$")]).output().unwrap();
    for pid in String::from_utf8(pids.stdout).unwrap().lines() {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        if cwd == home.path("").canonicalize().unwrap() {
            Command::new("kill").arg(pid).status().unwrap();
        }
    }
    until("the server has ended", || std::net::TcpStream::connect(&address).is_err());
}
