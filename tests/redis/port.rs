//! The Redis port beside HTTP, and what clients that misbehave cost. The replies themselves are compared
//! with real servers elsewhere.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{TestServer, serve_with, within};
use serde_json::Value;
use tasktail::server::ServeOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client that speaks in lines and hears bytes.
struct Redis {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Redis {
    async fn connect(server: &TestServer) -> Self {
        let url = server.server.redis_url().unwrap();
        let stream = within("a connection", TcpStream::connect(url.strip_prefix("redis://").unwrap())).await.unwrap();
        Self { stream, heard: Vec::new() }
    }

    async fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    /// Hears up to and with this.
    async fn hear(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.heard.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                let heard = self.heard.drain(..at + end.len()).collect();
                return String::from_utf8(heard).unwrap();
            }
            let read = within(end, self.stream.read_buf(&mut self.heard)).await.unwrap();
            assert!(read > 0, "closed before {end:?}, after {:?}", String::from_utf8_lossy(&self.heard));
        }
    }

    /// Whether this is what is said first, before the end.
    async fn rest_starts_with(&mut self, start: &str) -> bool {
        while self.heard.len() < start.len() {
            if !matches!(self.stream.read_buf(&mut self.heard).await, Ok(1..)) {
                return false;
            }
        }
        self.heard.starts_with(start.as_bytes())
    }

    /// Says a command and hears one line.
    async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        let answer = self.hear("\r\n").await;
        answer.trim_end().to_owned()
    }

    /// What is still said before the end.
    async fn rest(mut self) -> String {
        within("the end", self.stream.read_to_end(&mut self.heard)).await.ok();
        String::from_utf8_lossy(&self.heard).into_owned()
    }

    /// The number behind a name in INFO.
    async fn info(&mut self, name: &str) -> u64 {
        self.say("INFO").await;
        self.hear(&format!("{name}:")).await;
        let value = self.hear("\r\n").await.trim().parse().unwrap();
        self.hear("# Keyspace\r\n").await;
        self.say("PING").await;
        self.hear("+PONG\r\n").await;
        value
    }

    /// Waits until so many clients wait.
    async fn until_blocked(&mut self, count: u64) {
        within("blocked clients", async { while self.info("blocked_clients").await != count {} }).await;
    }
}

async fn serve() -> TestServer {
    serve_redis(|_| {}).await
}

async fn serve_redis(change: impl FnOnce(&mut ServeOptions)) -> TestServer {
    serve_with(|options| {
        options.resp = Some("127.0.0.1:0".to_owned());
        change(options);
    })
    .await
}

