//! The spool: outages, kills of the worker and of the sender, a full disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::net::{Proxy, Viewer, facts};
use crate::support::{Done, Home, finish, lines_of, signal, until};
use crate::tools::{Background, addr, kill, pause, serve_at, wait_for};

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

fn run(home: &Home, url: &str, task: &str, script: &str) -> Done {
    let mut command = home.command(&["run", "--url", url, "--task", task, "--spool", "sp", "--", "sh", "-c", script]);
    finish(command.stdout(Stdio::null()).spawn().unwrap())
}

/// Folders in the spool, those on their way in or out left out.
fn sessions(home: &Home) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(home.path("sp")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect()
}

/// Lines that are on disk in a session's folder now.
fn on_disk(session: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(session) else { return 0 };
    let segments = entries.map(|entry| entry.unwrap().path());
    segments
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter_map(|path| std::fs::read(path).ok())
        .map(|bytes| tasktail::worker::spool::scan_segment(&bytes).0)
        .sum()
}

fn numbers(to: usize) -> Vec<String> {
    (1..=to).map(|n| n.to_string()).collect()
}

#[test]
fn a_server_that_was_away_for_the_whole_run_gets_it_all() {
    let home = Home::new();
    // More than one segment of the spool holds, and far more than the worker's memory does.
    let script = r#"awk 'BEGIN { for (i = 1; i <= 60000; i++) printf "%d %0600d\n", i, 0 }'; exit 7"#;
    let long: Vec<String> = (1..=60_000).map(|n| format!("{n} {:0600}", 0)).collect();
    let done = run(&home, NOBODY, "t", script);
    assert_eq!(done.code, Some(7), "{}", done.stderr);
    assert!(done.stderr.contains("its lines are stored in sp"), "{}", done.stderr);
    let last = "kept 0 of 60,000 lines: the server was not reached; the rest is stored in sp; send it with `tasktail spool send sp`\n";
    assert!(done.stderr.ends_with(last), "{}", done.stderr);
    let listed: serde_json::Value = serde_json::from_str(&home.ok(&["spool", "list", "sp", "--json"])).unwrap();
    assert_eq!((&listed["task"], &listed["state"]), (&"t".into(), &"ended".into()));
    // The next one says so.
    let next = run(&home, NOBODY, "u", "true");
    assert!(next.stderr.contains("sp contains unsent lines of a task"), "{}", next.stderr);

    let kept = sessions(&home).into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("t."));
    let files = std::fs::read_dir(kept.unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some()).count();
    assert!(segments >= 2, "{segments}");
    let serve = home.serve();
    let sent = home.ok(&["spool", "send", "sp", "--url", &serve.url]);
    assert_eq!(sent.lines().count(), 2, "{sent}");
    for (task, code, lines) in [("t", 7, long), ("u", 0, Vec::new())] {
        let seen = Viewer::start(&serve.url, task).finish();
        seen.check_dense();
        assert!(seen.gaps.is_empty() && seen.texts("stdout") == lines, "{task}: {}", seen.lines.len());
        assert_eq!(facts(&serve.url, task)["exit_code"], code);
        assert_eq!(facts(&serve.url, task)["skipped_lines"], 0);
        let shown = home.ok(&["show", task, "--url", &serve.url]);
        assert!(shown.contains("complete: "), "count and sum go with the end: {shown}");
    }
    assert!(sessions(&home).is_empty());
    let again = home.run(&["spool", "send", "sp", "--url", &serve.url]);
    assert!(again.code == Some(0) && again.stderr.contains("nothing to send"), "{}", again.stderr);
}

