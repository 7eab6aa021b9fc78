//! `redis-cli`, as a person and a shell script use it.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use crate::clients::servers::{Server, against_both, needed, until};

/// What `redis-cli` left.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn cli(server: &Server, args: &[&str], stdin: &str) -> Said {
    let mut command = Command::new(needed("redis-cli", "redis-tools"));
    command.args(["-p", &server.resp.port().to_string()]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    // In a thread, as answers fill their pipe while questions still wait to be written.
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut pipe, stdin.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs one command and gives its answer.
fn ask(server: &Server, args: &[&str]) -> String {
    let said = cli(server, args, "");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{:?} {args:?}: {}", server.which, said.stdout);
    said.stdout.trim_end().to_owned()
}

#[test]
fn a_persons_commands() {
    against_both(|server| {
        let id = ask(server, &["XADD", "task:logs:7", "MAXLEN", "~", "1000", "*", "line", "one"]);
        assert_eq!(ask(server, &["XLEN", "task:logs:7"]), "1");
        assert_eq!(
            ask(server, &["--json", "XRANGE", "task:logs:7", "-", "+"]),
            format!(r#"[["{id}",["line","one"]]]"#)
        );
        assert_eq!(
            ask(server, &["-3", "--json", "XREAD", "STREAMS", "task:logs:7", "0"]),
            format!(r#"{{"task:logs:7":[["{id}",["line","one"]]]}}"#)
        );
        assert_eq!(ask(server, &["XREAD", "BLOCK", "30", "STREAMS", "task:logs:7", "$"]), "");
        assert_eq!(ask(server, &["--scan", "--pattern", "task:logs:*"]), "task:logs:7");
        assert_eq!(ask(server, &["EXPIRE", "task:logs:7", "100"]), "1");
        assert_eq!(ask(server, &["PERSIST", "task:logs:7"]), "1");
        assert_eq!(ask(server, &["DEL", "task:logs:7"]), "1");
        assert_eq!(ask(server, &["PING"]), "PONG");
        assert_eq!(ask(server, &["-r", "3", "XADD", "n", "*", "f", "v"]).lines().count(), 3);
        let refused = cli(server, &["-e", "XADD", "n", "0-1", "f", "v"], "");
        assert_eq!(refused.code, Some(1), "{:?}", server.which);
        assert!(refused.stderr.starts_with("ERR The ID specified in XADD is equal or smaller"), "{}", refused.stderr);
    });
}

#[test]
fn xinfo_stream_full_returns_the_whole_stream() {
    against_both(|server| {
        let first = ask(server, &["XADD", "k", "*", "f", "v"]);
        let last = ask(server, &["XADD", "k", "*", "f", "w"]);
        assert_eq!(ask(server, &["XGROUP", "CREATE", "k", "g", "0"]), "OK");
        let full: Vec<String> = ask(server, &["XINFO", "STREAM", "k", "FULL"]).lines().map(str::to_owned).collect();
        let after = |name: &str| {
            let at = full.iter().position(|line| line == name).unwrap_or_else(|| panic!("no {name}: {full:?}"));
            full[at + 1].clone()
        };
        assert_eq!(after("length"), "2", "{:?}", server.which);
        assert_eq!(after("last-generated-id"), last);
        assert_eq!(after("max-deleted-entry-id"), "0-0");
        assert_eq!(after("entries-added"), "2");
        assert_eq!(after("recorded-first-entry-id"), first);
        assert_eq!(after("entries"), first);
        assert_eq!(after("groups"), "name");
        assert_eq!(after("name"), "g");
    });
}

#[test]
fn commands_typed_into_it() {
    against_both(|server| {
        let said = cli(
            server,
            &[],
            "XADD s 1-1 line \"two words\"\nXADD s 2-1 line 'a \"b\"'\nXLEN s\nNOSUCH x\n\nMULTI\nXLEN s\nXDEL s 1-1\nEXEC\nXRANGE s - +\n",
        );
        assert_eq!(said.code, Some(0), "{:?}: {}", server.which, said.stderr);
        let lines: Vec<&str> = said.stdout.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "1-1",
                "2-1",
                "2",
                "ERR unknown command 'NOSUCH', with args beginning with: 'x' ",
                "OK",
                "QUEUED",
                "QUEUED",
                "2",
                "1",
                "2-1",
                "line",
                "a \"b\""
            ],
            "{:?}",
            server.which
        );
    });
}

#[test]
fn mass_insertion() {
    against_both(|server| {
        let mut commands = String::new();
        for n in 0..10_000 {
            write!(commands, "XADD bulk * line \"line {n}\"\r\n").unwrap();
        }
        let said = cli(server, &["--pipe"], &commands);
        assert_eq!(said.code, Some(0), "{:?}: {}{}", server.which, said.stdout, said.stderr);
        assert!(said.stdout.contains("errors: 0, replies: 10000"), "{:?}: {}", server.which, said.stdout);
        assert_eq!(ask(server, &["XLEN", "bulk"]), "10000");
        let newest = ask(server, &["XREVRANGE", "bulk", "+", "-", "COUNT", "1"]);
        assert!(newest.ends_with("line\nline 9999"), "{newest}");
    });
}

#[test]
fn redis_cli_lists_keys_and_info() {
    against_both(|server| {
        for n in 0..3 {
            let _id = ask(server, &["XADD", &format!("task:logs:{n}"), "*", "line", "x"]);
        }
        let keys = ask(server, &["--bigkeys"]);
        assert!(keys.contains("3 streams with 3 entries"), "{:?}: {keys}", server.which);
        assert!(ask(server, &["INFO", "server"]).contains("redis_version:"), "{:?}", server.which);
        let mut names: Vec<String> = ask(server, &["KEYS", "task:*"]).lines().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["task:logs:0", "task:logs:1", "task:logs:2"]);
    });
}

#[test]
fn redis_cli_reads_the_same_after_a_restart() {
    against_both(|server| {
        let id = ask(server, &["XADD", "kept", "*", "f", "v"]);
        let reader = {
            let mut command = Command::new(needed("redis-cli", "redis-tools"));
            command.args(["-p", &server.resp.port().to_string(), "XREAD", "BLOCK", "0", "STREAMS", "kept", "$"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        until("a blocked client", || ask(server, &["INFO", "clients"]).contains("blocked_clients:1"));
        server.restart();
        // A reader whose server is gone says so; it does not wait for ever.
        let ended = reader.wait_with_output().unwrap();
        assert!(!ended.status.success(), "{:?}", server.which);
        assert_eq!(ask(server, &["--json", "XRANGE", "kept", "-", "+"]), format!(r#"[["{id}",["f","v"]]]"#));
    });
}
