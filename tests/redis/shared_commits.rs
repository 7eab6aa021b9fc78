//! Writes of several clients in one commit, as in Redis: those that arrive while the server is busy share it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;

const CLIENTS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server that can be suspended.
struct Server {
    child: Child,
    http: String,
    redis: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }
}

impl Server {
    fn start(durability: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
        command.args(["serve", "--ephemeral", "--resp", "127.0.0.1:0", "--durability", durability]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| addresses[name].as_str().unwrap().split_once("://").unwrap().1.to_owned();
        Self { child, http: address("http"), redis: address("redis") }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn suspend(&self) {
        self.signal(Signal::STOP);
        let status = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap().unwrap().1;
        assert!(status.stopped());
    }

    /// Waits until the system holds a command of each client for the server.
    fn wait_received(&self) {
        let port: u16 = self.redis.rsplit_once(':').unwrap().1.parse().unwrap();
        let local = format!("0100007F:{port:04X}");
        let deadline = Instant::now() + TIMEOUT;
        loop {
            // Of each socket: number, local address, remote address, state, bytes to send and received.
            let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let has_input = |line: &str| {
                let columns: Vec<_> = line.split_whitespace().collect();
                columns.get(1) == Some(&&*local) && !columns[4].ends_with(":00000000")
            };
            if sockets.lines().filter(|line| has_input(line)).count() == CLIENTS {
                return;
            }
            assert!(Instant::now() < deadline, "{sockets}");
            std::thread::yield_now();
        }
    }

    fn commits(&self) -> u64 {
        let mut http = connect(&self.http);
        write!(http, "GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", self.http).unwrap();
        let mut metrics = String::new();
        http.read_to_string(&mut metrics).unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix("tasktail_commits_total ")).unwrap();
        count.parse().unwrap()
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Reads the reply of an XADD.
fn read_id(stream: &mut BufReader<TcpStream>) {
    let mut reply = String::new();
    stream.read_line(&mut reply).unwrap();
    assert!(reply.starts_with('$'), "{reply}");
    stream.read_line(&mut reply).unwrap();
}

#[test]
fn writes_of_clients_that_are_ready_together_share_a_commit() {
    for durability in ["commit", "interval"] {
        let server = Server::start(durability);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| BufReader::new(connect(&server.redis))).collect();
        let send = |clients: &mut Vec<BufReader<TcpStream>>| {
            for (n, client) in clients.iter_mut().enumerate() {
                client.get_mut().write_all(format!("XADD stream{n} * field value\r\n").as_bytes()).unwrap();
            }
        };
        send(&mut clients);
        clients.iter_mut().for_each(read_id);
        let before = server.commits();
        server.suspend();
        send(&mut clients);
        server.wait_received();
        server.signal(Signal::CONT);
        clients.iter_mut().for_each(read_id);
        let commits = server.commits() - before;
        assert!((1..=4).contains(&commits), "{commits} commits of {CLIENTS} writes with --durability {durability}");
    }
}