#[test]
fn an_outage_in_the_middle_skips_nothing() {
    let home = Home::new();
    let mut serve = serve_at(&home, "127.0.0.1:0", &[]);
    let (url, listen) = (serve.url.clone(), addr(&serve));
    let script = format!(
        "seq 1 100; {}; seq 101 60000; {}; seq 60001 60100; exit 3",
        wait_for(&home.path("flood")),
        wait_for(&home.path("end"))
    );
    let mut task = Background::start(
        &home,
        "run",
        &["run", "--url", &url, "--task", "t", "--spool", "sp", "--", "sh", "-c", &script],
    );
    until("the first lines are there", || {
        home.run(&["follow", "t", "--no-follow", "--url", &url]).stdout.lines().count() == 100
    });
    let locked = home.run(&["spool", "send", "sp", "--task", "t", "--url", &url]);
    assert!(locked.code == Some(1) && locked.stderr.contains("in use by its worker"), "{}", locked.stderr);
    kill(&mut serve);
    task.says("connection lost");
    std::fs::write(home.path("flood"), "").unwrap();
    until("the flood is over", || task.out().len() == 60_000);
    let session = sessions(&home).remove(0);
    until("it is on disk", || on_disk(&session) >= 59_900);
    let serve = serve_at(&home, &listen, &[]);
    task.says("reconnected");
    until("it is sent", || facts(&url, "t")["lines"].as_u64() > Some(60_000));
    std::fs::write(home.path("end"), "").unwrap();
    assert_eq!(task.code(), Some(3), "{}", task.err());
    let seen = Viewer::start(&serve.url, "t").finish();
    seen.check_dense();
    assert!(seen.texts("stdout") == numbers(60_100), "{} lines: {}", seen.lines.len(), task.err());
    assert!(seen.gaps.is_empty() && task.err().contains("nothing lost"), "{}", task.err());
    assert!(sessions(&home).is_empty(), "all is confirmed");
}

#[test]
fn a_killed_worker_leaves_its_written_lines_in_the_spool() {
    let home = Home::new();
    let serve = home.serve();
    let script = "i=0; while [ $i -lt 2000000 ]; do i=$((i+1)); echo $i; done";
    let mut seed = std::process::id();
    for round in 0..6u32 {
        let task = format!("t{round}");
        // Now and then the server is there and has a part of it already.
        let url = if round % 3 == 2 { &serve.url } else { NOBODY };
        let mut worker = Background::start(
            &home,
            &task,
            &["run", "--url", url, "--task", &task, "--spool", "sp", "--", "sh", "-c", script],
        );
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        let session = || sessions(&home).pop();
        let enough = u64::from(100 + random(3_000));
        // What it has only printed may still be on its way to a slow disk; what the server has need not be there.
        until("it writes", || match url {
            NOBODY => session().is_some_and(|session| on_disk(&session) > enough),
            _ => worker.out().len() as u64 > enough && session().is_some(),
        });
        worker.child.kill().unwrap();
        worker.child.wait().unwrap();
        let session = session().unwrap();
        let kept = on_disk(&session);
        // The sender is killed too, and called again.
        for _ in 0..random(3) {
            let mut sender = Background::start(&home, "send", &["spool", "send", "sp", "--url", &serve.url]);
            (0..random(20)).for_each(|_| pause());
            sender.child.kill().ok();
            sender.child.wait().unwrap();
        }
        let sent = home.run(&["spool", "send", "sp", "--url", &serve.url]);
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        assert!(sessions(&home).is_empty());
        let seen = Viewer::start(&serve.url, &task).finish();
        seen.check_dense();
        let lines = seen.texts("stdout");
        assert!(lines == numbers(lines.len()), "round {round}: each once, in order");
        // One line is the worker's own.
        assert!(seen.lines.len() as u64 > kept.saturating_sub(1), "{} of {kept} that were kept", seen.lines.len());
        assert!(seen.gaps.is_empty(), "{:?}", seen.gaps);
        let told = seen.texts("internal").into_iter().filter(|text| text.starts_with("the worker was killed")).count();
        assert_eq!(told, 1, "round {round}");
        assert_eq!(facts(&serve.url, &task)["status"], "aborted");
    }
}

#[test]
fn a_killed_worker_loses_nothing_that_its_command_wrote_250_ms_earlier() {
    const AGE: Duration = Duration::from_millis(250);
    let home = Home::new();
    let serve = home.serve();
    // `written` follows the output: whatever it names is in the pipe.
    let script = "i=0; while :; do i=$((i+1)); echo $i; [ $((i % 20)) = 0 ] && echo $i >> written.$TASKTAIL_TASK; done";
    for (round, (url, flags)) in
        [(NOBODY, &[][..]), (NOBODY, &["--pty", "always"]), (&serve.url, &[]), (&serve.url, &["--pty", "always"])]
            .into_iter()
            .enumerate()
    {
        let task = format!("t{round}");
        let args = ["run", "--url", url, "--task", &task, "--spool", "sp"];
        let args = [&args[..], flags, &["--", "sh", "-c", script]].concat();
        let mut worker = Background::start(&home, &task, &args);
        let written = || lines_of(&home.path(&format!("written.{task}"))).last().map_or(0, |n| n.parse().unwrap_or(0));
        until("the command writes", || written() > 2_000);
        let (promised, begun): (usize, Instant) = (written(), Instant::now());
        until("it is old enough", || begun.elapsed() >= AGE);
        worker.child.kill().unwrap();
        worker.child.wait().unwrap();
        let sent = home.run(&["spool", "send", "sp", "--url", &serve.url]);
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        let mut lines = Viewer::start(&serve.url, &task).finish().texts("stdout");
        // The kill may have cut the newest line.
        lines.pop();
        assert!(lines == numbers(lines.len()), "{task}: each once, in order");
        assert!(lines.len() >= promised, "{task}: {} of {promised} lines", lines.len());
    }
}

