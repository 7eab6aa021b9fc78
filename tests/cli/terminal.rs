//! The terminal that `run` gives to its command, and what the command finds in it.

use std::process::Stdio;

use crate::support::{Home, finish, signal, until};

#[test]
fn a_terminal_without_a_name_gets_one() {
    let home = Home::new();
    let script = "tput bold | od -An -c; echo $TERM; stty size < /dev/tty";
    for term in [None, Some("")] {
        let mut command = home.command(&["run", "-q", "--pty", "--", "sh", "-c", script]);
        command.env_remove("TERM").env_remove("COLUMNS").env_remove("LINES");
        command.envs(term.map(|term| ("TERM", term)));
        let done = finish(command.spawn().unwrap());
        assert!(done.stdout.contains("033"), "{}", done.stdout);
        assert!(done.stdout.ends_with("xterm-256color\n24 80\n"), "{}", done.stdout);
    }
    let mut command =
        home.command(&["run", "-q", "--pty", "always", "--", "sh", "-c", "echo $TERM; stty size < /dev/tty"]);
    command.env("TERM", "vt100").env("COLUMNS", "132").env("LINES", "50");
    assert_eq!(finish(command.spawn().unwrap()).stdout, "vt100\n50 132\n");
}

#[test]
fn no_pager_waits_for_a_key_that_no_one_can_press() {
    let home = Home::new();
    let repository = home.path("repository");
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.env("HOME", home.path("")).arg("-C").arg(&repository).args(args);
        assert!(git.output().unwrap().status.success(), "git {args:?}");
    };
    std::fs::create_dir(&repository).unwrap();
    git(&["init", "-q"]);
    git(&["config", "core.pager", "less -+F"]);
    let message: String = (0..200).map(|n| format!("message {n}\n")).collect();
    git(&["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", &message]);
    let mut command = home.command(&["run", "-q", "--pty", "--", "git", "-C", "repository", "log"]);
    let done = finish(command.env("PAGER", "less").spawn().unwrap());
    assert!(done.code == Some(0) && done.stdout.contains("message 199"), "{:?} {}", done.code, done.stdout);
}

