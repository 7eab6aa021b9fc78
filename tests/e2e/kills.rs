//! Server and worker killed, cut off and told to stop, while lines flow.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::net::{Proxy, Viewer, facts};
use crate::support::{Home, finish, signal, until, wait};
use crate::tools::{Background, addr, kill, serve_at, steady, steady_lines, wait_for, zstdcat};

const KILLS: usize = 5;

#[test]
fn a_server_killed_again_and_again_costs_no_line() {
    let home = Home::new();
    let mut serve = serve_at(&home, "127.0.0.1:0", &["--live-window-lines", "200"]);
    let (url, listen) = (serve.url.clone(), addr(&serve));
    let mut follow = Background::start(&home, "follow", &["follow", "t", "--wait", "--url", &url]);
    let viewer = Viewer::start(&url, "t");
    let script = format!("{}; exit 7", steady(3_000));
    let mut run = Background::start(&home, "run", &["run", "--url", &url, "--task", "t", "--", "sh", "-c", &script]);
    for round in 1..=KILLS {
        until("lines come", || viewer.count() > round * 400);
        kill(&mut serve);
        serve = serve_at(&home, &listen, &["--live-window-lines", "200"]);
    }
    assert_eq!(run.code(), Some(7), "{}", run.err());
    assert_eq!(follow.code(), Some(0), "{}", follow.err());
    let wanted = steady_lines(3_000);
    assert_eq!(run.out(), wanted);
    assert!(run.err().contains("kept 3,000 lines"), "{}", run.err());
    assert!(follow.err().contains("connection lost"), "{}", follow.err());
    assert!(follow.out() == wanted, "follow has {} lines: {}", follow.out().len(), follow.err());
    let seen = viewer.finish();
    assert!(seen.connections > KILLS && seen.resets == 0 && seen.gaps.is_empty());
    seen.check_dense();
    assert!(seen.texts("stdout") == wanted);
    home.ok(&["export", "t", "-o", "t.ndjson", "--format", "ndjson", "--url", &url]);
    let exported = std::fs::read_to_string(home.path("t.ndjson")).unwrap();
    let exported: Vec<serde_json::Value> = exported.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert!(exported == seen.lines, "export and viewer agree");
    assert!(zstdcat(&home, "t") == wanted);
    let told = facts(&url, "t");
    assert_eq!((&told["status"], &told["exit_code"]), (&"completed".into(), &7.into()));
    assert_eq!(told["integrity"]["state"], "complete", "{told}");
    until("it is sealed", || !facts(&url, "t")["artifact"].is_null());
    drop(serve);
    let checked = home.ok(&["verify"]);
    assert!(checked.ends_with("no faults\n"), "{checked}");
}

#[test]
fn a_worker_that_is_cut_off_loses_nothing() {
    let home = Home::new();
    let serve = home.serve();
    let proxy = Proxy::start(&serve.url);
    let viewer = Viewer::start(&serve.url, "t");
    let script = steady(5_000);
    let mut run =
        Background::start(&home, "run", &["run", "--url", &proxy.url, "--task", "t", "--", "sh", "-c", &script]);
    until("lines come", || viewer.count() > 200);
    proxy.shut();
    run.says("connection lost");
    let (at, before) = (run.out().len(), viewer.count());
    until("the task goes on", || run.out().len() > at + 700);
    assert!(viewer.count() <= before + 200, "nothing passes");
    proxy.open();
    run.says("reconnected");
    // A connection that stands and carries nothing for a while is not worth a word.
    until("lines come again", || viewer.count() > at + 700);
    proxy.stall();
    let at = run.out().len();
    until("the task goes on", || run.out().len() > (at + 400).min(5_000));
    proxy.open();
    assert_eq!(run.code(), Some(0), "{}", run.err());
    let seen = viewer.finish();
    seen.check_dense();
    assert!(seen.texts("stdout") == steady_lines(5_000) && seen.gaps.is_empty());
    let own = seen.texts("internal");
    assert!(own.iter().any(|text| text.contains("reconnected") && text.contains("nothing lost")), "{own:?}");
}

#[test]
fn a_killed_worker_makes_its_task_lost() {
    let home = Home::new();
    let serve = serve_at(&home, "127.0.0.1:0", &["--worker-grace", "1s"]);
    let script = "echo one; echo two; while :; do sleep 0.1; echo; done";
    let mut run =
        Background::start(&home, "run", &["run", "--url", &serve.url, "--task", "t", "--", "sh", "-c", script]);
    let mut follow =
        Background::start(&home, "follow", &["follow", "t", "--wait", "--exit-status", "--url", &serve.url]);
    until("lines come", || follow.out().len() > 2);
    run.child.kill().unwrap();
    run.code();
    assert_eq!(follow.code(), Some(1), "{}", follow.err());
    assert!(follow.err().contains("# the worker has been silent for 1s"), "{}", follow.err());
    assert!(follow.err().contains("the task is lost"), "{}", follow.err());
    let listed: serde_json::Value =
        serde_json::from_str(&home.ok(&["list", "--status", "lost", "--json", "--url", &serve.url])).unwrap();
    assert_eq!((&listed["id"], &listed["exit_code"]), (&"t".into(), &serde_json::Value::Null));
    let log = home.ok(&["follow", "t", "--no-follow", "--url", &serve.url]);
    assert!(log.starts_with("one\ntwo\n"), "{log}");
}