#[test]
fn ctrl_c_while_the_rest_is_sent_keeps_it_in_the_spool() {
    const LINES: usize = 60_000;
    let home = Home::new();
    let serve = home.serve();
    let proxy = Proxy::start(&serve.url);
    let script = format!("echo 0; {}; seq 1 {LINES}; exit 3", wait_for(&home.path("go")));
    let args = ["run", "--url", &proxy.url, "--task", "t", "--spool", "sp", "--", "sh", "-c", &script];
    let mut worker = Background::start(&home, "run", &args);
    let viewer = Viewer::start(&serve.url, "t");
    until("the first line", || viewer.has("0"));
    proxy.stall();
    std::fs::write(home.path("go"), "").unwrap();
    // Reported a second after the end of the command.
    let progress = ["tasktail: sending ", "tasktail: waiting for the server to confirm "];
    until("the progress is reported", || progress.iter().any(|words| worker.err().contains(words)));
    signal(&worker.child, "INT");
    assert_eq!(worker.code(), Some(3), "the exit code is that of the command");
    let last = "sending was interrupted; the rest is stored in sp; send it with `tasktail spool send sp`\n";
    assert!(worker.err().ends_with(last), "{}", worker.err());
    assert!(worker.err().contains("of 60,001 lines: sending was interrupted"), "{}", worker.err());
    proxy.open();
    home.ok(&["spool", "send", "sp", "--url", &serve.url]);
    let seen = viewer.finish();
    seen.check_dense();
    assert!(seen.gaps.is_empty() && seen.texts("stdout")[1..] == numbers(LINES), "{} lines", seen.lines.len());
    let facts = facts(&serve.url, "t");
    assert_eq!((&facts["integrity"]["state"], &facts["exit_code"]), (&"complete".into(), &3.into()));
    assert!(sessions(&home).is_empty());
}

#[test]
fn a_spool_does_not_slow_the_task() {
    // With a spool there is a checksum of each read, and here nothing is optimized. Waits for the disk would cost
    // far more.
    const TIMES_MAX: f64 = 6.0;
    let home = Home::new();
    let line = "x".repeat(999);
    // Its own clock: what the worker does after it, with the server away, is none of it.
    let script = r#"date +%s%N > began; yes "$0" | head -c 100000000; date +%s%N > ended"#;
    let seconds = |spool: &[&str]| {
        let args = [&["run", "--url", NOBODY, "--task", "t"], spool, &["--", "sh", "-c", script, &line]].concat();
        let done = finish(home.command(&args).stdout(Stdio::null()).spawn().unwrap());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        if !spool.is_empty() {
            std::fs::remove_dir_all(home.path("sp")).unwrap();
        }
        let clock = |name| std::fs::read_to_string(home.path(name)).unwrap().trim().parse::<f64>().unwrap();
        (clock("ended") - clock("began")) / 1e9
    };
    let mut times = [(); 3].map(|()| (seconds(&[]), seconds(&["--spool", "sp"])));
    times.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    println!("100 MB, seconds without a spool and with one: {times:.2?}");
    let (without, with) = times[1];
    assert!(with < TIMES_MAX * without, "{times:?}");
}

