//! No server anywhere: `run` brings its own, and everything else finds what it left.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use crate::support::{Home, Serve, finish, lines_of, until, wait};

/// Starts `run` and gives its `watch:` URL once it is printed.
fn run_in_background(home: &Home, args: &[&str]) -> (Child, String) {
    let mut child = home.command(&[&["run"], args].concat()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    // The rest is of no interest, but the pipe must not fill or break.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let url = line.trim_end().strip_prefix("watch: ").unwrap_or_else(|| panic!("said {line:?}")).to_owned();
    (child, url)
}

#[test]
fn run_needs_nothing_and_leaves_the_log() {
    let home = Home::new();
    let done = home.run(&["run", "--task", "t", "--label", "k=v", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(7), "out\n"), "{}", done.stderr);
    assert!(done.stderr.starts_with("watch: http://127.0.0.1:"), "{}", done.stderr);
    assert!(done.stderr.lines().next().unwrap().ends_with("/tasks/t"), "{}", done.stderr);
    assert!(done.stderr.contains("err\n"), "{}", done.stderr);

    let listed: serde_json::Value = serde_json::from_str(&home.ok(&["list", "--label", "k=v", "--json"])).unwrap();
    assert_eq!((&listed["id"], &listed["status"], &listed["exit_code"]), (&"t".into(), &"completed".into(), &7.into()));
    let again = home.run(&["follow", "t", "--exit-status"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(7), "out\n"), "{}", again.stderr);
    assert!(again.stderr.contains("# "), "the worker's own words: {}", again.stderr);
    assert!(home.ok(&["export", "t", "-o", "-"]).contains("out\n"));
    assert!(!home.path(".local/state/tasktail/server.json").exists());
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    let home = Home::new();
    assert_eq!(home.run(&["run", "--", "true"]).code, Some(0));
    assert_eq!(home.run(&["run", "sh", "-c", "kill -9 $$"]).code, Some(137));
    let done = home.run(&["run", "--", "no-such-command-anywhere"]);
    assert_eq!(done.code, Some(127), "{}", done.stderr);
    assert!(done.stderr.contains("no-such-command-anywhere"), "{}", done.stderr);
    assert_eq!(home.run(&["run", "--", "/"]).code, Some(126));
}

#[test]
fn a_command_can_append_to_its_own_log() {
    let home = Home::new();
    let program = env!("CARGO_BIN_EXE_tasktail");
    let script = format!("echo a; '{program}' append --stream internal 'step 2'; echo b");
    let done = home.run(&["run", "--task", "t", "--", "sh", "-c", &script]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(home.ok(&["follow", "t"]), "a\nb\n");
    assert!(home.run(&["follow", "t", "--stream", "internal"]).stderr.contains("# step 2\n"));
}

#[test]
fn a_second_run_uses_the_first_ones_server_and_outlives_it() {
    let home = Home::new();
    let wait_for = |name: &str| format!("while ! [ -e {} ]; do sleep 0.05; done", home.path(name).display());
    let first_script = wait_for("end-first");
    let (mut first, first_url) = run_in_background(&home, &["--task", "first", "--", "sh", "-c", &first_script]);
    let second_script = format!(
        "for n in 1 2 3; do echo before $n; done; {}; for n in 1 2 3; do echo after $n; done",
        wait_for("end-second")
    );
    let (mut second, second_url) = run_in_background(&home, &["--task", "second", "--", "sh", "-c", &second_script]);
    let server = |url: &str| url.split("/tasks/").next().unwrap().to_owned();
    assert_eq!(server(&first_url), server(&second_url), "one server for both");
    std::fs::write(home.path("end-first"), "").unwrap();
    assert_eq!(wait(&mut first), Some(0));
    std::fs::write(home.path("end-second"), "").unwrap();
    assert_eq!(wait(&mut second), Some(0));
    assert_eq!(home.ok(&["follow", "second"]), "before 1\nbefore 2\nbefore 3\nafter 1\nafter 2\nafter 3\n");
    assert!(home.ok(&["list"]).contains("first"));
}

#[test]
fn follow_survives_the_run_it_watched() {
    let home = Home::new();
    let script = format!("echo one; while ! [ -e {} ]; do sleep 0.05; done; echo two", home.path("go").display());
    let (mut run, _) = run_in_background(&home, &["--task", "t", "--", "sh", "-c", &script]);
    let seen = home.path("seen");
    let mut reader = home.command(&["follow", "t", "--wait"]);
    let reader = reader.stdout(std::fs::File::create(&seen).unwrap()).spawn().unwrap();
    until("the first line is seen", || lines_of(&seen) == ["one"]);
    std::fs::write(home.path("go"), "").unwrap();
    assert_eq!(wait(&mut run), Some(0));
    assert_eq!(finish(reader).code, Some(0));
    assert_eq!(lines_of(&seen), ["one", "two"]);
}

#[test]
fn without_a_place_for_a_server_the_command_still_runs() {
    let home = Home::new();
    std::fs::write(home.path("file"), "").unwrap();
    let data = home.path("file").join("data");
    let done = home.run(&["--data", data.to_str().unwrap(), "run", "--", "sh", "-c", "echo out; exit 5"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(5), "out\n"), "{}", done.stderr);
    assert!(done.stderr.starts_with("tasktail: no server: "), "{}", done.stderr);
}

#[test]
fn a_port_that_belongs_to_something_else_is_left_alone() {
    let home = Home::new();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = stranger.local_addr().unwrap().to_string();
    let mut command = home.command(&["run", "--task", "t", "--", "true"]);
    let done = finish(command.env("TASKTAIL_LISTEN", &listen).spawn().unwrap());
    assert_eq!(done.code, Some(0));
    assert!(done.stderr.contains(&format!("{listen} is in use")), "{}", done.stderr);
    assert!(home.ok(&["list"]).contains("t "));
}

#[test]
fn the_server_file_of_a_killed_server_is_ignored() {
    let home = Home::new();
    let other = Home::new();
    let stranger: Serve = other.serve();
    let folder = home.path(".local/state/tasktail");
    std::fs::create_dir_all(&folder).unwrap();
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let file = serde_json::json!({ "url": stranger.url, "pid": gone.id() });
    std::fs::write(folder.join("server.json"), file.to_string()).unwrap();
    home.ok(&["run", "--task", "mine", "--", "true"]);
    assert!(home.ok(&["list"]).contains("mine"));
    assert_eq!(other.ok(&["list", "--json"]), "", "the stranger was not spoken to");
}

/// As the unit of a package that is upgraded.
#[test]
fn a_server_of_another_folder_finds_its_address_free_after_a_restart() {
    let (home, unit) = (Home::new(), Home::new());
    let server = unit.serve();
    let listen = server.url.strip_prefix("http://").unwrap().to_owned();
    let script = "echo one; until [ -e go ]; do sleep 0.05; done; echo two";
    let mut run = home.command(&["run", "--task", "t", "--pty", "never", "--", "sh", "-c", script]);
    let said = std::fs::File::create(home.path("said")).unwrap();
    let mut run = run.env("TASKTAIL_LISTEN", &listen).stderr(said).spawn().unwrap();
    let log = || unit.run(&["export", "t"]).stdout;
    until("the line is at the server", || log().contains("\none\n"));
    drop(server);
    let reported = || std::fs::read_to_string(home.path("said")).unwrap().contains("connection lost");
    until("the outage is reported", reported);
    let _server = Serve::start({
        let mut serve = unit.command(&["serve"]);
        serve.env("TASKTAIL_LISTEN", &listen);
        serve
    });
    std::fs::write(home.path("go"), "").unwrap();
    assert_eq!(wait(&mut run), Some(0), "{}", std::fs::read_to_string(home.path("said")).unwrap());
    let log = log();
    assert_eq!(log.lines().filter(|line| !line.starts_with("# ")).collect::<Vec<_>>(), ["one", "two"], "{log}");
    assert!(!home.path(".local").exists(), "the account has a data folder");
}