#[test]
fn python_is_live_in_a_pipe() {
    let home = Home::new();
    let _serve = home.serve();
    let script = "import os, time\nprint('begun')\nwhile not os.path.exists('go'): time.sleep(0.01)";
    let mut command = home.command(&["run", "-q", "--task", "p", "--", "python3", "-c", script]);
    let child = command.env_remove("PYTHONUNBUFFERED").spawn().unwrap();
    until("the line is seen while the program runs", || home.run(&["follow", "p", "--no-follow"]).stdout == "begun\n");
    std::fs::write(home.path("go"), "").unwrap();
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn the_terminal_is_a_setting() {
    let home = Home::new();
    let script = "test -t 1 && echo terminal || echo pipe";
    let kind = |args: &[&str], env: Option<&str>| {
        let mut command = home.command(&[&["run", "-q"], args, &["--", "sh", "-c", script]].concat());
        let done = finish(command.envs(env.map(|env| ("TASKTAIL_PTY", env))).spawn().unwrap());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stdout
    };
    assert_eq!(kind(&[], None), "pipe\n", "stdout is no terminal");
    assert_eq!(kind(&["--pty"], None), "terminal\n");
    assert_eq!(kind(&["--pty", "auto"], Some("always")), "pipe\n");
    assert_eq!(kind(&[], Some("always")), "terminal\n");
    assert_eq!(kind(&["--pty=never"], Some("always")), "pipe\n");
    std::fs::create_dir_all(home.path(".config/tasktail")).unwrap();
    std::fs::write(home.path(".config/tasktail/config.toml"), "pty = \"always\"\n").unwrap();
    assert_eq!(kind(&[], None), "terminal\n");
    let done = home.run(&["run", "--pty", "make", "all"]);
    assert_eq!(done.code, Some(125), "{}", done.stderr);
    assert!(done.stderr.contains("write `--` before it"), "{}", done.stderr);
}

#[test]
fn a_job_in_a_terminal_ends_as_without_one() {
    let home = Home::new();
    for (script, code) in [("exit 3", 3), ("kill -TERM $$", 143), ("kill -9 $$", 137), ("no-such-command-here", 127)] {
        assert_eq!(home.run(&["run", "-q", "--pty", "--", "sh", "-c", script]).code, Some(code), "{script}");
    }
    let done = home.run(&["run", "-q", "--pty", "--", "no-such-command-anywhere"]);
    assert_eq!(done.code, Some(127), "{}", done.stderr);
    assert!(done.stderr.contains("no-such-command-anywhere: command not found"), "{}", done.stderr);
    assert_eq!(home.run(&["run", "-q", "--pty", "--", "/"]).code, Some(126));
    let done =
        home.run_with(&["run", "-q", "--pty", "--", "sh", "-c", "tr a-z A-Z; ps -o tpgid= -o pgid= -p $$"], b"abc\n");
    let mut lines = done.stdout.lines();
    assert_eq!(lines.next(), Some("ABC"), "stdin stays what it is: {}", done.stdout);
    let groups: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(groups[0], groups[1], "it is the terminal's foreground job");
}

#[test]
fn a_shell_command_line_is_explained() {
    let home = Home::new();
    for (command, hint) in [
        (&["make | tee x"][..], "use: tasktail run -- sh -c 'make | tee x'"),
        (&["FOO=1 make"], "use: tasktail run -- sh -c 'FOO=1 make'"),
        (&["FOO=1", "make"], "use: tasktail run -- env FOO=1 make"),
        (&["nosuch -x y"], "use: tasktail run -- nosuch -x y"),
        (&["./a/b.sh > c"], "use: tasktail run -- sh -c './a/b.sh > c'"),
    ] {
        let done = home.run(&[&["run", "--"], command].concat());
        assert_eq!(done.code, Some(127), "{command:?}: {}", done.stderr);
        assert!(done.stderr.contains(hint), "{command:?}: {}", done.stderr);
    }
    let done = home.run(&["run", "--", "nosuch-command"]);
    assert!(!done.stderr.contains("use:"), "{}", done.stderr);
}

#[test]
fn a_hangup_aborts_the_task() {
    let home = Home::new();
    let serve = home.serve();
    for (task, pty, script, code) in [
        ("default", "never", "echo begun; exec sleep 60", 129),
        ("trapped", "never", "trap 'exit 4' HUP; echo begun; while :; do sleep 0.01; done", 4),
        ("pty", "always", "echo begun; exec sleep 60", 129),
    ] {
        let args = ["--url", &serve.url, "run", "--task", task, "--pty", pty, "--", "sh", "-c", script];
        let child = home.command(&args).stdin(Stdio::null()).spawn().unwrap();
        until("it runs", || home.run(&["follow", task, "--no-follow"]).stdout.contains("begun"));
        signal(&child, "HUP");
        let done = finish(child);
        assert_eq!(done.code, Some(code), "{task}: {}", done.stderr);
        let shown = home.ok(&["show", task, "--json"]);
        assert!(shown.contains(r#""status":"aborted""#), "{task}: {shown}");
    }
}

#[test]
fn damaged_and_foreign_bytes_stay_readable() {
    let home = Home::new();
    let follow = |task: &str| {
        let done = home.run(&["follow", task, "--no-follow"]);
        (done.stdout, done.stderr)
    };
    let holes = "head -c 4000000 /dev/zero; printf 'one\\ntwo\\n'";
    home.ok(&["run", "-q", "--task", "hole", "--", "sh", "-c", holes]);
    let (lines, notes) = follow("hole");
    assert_eq!(lines, "one\ntwo\n");
    assert!(notes.contains("[4000000 NUL bytes of the next line were left out]"), "{notes}");

    let encode = "printf '\\377\\376H\\0i\\0 \\0\\166\\001\\n\\0o\\0k\\0\\n\\0'; echo plain again";
    home.ok(&["run", "-q", "--task", "utf16", "--", "sh", "-c", encode]);
    assert_eq!(follow("utf16").0, "Hi \u{176}\nok\nplain again\n");

    let long = "import sys; sys.stdout.write('x' * 65534 + '\\x1b[31mRED\\x1b[0m tail\\n')";
    home.ok(&["run", "-q", "--task", "cut", "--", "python3", "-c", long]);
    let lines = home.ok(&["follow", "cut", "--no-follow", "--stream", "stdout", "--json"]);
    let pieces: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(pieces[1]["line"], "\x1b[31mRED\x1b[0m tail", "{}", pieces[1]);
}