#[test]
fn lines_of_a_name_that_has_ended_meanwhile_become_its_next_log() {
    let home = Home::new();
    let serve = home.serve();
    home.ok(&["append", "--task", "t", "--url", &serve.url, "by hand"]);
    home.ok(&["end", "--task", "t", "--url", &serve.url, "--exit-code", "0"]);
    run(&home, NOBODY, "t", "seq 1 10");
    home.ok(&["spool", "send", "sp", "--url", &serve.url]);
    assert!(home.ok(&["follow", "t.2", "--url", &serve.url]).lines().eq(numbers(10)));
    assert_eq!(home.ok(&["follow", "t.1", "--url", &serve.url]), "by hand\n");
    assert!(sessions(&home).is_empty());
    run(&home, NOBODY, "t", "seq 1 10");
    home.ok(&["spool", "send", "sp", "--task", "t", "--as", "t-rest", "--url", &serve.url]);
    assert!(home.ok(&["follow", "t-rest", "--url", &serve.url]).lines().eq(numbers(10)));
    assert!(sessions(&home).is_empty());
}

#[test]
fn two_workers_share_a_folder() {
    let home = Home::new();
    let start = |name: &str| {
        let args = ["run", "--url", NOBODY, "--task", name, "--", "sh", "-c", "seq 1 12000"];
        let mut command = home.command(&args);
        command.env("TASKTAIL_SPOOL", home.path("sp")).stdout(Stdio::null()).spawn().unwrap()
    };
    for child in [start("a"), start("b")] {
        assert_eq!(finish(child).code, Some(0));
    }
    let serve = home.serve();
    let mut command = home.command(&["spool", "send", "--url", &serve.url]);
    assert_eq!(finish(command.env("TASKTAIL_SPOOL", home.path("sp")).spawn().unwrap()).code, Some(0));
    for task in ["a", "b"] {
        assert!(home.ok(&["follow", task, "--url", &serve.url]).lines().eq(numbers(12_000)));
    }
}

#[test]
fn the_lines_of_one_task_are_sent_while_another_one_is_in_use() {
    let home = Home::new();
    run(&home, NOBODY, "a", "seq 1 10");
    let script = format!("echo 1; {}", wait_for(&home.path("go")));
    let args = ["run", "--url", NOBODY, "--task", "a.b", "--spool", "sp", "--", "sh", "-c", &script];
    let mut other = Background::start(&home, "other", &args);
    until("the other one runs", || other.out() == ["1"]);
    let serve = home.serve();
    let sent = home.run(&["spool", "send", "sp", "--task", "a", "--url", &serve.url]);
    assert_eq!((sent.code, sent.stdout.as_str()), (Some(0), "a: 10 lines sent\n"), "{}", sent.stderr);
    assert!(!sent.stderr.contains("in use"), "{}", sent.stderr);
    assert!(home.ok(&["follow", "a", "--url", &serve.url]).lines().eq(numbers(10)));
    std::fs::write(home.path("go"), "").unwrap();
    assert_eq!(other.code(), Some(0));
}

#[test]
fn a_full_disk_costs_lines_and_not_the_task() {
    let home = Home::new();
    std::fs::create_dir(home.path("sp")).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(home.path("sp")).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        println!("skipped: no file system of a megabyte can be mounted here");
        return;
    }
    let script = "seq 1 400000; exit 4";
    let args = ["run", "--url", NOBODY, "--task", "t", "--spool", "sp", "--spool-bytes-max", "1GiB", "--"];
    let mut command = home.command(&[&args[..], &["sh", "-c", script]].concat());
    let done = finish(command.stdout(Stdio::null()).spawn().unwrap());
    let serve = home.serve();
    let sent = home.run(&["spool", "send", "sp", "--url", &serve.url]);
    let unmounted = Command::new("umount").arg(home.path("sp")).output().unwrap();
    assert!(unmounted.status.success(), "{unmounted:?}");
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    assert!(
        done.stderr.contains("cannot write the local log in sp") && done.stderr.contains("No space left"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("only partly stored in sp"), "{}", done.stderr);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let seen = Viewer::start(&serve.url, "t").finish();
    let lines = seen.texts("stdout");
    assert!(lines.len() > 5_000 && lines == numbers(lines.len()), "{} lines", lines.len());
    assert!(!seen.gaps.is_empty(), "what is missing is told");
    let skipped = facts(&serve.url, "t")["skipped_lines"].as_u64().unwrap();
    assert_eq!(lines.len() as u64 + skipped, 400_000, "and counted");
    assert_eq!(facts(&serve.url, "t")["exit_code"], 4, "the end has room where lines have none");
}
