//! A disk that is full: lines are refused and read, and taken again when there is room.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::disk::machine::Mount;
use crate::disk::server::Server;
use crate::support::{finish, signal, until};
use crate::wire::Client;

const MIB: u64 = 1024 * 1024;

fn redis(server: &Server, args: &[&str]) -> String {
    let mut client = Client::connect(server.redis).unwrap();
    client.ask(args).unwrap().to_string()
}

#[test]
fn a_full_disk_rejects_lines_until_removals_make_room() {
    let Some(disk) = Mount::tmpfs("a_full_disk_rejects_lines_until_removals_make_room", 48) else { return };
    let data = disk.path().join("data");
    let server = Server::start(&data, &["--disk-free-min", "4MiB", "--live-window-lines", "200"]);
    for n in 0..20 {
        assert_eq!(server.append("a", &format!("line {n}\n").repeat(200)).status, 200);
    }
    assert_eq!(server.append("running", "one\ntwo\n").status, 200);
    assert!(redis(&server, &["XADD", "plain", "1-1", "f", "v"]).contains("1-1"));
    // A finished task with an archive of some size: what its removal gives back is enough.
    let big: String = (0..250_000u64)
        .map(|n| format!("{:016x}{:016x}\n", n.wrapping_mul(0x9E37_79B9_7F4A_7C15), (!n).wrapping_mul(n)))
        .collect();
    assert_eq!(server.append("big", &big).status, 200);
    assert_eq!(server.end("big").status, 200);
    until("it is sealed", || !server.get("/api/v1/tasks/big").json()["artifact"].is_null());
    let archive = fs::metadata(data.join("archive/big.ndjson.zst")).unwrap().len();
    assert!(archive > 3 * MIB, "{archive}");
    assert_eq!(server.metric("tasktail_ready"), 1.0);

    // The server may return space at any time: it deletes dead segments of its log, or rebuilds its files.
    let fill = || {
        until("the server sees it", || {
            disk.fill(4 * MIB - archive / 2);
            server.get("/readyz").status == 503
        });
    };
    fill();
    let refused = server.append("running", "three\n");
    assert_eq!((refused.status, refused.code().as_str()), (503, "disk_full"));
    assert!(refused.body.contains("tasktail rm") && refused.body.contains("disk_free_min"), "{}", refused.body);
    assert_eq!(server.append("new", "x\n").code(), "disk_full");
    assert_eq!(server.get("/api/v1/tasks/new").status, 404, "a refused task is none");
    let said = redis(&server, &["XADD", "plain", "2-1", "f", "v"]);
    assert!(said.contains("MISCONF Errors writing to the AOF file") && said.contains("the disk is full"), "{said}");
    let said = redis(&server, &["XADD", "task:logs:running", "*", "line", "x"]);
    assert!(said.contains("MISCONF") && said.contains("the disk is full"), "{said}");
    assert!(server.get("/readyz").body.contains("the disk is full"));
    assert_eq!(server.metric("tasktail_ready"), 0.0);
    assert!(server.metric("tasktail_limit_reached_total{limit=\"disk_free_min\"}") >= 1.0);
    assert!(server.metric("tasktail_disk_free_bytes") < 4e6);
    let doctor =
        Command::new(env!("CARGO_BIN_EXE_tasktail")).args(["doctor", "--url", &server.url()]).output().unwrap();
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned() + &String::from_utf8_lossy(&doctor.stderr);
    assert!(!doctor.status.success() && told.contains("the disk is full"), "{told}");
    // Reads, an end and what frees room go on.
    assert_eq!(server.log("a").len(), 4_000);
    assert_eq!(server.log("running"), ["one", "two"]);
    assert!(redis(&server, &["XLEN", "plain"]).contains(":1"));
    assert!(redis(&server, &["DEL", "plain"]).contains(":1"));
    fill();
    assert_eq!(server.end("running").status, 200);
    let told = server.get("/api/v1/tasks/running").json();
    let is_full = server.get("/readyz").status == 503;
    assert_eq!(told["status"].as_str(), Some("completed"));
    assert!(told["artifact"].is_null() || !is_full, "its seal waits: {told}");
    fill();
    let said = tempfile::NamedTempFile::new().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_tasktail"))
        .args(["run", "--url", &server.url(), "--task", "worker", "--", "sh", "-c", "seq 500"])
        .env("TASKTAIL_LOG", "warn")
        .stdout(std::process::Stdio::piped())
        .stderr(said.reopen().unwrap())
        .spawn()
        .unwrap();
    // The worker has to have met the refusal before there is room again.
    let said = || fs::read_to_string(said.path()).unwrap();
    until("the worker says that it is refused", || said().contains("the disk is full"));
    assert_eq!(server.remove("big").status, 204, "a person makes room");
    until("lines are taken again", || server.append("again", "x\n").status == 200);
    let done = finish(run);
    assert_eq!(done.code, Some(0), "{}", said());
    assert!(
        server
            .log("worker")
            .iter()
            .filter(|text| text.parse::<u32>().is_ok())
            .eq((1..=500).map(|n| n.to_string()).collect::<Vec<_>>().iter())
    );
    assert_eq!(server.get("/readyz").status, 200);
    until("the seal that waited is made", || !server.get("/api/v1/tasks/running").json()["artifact"].is_null());
    assert_eq!(server.log("running"), ["one", "two"]);
    signal(&server.child, "TERM");
}