#[test]
fn a_stopping_server_notifies_all_clients_and_keeps_every_line() {
    let home = Home::new();
    let mut serve = home.serve();
    let (url, listen) = (serve.url.clone(), addr(&serve));
    let script = steady(1_500);
    let mut run = Background::start(&home, "run", &["run", "--url", &url, "--task", "t", "--", "sh", "-c", &script]);
    let viewers: Vec<Viewer> = (0..3).map(|_| Viewer::once(&url, "t")).collect();
    let mut sse = TcpStream::connect(&listen).unwrap();
    let idle = TcpStream::connect(&listen).unwrap();
    until("lines come", || viewers.iter().all(|viewer| viewer.count() > 300));
    write!(sse, "GET /api/v1/tasks/t/stream HTTP/1.1\r\nHost: {listen}\r\n\r\n").unwrap();
    let mut events = BufReader::new(sse).lines();
    let seen = events.by_ref().map(Result::unwrap).find(|line| line.starts_with("data:"));
    assert!(seen.is_some(), "the SSE stream has begun");
    let begun = Instant::now();
    signal(&serve.child, "TERM");
    assert_eq!(wait(&mut serve.child), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(events.all(|line| line.is_ok()), "the SSE stream ends and is not cut");
    drop(idle);
    let mut most = 0;
    for viewer in viewers {
        let seen = viewer.finish();
        seen.check_dense();
        assert_eq!(seen.close.expect("a close frame").code, 1001.into());
        most = most.max(seen.lines.len());
    }
    let _serve = serve_at(&home, &listen, &[]);
    let kept = facts(&url, "t")["lines"].as_u64().unwrap();
    assert!(kept >= most as u64, "shown {most} lines, kept {kept}");
    assert_eq!(run.code(), Some(0), "{}", run.err());
    assert!(run.err().contains("kept 1,500 lines"), "{}", run.err());
    let viewer = Viewer::start(&url, "t").finish();
    viewer.check_dense();
    assert!(viewer.texts("stdout") == steady_lines(1_500));
}

#[test]
fn two_runs_of_one_name_are_kept_apart() {
    let home = Home::new();
    let serve = home.serve();
    let run = |name: &str, code: u8| {
        let script = format!(
            "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo {name} $i; done; {}; exit {code}",
            wait_for(&home.path(&format!("end-{name}")))
        );
        Background::start(&home, name, &["run", "--url", &serve.url, "--task", "t", "--", "sh", "-c", &script])
    };
    let mut a = run("a", 3);
    let viewer = Viewer::start(&serve.url, "t");
    until("the first has its lines", || viewer.has("a 300"));
    let mut b = run("b", 4);
    std::fs::write(home.path("end-b"), "").unwrap();
    assert_eq!(b.code(), Some(4), "{}", b.err());
    std::fs::write(home.path("end-a"), "").unwrap();
    assert_eq!(a.code(), Some(3), "{}", a.err());
    for (id, name, code) in [("t.1", "a", 3), ("t.2", "b", 4), ("t", "b", 4)] {
        let seen = Viewer::start(&serve.url, id).finish();
        seen.check_dense();
        let wanted: Vec<String> = (1..=300).map(|n| format!("{name} {n}")).collect();
        assert_eq!(seen.texts("stdout"), wanted, "{id}");
        assert_eq!(facts(&serve.url, id)["exit_code"], code, "{id}");
    }
}

#[test]
fn two_runs_at_the_same_moment_share_one_fresh_folder() {
    let home = Home::new();
    let start = |name: &str, last: usize| {
        let script = steady(last);
        let mut command = home.command(&["run", "--task", name, "--", "sh", "-c", &script]);
        command.env("TASKTAIL_DATA", home.path("data")).spawn().unwrap()
    };
    let (first, second) = (start("first", 100), start("second", 600));
    for child in [first, second] {
        let done = finish(child);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stderr.starts_with("watch: "), "{}", done.stderr);
    }
    for (name, last) in [("first", 100), ("second", 600)] {
        let log = home.ok(&["follow", name, "--data", home.path("data").to_str().unwrap()]);
        assert!(log.lines().eq(steady_lines(last)), "{name}: {} lines", log.lines().count());
    }
}
