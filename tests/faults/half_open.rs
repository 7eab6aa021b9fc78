//! Peers that are gone without a word: a network that takes nothing any more, and processes that were
//! stopped. Server and clients are in a network of their own, whose one interface is switched off.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Home, Serve, signal, until, wait};
use crate::tools::{http, number, serve_both};

/// A network with nothing in it but its own loopback interface.
struct Network {
    holder: Child,
}

impl Network {
    fn new() -> Self {
        // Lives as long as its stdin.
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
        let mut holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let out = holder.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
        assert_eq!(said, "up\n", "a network of one's own (unshare --user --net, ip link) could not be had");
        Self { holder }
    }

    /// This command, in here.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--target={}", self.holder.id())).args(["--user", "--preserve-credentials", "--net", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    fn run(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args);
        self.inside(&command)
    }

    fn switch(&self, to: &str) {
        assert!(self.run("ip", &["link", "set", "lo", to]).status().unwrap().success());
    }

    /// Connections that a port's server believes to have.
    fn established(&self, address: &str) -> usize {
        let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.holder.id())).unwrap();
        let own = format!("0100007F:{port:04X}");
        table
            .lines()
            .filter(|row| {
                let mut fields = row.split_whitespace().skip(1);
                fields.next() == Some(&own) && fields.nth(1) == Some("01")
            })
            .count()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// A client that is ended with the test.
struct Client(Child);

impl Client {
    fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_network_outage_frees_connections_and_the_worker_reconnects() {
    let (home, network) = (Home::new(), Network::new());
    let flags = ["serve", "--resp", "127.0.0.1:0", "--heartbeat", "1s", "--send-timeout", "3s"];
    let (mut serve, redis) = serve_both(network.inside(&home.command(&flags)));
    let addr = serve.url.strip_prefix("http://").unwrap().to_owned();
    let script = "echo before; read go; echo after";
    let mut worker =
        Client::start(network.inside(&home.command(&["run", "--task", "w", "--url", &serve.url, "sh", "-c", script])));
    let viewer = Client::start(network.inside(&home.command(&["follow", "w", "--wait", "--url", &serve.url])));
    let stream = Client::start(network.run("curl", &["-sN", &format!("{}/api/v1/tasks/w/stream?wait=1", serve.url)]));
    let mut redis_cli = network.run("redis-cli", &["-p", redis.rsplit_once(':').unwrap().1]);
    redis_cli.args(["XREAD", "BLOCK", "0", "STREAMS", "nothing", "$"]);
    let blocked = Client::start(redis_cli);
    // `follow` has two: it looks the task up over HTTP first.
    until("all are connected", || (network.established(&addr), network.established(&redis)) == (4, 1));

    network.switch("down");
    let begun = Instant::now();
    until("no place is taken any more", || (network.established(&addr), network.established(&redis)) == (0, 0));
    println!("all places were free {:?} after the network went away", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());

    network.switch("up");
    worker.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(wait(&mut worker.0), Some(0));
    let mut export = network.inside(&home.command(&["export", "w", "-o", "-", "--url", &serve.url]));
    let log = String::from_utf8(export.output().unwrap().stdout).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| ["before", "after"].contains(line)).collect();
    assert_eq!(lines, ["before", "after"]);
    drop((viewer, stream, blocked));
    signal(&serve.child, "TERM");
    assert_eq!(wait(&mut serve.child), Some(0));
}

/// The output of a command while the network is away: a flood, its end, and everything after it.
#[test]
fn output_during_a_network_outage_is_complete_afterwards() {
    const LINES: usize = 200_000;
    let (home, network) = (Home::new(), Network::new());
    let flags = ["serve", "--heartbeat", "1s", "--send-timeout", "3s"];
    let mut command = network.inside(&home.command(&flags));
    command.stdout(Stdio::piped());
    let mut serve = Serve::start(command);
    let addr = serve.url.strip_prefix("http://").unwrap().to_owned();
    let script = format!("seq 1 1000; read go; seq 1001 {LINES}; read go; echo last >&2; exit 3");
    let ways: [&[&str]; 2] = [&[], &["--spool", "sp"]];
    let mut workers = ways.map(|way| {
        let task = format!("t{}", way.len());
        let args = [&["run", "--task", &task, "--url", &serve.url], way, &["--", "sh", "-c", &script]].concat();
        let mut command = network.inside(&home.command(&args));
        let (out, err) = (home.path(&format!("{task}.out")), home.path(&format!("{task}.err")));
        command.stdin(Stdio::piped()).stdout(File::create(out).unwrap()).stderr(File::create(err).unwrap());
        (task, command.spawn().unwrap())
    });
    let bytes_of = |lines: usize| (1..=lines).map(|n| format!("{n}\n").len() as u64).sum::<u64>();
    let shown = |task: &str| std::fs::metadata(home.path(&format!("{task}.out"))).unwrap().len();
    let err = |task: &str| std::fs::read_to_string(home.path(&format!("{task}.err"))).unwrap();
    until("both are connected and write", || {
        network.established(&addr) == 2 && workers.iter().all(|(task, _)| shown(task) == bytes_of(1_000))
    });
    network.switch("down");
    until("the server has given up", || network.established(&addr) == 0);
    for (task, worker) in &mut workers {
        worker.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        until("the flood is shown", || shown(task) == bytes_of(LINES));
        until("the outage is reported", || err(task).contains("connection lost"));
    }
    network.switch("up");
    for (task, mut worker) in workers {
        worker.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(wait(&mut worker), Some(3), "{}", err(&task));
        assert!(err(&task).ends_with(&format!("kept 200,001 lines · tasktail follow {task}\n")), "{}", err(&task));
        let asked = |args: &[&str]| {
            let output = network.inside(&home.command(&[args, &["--url", &serve.url]].concat())).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let facts: serde_json::Value = serde_json::from_str(&asked(&["show", &task, "--json"])).unwrap();
        assert_eq!((&facts["integrity"]["state"], &facts["skipped_lines"]), (&"complete".into(), &0.into()), "{facts}");
        assert_eq!(facts["integrity"]["hash"], facts["integrity"]["said_hash"]);
        let wanted: String = (1..=LINES).map(|n| format!("{n}\n")).collect::<String>() + "last\n";
        assert!(asked(&["export", &task, "-o", "-", "--stream", "stdout,stderr"]) == wanted);
    }
    signal(&serve.child, "TERM");
    assert_eq!(wait(&mut serve.child), Some(0));
}

#[test]
fn a_stopped_worker_frees_its_connection_and_resumes() {
    let home = Home::new();
    let serve = Serve::start(home.command(&["serve", "--heartbeat", "500ms"]));
    let mut worker = Client::start(home.command(&[
        "run",
        "--task",
        "w",
        "--url",
        &serve.url,
        "sh",
        "-c",
        "echo before; read go; echo after",
    ]));
    let mut kept = http::Kept::connect(&serve.url);
    until("the worker is there", || number(&kept.get("/metrics").1, "tasktail_workers") == 1.0);
    signal(&worker.0, "STOP");
    until("its place is free", || number(&kept.get("/metrics").1, "tasktail_workers") == 0.0);
    assert_eq!(number(&kept.get("/metrics").1, "tasktail_peers_dropped_total"), 1.0);
    signal(&worker.0, "CONT");
    worker.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(wait(&mut worker.0), Some(0));
    let log = home.ok(&["export", "w", "-o", "-", "--url", &serve.url]);
    assert_eq!(log.lines().filter(|line| ["before", "after"].contains(line)).count(), 2, "{log}");
}