/// Without a watermark the disk is met for real: by the log of commits, by sled and by the archive.
#[test]
fn a_disk_full_to_the_last_byte_costs_nothing_that_was_acked() {
    const ROUNDS: usize = 4;
    /// Two attempts at least.
    const STAYS_FULL: Duration = Duration::from_millis(2_500);
    let Some(disk) = Mount::tmpfs("a_disk_full_to_the_last_byte_costs_nothing_that_was_acked", 40) else { return };
    let data = disk.path().join("data");
    let start = || Server::start(&data, &["--disk-free-min", "off", "--live-window-lines", "500"]);
    let mut server = start();
    let (mut sent, mut acked, mut refusals) = (0u64, 0u64, 0u64);
    let pad = "x".repeat(900);
    for round in 0..ROUNDS {
        let filler = disk.fill([MIB, 64 * 1024, 3 * MIB, 0][round % 4]);
        let mut refused = 0;
        while refused < 5 {
            let text: String = (0..100)
                .map(|n| format!("{} {pad}{:x}\n", sent + 1 + n, (sent + n).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
                .collect();
            let path = format!("/api/v1/tasks/t/lines?session=s&first_seq={}", sent + 1);
            let answer = server.ask("POST", &path, "text/plain", &text);
            match answer.status {
                200 => {
                    sent += 100;
                    acked = sent;
                }
                503 => {
                    assert!(["disk_full", "read_only"].contains(&answer.code().as_str()), "{}", answer.body);
                    (refused, refusals) = (refused + 1, refusals + 1);
                }
                _ => panic!("{}: {}", answer.status, answer.body),
            }
            reads_go_on(&server, acked);
        }
        // Also while the store tries again and again to be opened, for which there is no room.
        let looked = Instant::now();
        while looked.elapsed() < STAYS_FULL {
            reads_go_on(&server, acked);
        }
        assert_eq!(server.get("/api/v1/tasks").status, 200);
        fs::remove_file(filler).unwrap();
        // The rest of the room is the store's own: the oldest goes with it.
        until("lines are taken again", || server.append(&format!("after-{round}"), "x\n").status == 200);
        check(&server.log("t"), acked);
        if round % 2 == 1 {
            server.kill();
            server = start();
            check(&server.log("t"), acked);
        }
    }
    assert_eq!(server.end("t").status, 200);
    until("it is sealed", || !server.get("/api/v1/tasks/t").json()["artifact"].is_null());
    check(&server.log("t"), acked);
    assert!(acked > 0 && refusals >= 5 * ROUNDS as u64, "{acked} acked, {refusals} refused");
    println!("{acked} lines acked, {refusals} appends refused");
}

fn reads_go_on(server: &Server, acked: u64) {
    let read = server.get("/api/v1/tasks/t/lines?tail=3");
    // What sled has put out of memory and could not write yet is not to be had, and that is said.
    let waits = read.status == 503 && read.code() == "disk_full" && read.body.contains("until there is room");
    assert!(read.status == 200 || waits || acked == 0, "reads go on: {} {}", read.status, read.body);
}

fn check(log: &[String], acked: u64) {
    let numbers: Vec<u64> = log.iter().filter_map(|text| text.split(' ').next()?.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "each once, in order");
    assert!(numbers.len() as u64 >= acked, "acked {acked}, there are {}", numbers.len());
}
