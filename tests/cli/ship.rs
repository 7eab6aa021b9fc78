//! `tasktail ship` against a server that comes and goes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;

use crate::support::{Done, Home, Serve, finish, signal, until};

fn put(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// The lines of a task's stdout.
fn shown(home: &Home, task: &str) -> Vec<String> {
    let done = home.run(&["follow", task, "--no-follow", "--stream", "stdout"]);
    done.stdout.lines().map(str::to_owned).collect()
}

fn count(home: &Home, task: &str, line: &str) -> usize {
    shown(home, task).iter().filter(|shown| *shown == line).count()
}

fn end(child: Child) -> Done {
    signal(&child, "TERM");
    finish(child)
}

/// A server on a port that it can come back to.
fn serve_at(home: &Home, listen: &str) -> Serve {
    Serve::start(home.command(&["serve", "--listen", listen]))
}

#[test]
fn no_line_is_lost_or_doubled_whatever_happens_to_file_server_and_ship() {
    let home = Home::new();
    let serve = home.serve();
    let listen = serve.url.strip_prefix("http://").unwrap().to_owned();
    let (a, b) = (home.path("a.log"), home.path("b.log"));
    let line = |n: usize| format!("line {n}\n");
    put(&a, &(0..100).map(line).collect::<String>());
    let args = ["ship", "--task", "t", "--from-start", "a.log", "b.log"];
    let ship = || home.command(&args).spawn().unwrap();
    let mut shipping = ship();
    until("the first file is there", || count(&home, "t", "a.log: line 99") == 1);
    put(&b, "once\n");
    until("the second has come", || count(&home, "t", "b.log: once") == 1);
    // Rotated while somebody looks.
    std::fs::rename(&a, home.path("a.log.1")).unwrap();
    put(&a, &(100..200).map(line).collect::<String>());
    until("the new file is read", || count(&home, "t", "a.log: line 199") == 1);
    // The server goes; the writers do not wait.
    drop(serve);
    put(&a, &(200..300).map(line).collect::<String>());
    put(&b, "twice\n");
    let _serve = serve_at(&home, &listen);
    until("it goes on", || count(&home, "t", "a.log: line 299") == 1 && count(&home, "t", "b.log: twice") == 1);
    // Killed in the middle, and started again.
    put(&a, &(300..5_000).map(line).collect::<String>());
    shipping.kill().unwrap();
    finish(shipping);
    let shipping = ship();
    put(&a, &(5_000..5_100).map(line).collect::<String>());
    until("it has gone on", || count(&home, "t", "a.log: line 5099") == 1);
    put(&b, "at the very end\n");
    let done = end(shipping);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let shown = shown(&home, "t");
    let of = |name: &str| shown.iter().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
    let expected: Vec<String> = (0..5_100).map(|n| format!("line {n}")).collect();
    assert_eq!(of("a.log: "), expected);
    assert_eq!(of("b.log: "), ["once", "twice", "at the very end"], "what was written before the end is sent");
    let told = home.run(&["follow", "t", "--no-follow", "--stream", "internal"]).stderr;
    assert!(told.contains("a.log: it was rotated") && told.contains("b.log: it does not exist yet"), "{told}");
}

#[test]
fn from_now_on_means_from_now_on_and_one_file_needs_no_name() {
    let home = Home::new();
    let _serve = home.serve();
    let log = home.path("a.log");
    put(&log, "old\nhalf");
    let shipping = home.command(&["ship", "a.log", "--task", "t", "--stream", "stderr"]).spawn().unwrap();
    let stderr = || home.run(&["follow", "t", "--no-follow"]).stderr;
    // Truncation is seen only by one who follows already.
    let mut n = 0;
    until("it follows", || {
        n += 1;
        put(&log, &format!(" {n}\n"));
        stderr().contains(&format!(" {n}\n"))
    });
    std::fs::write(&log, "x\n").unwrap();
    until("it was truncated", || stderr().contains("x\n"));
    put(&log, "no newline");
    let done = end(shipping);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let all = stderr();
    assert!(!all.contains("old\n") && all.ends_with("no newline\n"), "{all}");
    assert!(done.stderr.contains("a.log: it was truncated") && all.contains("a.log: it was truncated"), "{all}");
}

#[test]
fn existing_lines_are_sent_and_the_task_ended() {
    let home = Home::new();
    let _serve = home.serve();
    let long = "y".repeat(150_000);
    for folder in ["one", "two"] {
        std::fs::create_dir(home.path(folder)).unwrap();
        put(&home.path(folder).join("a.log"), &format!("{folder} begins\n{long}\nhalf"));
    }
    let args = ["ship", "one/a.log", "two/a.log", "--task", "t", "--no-follow"];
    let first = home.run(&args);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let shown_once = shown(&home, "t");
    assert_eq!(home.run(&args).code, Some(0));
    assert_eq!(shown(&home, "t"), shown_once, "sent again, nothing is doubled");
    for folder in ["one", "two"] {
        let mine: Vec<&String> = shown_once.iter().filter(|line| line.contains(&format!("{folder}/a.log: "))).collect();
        assert_eq!(*mine[0], format!("{folder}/a.log: {folder} begins"));
        assert!(mine[1].starts_with(&format!("{folder}/a.log: yyy")), "{}", &mine[1][..40]);
        assert_eq!((mine.len(), mine[2]), (3, &format!("{folder}/a.log: half")));
    }
    let bytes: usize = shown_once.iter().map(|line| line.matches('y').count()).sum();
    assert_eq!(bytes, 300_000);
    put(&home.path("one/a.log"), " and whole\n");
    let done = home.run(&["ship", "one/a.log", "--task", "t", "--prefix", "always", "--no-follow", "--end", "--json"]);
    assert!(done.stdout.contains(r#""file":"a.log""#), "{} {}", done.stdout, done.stderr);
    assert_eq!(count(&home, "t", "a.log: half and whole"), 1, "a line that was half is told whole");
    assert!(home.ok(&["show", "t", "--json"]).contains(r#""exit_code":0"#));
}

#[test]
fn files_that_cannot_be_shipped_are_reported() {
    let home = Home::new();
    put(&home.path("a.log"), "x\n");
    for (args, word) in [
        (&["ship", "a.log", "./a.log", "--task", "t"][..], "same file"),
        (&["ship", "gone.log", "--task", "t", "--no-follow"], "gone.log"),
        (&["ship", ".", "--task", "t"], "regular file"),
    ] {
        let done = home.run(args);
        assert_eq!(done.code, Some(1), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(word), "{args:?}: {}", done.stderr);
    }
    assert_eq!(home.run(&["ship", "a.log"]).code, Some(2), "a task must be named");
}

/// What `ship` sends of `a.log` to the task `t`, from the first line on, and what it says.
fn ship_all(home: &Home) -> Done {
    let done = home.run(&["ship", "a.log", "--task", "t", "--no-follow"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done
}

#[test]
fn a_file_rewritten_while_not_followed_is_sent_again() {
    let home = Home::new();
    let _serve = home.serve();
    let log = home.path("a.log");
    std::fs::write(&log, "#h\nold 1\nold 2\n").unwrap();
    ship_all(&home);
    // The same file, the same first line, and longer than before.
    std::fs::write(&log, "#h\nnew 1\nnew 2\nnew 3\n").unwrap();
    let done = ship_all(&home);
    assert!(done.stderr.contains("a.log: it was rewritten while it was not followed"), "{}", done.stderr);
    let both = ["#h", "old 1", "old 2", "#h", "new 1", "new 2", "new 3"];
    assert_eq!(shown(&home, "t"), both);
    ship_all(&home);
    assert_eq!(shown(&home, "t"), both, "sent again, nothing is doubled");
    put(&log, "new 4\n");
    assert!(!ship_all(&home).stderr.contains("rewritten"), "it only grew");
    assert_eq!(shown(&home, "t").last().unwrap(), "new 4");
    // The same bytes as an earlier content, and shorter.
    std::fs::write(&log, "#h\nold 1\n").unwrap();
    let done = ship_all(&home);
    assert!(done.stderr.contains("a.log: it was truncated while it was not followed"), "{}", done.stderr);
    assert_eq!(shown(&home, "t").len(), both.len() + 3, "{:?}", shown(&home, "t"));
    let told = home.run(&["follow", "t", "--no-follow", "--stream", "internal"]).stderr;
    assert!(told.contains("lines after its first 27 bytes are missing"), "{told}");
}

#[test]
fn only_the_middle_of_a_rewritten_file_differs() {
    let home = Home::new();
    let _serve = home.serve();
    let log = home.path("a.log");
    let content = |word: &str| format!("#head\n{}{word}\n{}", "same\n".repeat(1_000), "same\n".repeat(1_000));
    std::fs::write(&log, content("one")).unwrap();
    ship_all(&home);
    std::fs::write(&log, content("two")).unwrap();
    ship_all(&home);
    assert_eq!((count(&home, "t", "one"), count(&home, "t", "two"), count(&home, "t", "#head")), (1, 1, 2));
}

#[test]
fn the_rest_of_a_file_rotated_meanwhile_is_sent_first() {
    let home = Home::new();
    let _serve = home.serve();
    let log = home.path("a.log");
    put(&log, "#h\n1\n");
    ship_all(&home);
    put(&log, "2\n");
    std::fs::rename(&log, home.path("a.log.1")).unwrap();
    put(&log, "#h\n3\n");
    std::fs::rename(home.path("a.log.1"), home.path("a.log.2")).unwrap();
    std::fs::rename(&log, home.path("a.log.1")).unwrap();
    put(&log, "#h\n4\n");
    ship_all(&home);
    let all = ["#h", "1", "2", "#h", "3", "#h", "4"];
    assert_eq!(shown(&home, "t"), all, "also of the file between the two");
    ship_all(&home);
    assert_eq!(shown(&home, "t"), all);
    // A copy is made, then the file is truncated, as by copytruncate.
    put(&log, "5\n");
    std::fs::copy(&log, home.path("a.log.3")).unwrap();
    std::fs::write(&log, "#h\n6\n").unwrap();
    ship_all(&home);
    assert_eq!(shown(&home, "t")[all.len()..], ["5", "#h", "6"]);
    let told = home.run(&["follow", "t", "--no-follow", "--stream", "internal"]).stderr;
    assert!(!told.contains("missing"), "nothing is: {told}");
}

#[test]
fn lines_removed_by_a_rotation_are_reported() {
    let home = Home::new();
    let _serve = home.serve();
    let log = home.path("a.log");
    put(&log, "#h\n1\n");
    ship_all(&home);
    put(&log, "2\n");
    std::fs::rename(&log, home.path("a.log.1.gz")).unwrap();
    put(&log, "#h\n3\n");
    let done = ship_all(&home);
    assert!(
        done.stderr.contains("it was rotated while it was not followed, and the old content is gone"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("first 5 bytes") && done.stderr.contains("a.log.1.gz"), "{}", done.stderr);
    assert_eq!(shown(&home, "t"), ["#h", "1", "#h", "3"]);
}

#[test]
fn holes_are_counted_and_utf16_is_decoded() {
    let home = Home::new();
    let _serve = home.serve();
    let mut file = std::fs::File::create(home.path("n.log")).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(40_000_000)).unwrap();
    file.write_all(b"one\ntwo\n").unwrap();
    let ship = |name: &str| home.ok(&["ship", name, "--task", name, "--no-follow"]);
    for _ in 0..2 {
        ship("n.log");
        assert_eq!(shown(&home, "n.log"), ["one", "two"]);
        let told = home.run(&["follow", "n.log", "--no-follow", "--stream", "internal"]).stderr;
        assert_eq!(told.matches("40000000 NUL bytes").count(), 1, "{told}");
        assert!(!told.contains("is split"), "{told}");
    }
    let text: Vec<u8> = "\u{feff}Größe\r\nzweite Zeile\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(home.path("u.log"), &text).unwrap();
    let shipping = home.command(&["ship", "u.log", "--task", "u.log", "--from-start"]).spawn().unwrap();
    until("each whole line is sent at once", || shown(&home, "u.log") == ["Größe", "zweite Zeile"]);
    end(shipping);
    let appended = home.run_with(&["append", "--task", "a"], &text);
    assert_eq!(appended.code, Some(0), "{}", appended.stderr);
    assert_eq!(shown(&home, "a"), ["Größe", "zweite Zeile"]);
}