#[tokio::test]
async fn bytes_that_are_no_request_close_their_connection_alone() {
    let server = serve().await;
    let (mut good, mut bad) = (Redis::connect(&server).await, Redis::connect(&server).await);
    bad.stream.write_all(b"PING\r\n*2\r\n$4\r\nPING\r\n:1\r\nPING\r\n").await.unwrap();
    assert_eq!(bad.rest().await, "+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n");
    assert_eq!(good.ask("PING").await, "+PONG");
    let mut browser = Redis::connect(&server).await;
    browser.say("POST / HTTP/1.1").await;
    browser.say("FLUSHALL").await;
    assert_eq!(browser.rest().await, "");
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_above_the_limit_gets_an_error() {
    let server = serve_redis(|options| options.limits.resp_connections_max = 1).await;
    let mut first = Redis::connect(&server).await;
    assert_eq!(first.ask("PING").await, "+PONG");
    let mut second = Redis::connect(&server).await;
    second.say("PING").await;
    assert_eq!(second.rest().await, "-ERR max number of clients reached\r\n");
    assert_eq!(first.ask("QUIT").await, "+OK");
    within("a free place", async {
        loop {
            let mut third = Redis::connect(&server).await;
            third.say("PING").await;
            if third.rest_starts_with("+PONG").await {
                break;
            }
        }
    })
    .await;
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() {
    let server = serve_redis(|options| options.limits.send_timeout = Duration::from_millis(200)).await;
    let mut slow = Redis::connect(&server).await;
    let mut other = Redis::connect(&server).await;
    let value = "x".repeat(60_000);
    for n in 1..=100 {
        other.say(&format!("XADD k {n}-7 f {value}")).await;
    }
    other.hear("\r\n100-7\r\n").await;
    for _ in 0..20 {
        slow.say("XRANGE k - +").await;
    }
    within("the slow client gone", async { while other.info("connected_clients").await != 1 {} }).await;
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_blocked_reader_that_disconnects_is_removed() {
    let server = serve().await;
    let mut other = Redis::connect(&server).await;
    let mut reader = Redis::connect(&server).await;
    reader.say("XREAD BLOCK 0 STREAMS k $").await;
    other.until_blocked(1).await;
    drop(reader);
    other.until_blocked(0).await;
    assert_eq!(other.ask("XADD k 1-1 f v").await, "$3");
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_releases_blocked_readers() {
    let server = serve().await;
    let mut other = Redis::connect(&server).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut reader = Redis::connect(&server).await;
        reader.say("XREAD BLOCK 0 STREAMS k $").await;
        readers.push(reader);
    }
    other.until_blocked(5).await;
    within("the shutdown", server.server.shutdown()).await.unwrap();
    for reader in readers {
        assert_eq!(reader.rest().await, "");
    }
}

#[tokio::test]
async fn commands_after_a_blocked_one_wait_for_it() {
    let server = serve().await;
    let (mut reader, mut writer) = (Redis::connect(&server).await, Redis::connect(&server).await);
    reader.say("PING\r\nXREAD BLOCK 0 STREAMS k $\r\nXADD k 2-1 f v\r\nXLEN k").await;
    reader.hear("+PONG\r\n").await;
    writer.until_blocked(1).await;
    assert_eq!(writer.ask("XLEN k").await, ":0");
    assert_eq!(writer.ask("XADD k 1-1 f w").await, "$3");
    reader.hear("1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nw\r\n").await;
    assert_eq!(reader.hear(":2\r\n").await, "$3\r\n2-1\r\n:2\r\n");
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_entry_is_a_line_and_a_line_is_an_entry() {
    let server = serve().await;
    let (mut reader, mut writer) = (Redis::connect(&server).await, Redis::connect(&server).await);
    assert_eq!(writer.ask("XADD task:logs:42 1-1 line Building stream stdout").await, "$3");
    assert_eq!(server.texts("42").await, ["Building"]);
    reader.say("XREAD BLOCK 0 STREAMS task:logs:42 $").await;
    writer.until_blocked(1).await;
    assert_eq!(server.append("42", "by HTTP").await.status, 200);
    reader.hear("$7\r\nby HTTP\r\n").await;
    for bad in ["XADD task:logs:bad 0-0 f v", "XADD task:logs:bad x f v", "XADD task:logs:bad NOMKSTREAM 1-1 f v"] {
        writer.say(bad).await;
        writer.hear("\r\n").await;
    }
    assert_eq!(server.get("/api/v1/tasks/bad").await.status, 404, "a refused command makes no task");
    server.server.shutdown().await.unwrap();
}

async fn status(server: &TestServer, task: &str) -> String {
    let answer = server.get(&format!("/api/v1/tasks/{task}")).await;
    answer.json()["status"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_task_ends_with_its_key_and_an_entry_opens_it_again() {
    let server = serve().await;
    let mut redis = Redis::connect(&server).await;
    redis.say("XADD task:logs:42 1-1 line one").await;
    redis.hear("1-1\r\n").await;
    assert_eq!(redis.ask("DEL task:logs:42").await, ":1");
    server.until("the end", async || status(&server, "42").await == "completed").await;
    assert_eq!(server.texts("42").await, ["one"], "from the archive");
    assert_eq!(redis.ask("EXISTS task:logs:42").await, ":0");
    redis.say("XADD task:logs:42 * line two").await;
    redis.hear("\r\n").await;
    redis.hear("\r\n").await;
    assert_eq!(server.texts("42").await, ["one", "two"]);
    assert_eq!(status(&server, "42").await, "running");
    assert_eq!(redis.ask("XLEN task:logs:42").await, ":1");
    assert_eq!(redis.ask("PEXPIRE task:logs:42 20").await, ":1");
    server.until("the end", async || status(&server, "42").await == "lost").await;
    assert_eq!(server.texts("42").await, ["one", "two"]);
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_ended_task_rejects_entries() {
    let server = serve().await;
    let mut redis = Redis::connect(&server).await;
    redis.say("XADD task:logs:42 1-1 line one").await;
    redis.hear("1-1\r\n").await;
    assert_eq!(server.end("42").await.status, 200);
    let refused = redis.ask("XADD task:logs:42 * line two").await;
    assert!(refused.starts_with("-ERR task 42 has ended and accepts no more lines: use another id"), "{refused}");
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn trimmed_lines_stay_in_the_log() {
    let server = serve().await;
    let mut redis = Redis::connect(&server).await;
    let adds: Vec<String> =
        (1..=1_000).map(|n| format!("XADD task:logs:42 MAXLEN ~ 100 {n}-1 line number-{n}")).collect();
    redis.say(&adds.join("\r\n")).await;
    redis.hear("1000-1\r\n").await;
    redis.say("XLEN task:logs:42").await;
    let len: u64 = redis.hear("\r\n").await.trim_start_matches(':').trim().parse().unwrap();
    assert!((100..300).contains(&len), "{len}");
    let texts = server.texts("42").await;
    let expected: Vec<String> = (1..=1_000).map(|n| format!("number-{n}")).collect();
    assert_eq!(texts, expected);
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn metrics_count_the_port() {
    let server = serve().await;
    let mut redis = Redis::connect(&server).await;
    assert_eq!(redis.ask("PING").await, "+PONG");
    assert!(redis.ask("NOSUCH").await.starts_with("-ERR"));
    let metrics = server.get("/metrics").await.text();
    for line in ["tasktail_redis_connections 1", "tasktail_redis_commands_total 2", "tasktail_redis_errors_total 1"] {
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
    server.server.shutdown().await.unwrap();
}

/// The folder the server keeps everything in, by what the process has open.
fn open_folder(pid: u32) -> std::path::PathBuf {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let files = open.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let name = |path: &std::path::Path| path.to_string_lossy().contains("/tasktail-");
    let file = files.into_iter().find(|path| name(path)).unwrap();
    let folder = file
        .ancestors()
        .filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("tasktail-")));
    folder.last().unwrap().to_owned()
}

#[test]
fn an_ephemeral_server_prints_its_address_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_tasktail");
    let serve = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(["serve", "--ephemeral"]).args(arguments).env("HOME", home.path()).env("TMPDIR", home.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut child = serve(&["--resp", "127.0.0.1:0"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert!(said["http"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{line}");
        assert!(said["redis"].as_str().unwrap().starts_with("redis://127.0.0.1:"), "{line}");
        let folder = open_folder(child.id());
        assert!(folder.starts_with(home.path()) && folder.is_dir(), "{}", folder.display());
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(!folder.exists());
    }
    let refused = serve(&["--data", "kept"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("--ephemeral") && told.contains("--data"), "{told}");
}

#[tokio::test]
async fn the_selected_database_is_reported() {
    let server = serve().await;
    let mut redis = Redis::connect(&server).await;
    assert_eq!(redis.ask("XADD k 1-1 f v").await, "$3");
    assert_eq!(redis.hear("\r\n").await, "1-1\r\n");
    assert_eq!(redis.ask("SELECT 7").await, "+OK");
    redis.say("XADD k 1-1 f v").await;
    redis.hear("1-1\r\n").await;
    redis.say("CLIENT INFO").await;
    assert!(redis.hear("tot-cmds=").await.contains(" db=7 "));
    redis.say("INFO keyspace").await;
    redis.hear("db0:keys=1,expires=0,avg_ttl=0\r\ndb7:keys=1,expires=0,avg_ttl=0\r\n").await;
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_durable_server_serves_no_values() {
    let server = serve().await;
    let mut redis = Redis::connect(&server).await;
    for line in ["SET k v", "GET k", "HSET k f v", "LPUSH k a", "RENAME k l"] {
        let (name, _) = line.split_once(' ').unwrap();
        let reply = redis.ask(line).await;
        assert!(reply.starts_with(&format!("-ERR unknown command '{name}', with args beginning with: 'k'")), "{reply}");
    }
    assert_eq!(redis.ask("DBSIZE").await, ":0");
    server.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_entry_for_a_key_of_another_type_creates_no_task() {
    let server = serve_redis(|options| options.redis_values = true).await;
    let mut redis = Redis::connect(&server).await;
    assert_eq!(redis.ask("SET task:logs:t v").await, "+OK");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(redis.ask("XADD task:logs:t * line x").await, wrong);
    assert_eq!(server.get("/api/v1/tasks/t").await.code(), "not_found");
    assert_eq!(redis.ask("DEL task:logs:t").await, ":1");
    assert!(redis.ask("XADD task:logs:t * line x").await.starts_with('$'));
    server.server.shutdown().await.unwrap();
}

#[test]
fn the_log_reports_a_refused_command_once_per_connection() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
    command.args(["serve", "--ephemeral", "--resp", "127.0.0.1:0"]).env("HOME", home.path());
    command.env("TMPDIR", home.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let address = said["redis"].as_str().unwrap().strip_prefix("redis://").unwrap().to_owned();
    for _ in 0..2 {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        std::io::Write::write_all(&mut stream, b"SADD \x1b[31m x\r\nSADD k x\r\nPUBLISH c x\r\nQUIT\r\n").unwrap();
        let mut heard = String::new();
        std::io::Read::read_to_string(&mut stream, &mut heard).unwrap();
        assert_eq!(heard.matches("-ERR unknown command").count(), 3, "{heard}");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let log = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert_eq!(log.matches("rejected a command").count(), 2, "{log}");
    assert!(log.contains("SADD") && log.contains("strings, hashes and lists"), "{log}");
}
