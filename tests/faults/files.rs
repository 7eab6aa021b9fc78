//! No more files may be opened: what is connected goes on, nothing acked is lost, and all is well again
//! when there is room.

use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::support::{Home, LIMIT, Serve, until};
use crate::tools::{http, number};

/// A worker's socket.
struct Worker(WebSocket<TcpStream>);

impl Worker {
    fn connect(serve: &Serve) -> Self {
        let host = serve.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(client(format!("ws://{host}/ws/v1/worker"), stream).unwrap().0)
    }

    fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    /// Sends `line FROM` to `line TO - 1` of a task, and waits until all of them are acked.
    fn lines(&mut self, task: &str, from: u64, to: u64) {
        for first in (from..to).step_by(500) {
            let lines: Vec<Value> = (first..to.min(first + 500))
                .map(|n| json!({ "line": format!("line {n}"), "timestamp": TIME }))
                .collect();
            self.say(&json!({"type":"log_lines","work_request_id":task,"first_seq":first,"lines":lines}));
        }
        self.acked(to - 1);
    }

    fn acked(&mut self, seq: u64) {
        loop {
            let Message::Text(text) = self.0.read().unwrap() else { continue };
            let reply: Value = serde_json::from_str(&text).unwrap();
            assert_ne!(reply["type"], "error", "{reply}");
            if reply["type"] == "ack" && reply["seq"].as_u64().unwrap() >= seq {
                return;
            }
        }
    }
}

const TIME: &str = "2026-05-09T14:23:01.000Z";

/// How many files a process may have open, from now on.
fn limit_files(pid: u32, files: usize) {
    let args = [format!("--pid={pid}"), format!("--nofile={files}:20000")];
    assert!(Command::new("prlimit").args(args).status().unwrap().success());
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn without_file_descriptors_connections_continue_and_nothing_is_lost() {
    let home = Home::new();
    let serve = home.serve();
    let pid = serve.child.id();
    let mut worker = Worker::connect(&serve);
    worker.lines("t", 1, 2_000);
    let mut kept = http::Kept::connect(&serve.url);
    assert_eq!(kept.get("/readyz").0, 200);

    limit_files(pid, open_files(pid));
    // The system takes them in; the server cannot.
    let host = serve.url.strip_prefix("http://").unwrap();
    let waiting: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(host).unwrap()).collect();
    until("connections could not be accepted", || {
        number(&kept.get("/metrics").1, "tasktail_accept_errors_total") >= 2.0
    });
    // Enough that older lines are due for an archive, which is a file.
    worker.lines("t", 2_000, 14_000);
    worker.say(&json!({"type":"log_line_end","work_request_id":"t","seq":14_000,"exit_code":0,"timestamp":TIME}));
    worker.acked(14_000);
    until("a seal failed", || number(&kept.get("/metrics").1, "tasktail_seal_failures_total") >= 1.0);
    assert_eq!(kept.get("/readyz").0, 200, "the store is not to blame");
    assert_eq!(kept.json("/api/v1/tasks/t")["exit_code"], 0);

    drop(waiting);
    limit_files(pid, 20_000);
    until("it is sealed", || !kept.json("/api/v1/tasks/t")["artifact"].is_null());
    let wanted: Vec<String> = (1..14_000).map(|n| format!("line {n}")).collect();
    let log = home.ok(&["export", "t", "-o", "-", "--url", &serve.url]);
    assert!(log.lines().eq(wanted.iter().map(String::as_str)), "the log is not what was acked");
}

#[test]
fn a_server_serves_no_more_connections_than_it_has_files_for() {
    let home = Home::new();
    let mut limited = Command::new("sh");
    let command = home.command(&["serve"]);
    limited.args(["-c", "ulimit -n 200 && exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.current_dir(home.path("")).stdout(std::process::Stdio::piped());
    let serve = Serve::start(limited);
    let mut kept = http::Kept::connect(&serve.url);
    assert_eq!(number(&kept.get("/metrics").1, "tasktail_limit{limit=\"connections_max\",unit=\"number\"}"), 20.0);
    let many: Vec<TcpStream> =
        (0..150).map(|_| TcpStream::connect(serve.url.strip_prefix("http://").unwrap()).unwrap()).collect();
    until("those too many are refused", || {
        number(&kept.get("/metrics").1, "tasktail_connections_refused_total") >= 131.0
    });
    assert_eq!(number(&kept.get("/metrics").1, "tasktail_accept_errors_total"), 0.0);
    drop(many);
    until("their places are free", || number(&kept.get("/metrics").1, "tasktail_connections") == 1.0);
}
