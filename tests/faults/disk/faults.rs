//! A disk that takes no writes, does not answer, or fails: made by `shim.c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::machine::{Mount, shim};
use crate::disk::server::{Server, command};
use crate::support::{finish, until};

/// A server whose disk has faults at the test's word.
struct Faulty {
    folder: tempfile::TempDir,
    server: Server,
}

impl Faulty {
    fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut serve = command(&folder.path().join("data"), flags);
        serve
            .env("LD_PRELOAD", shim())
            .env("SHIM_FOLDER", folder.path().join("data"))
            .env("SHIM_FAULT", Self::fault_file(folder.path()));
        let server = Server::spawn(serve);
        Self { folder, server }
    }

    fn fault_file(folder: &Path) -> PathBuf {
        folder.join("fault")
    }

    /// From now on, until the next call.
    fn fault(&self, name: Option<&str>) {
        let file = Self::fault_file(self.folder.path());
        match name {
            Some(name) => {
                let part = self.folder.path().join("fault.part");
                fs::write(&part, name).unwrap();
                fs::rename(part, file).unwrap();
            }
            None => fs::remove_file(file).unwrap(),
        }
    }
}

fn lines(count: usize) -> Vec<String> {
    (1..=count).map(|n| n.to_string()).collect()
}

/// A file system that an error has made read-only, and that is repaired while the server runs.
#[test]
fn a_file_system_that_becomes_read_only_is_read_on_and_written_again() {
    let faulty = Faulty::start(&["--live-window-lines", "200"]);
    let server = &faulty.server;
    let text = |from: usize, to: usize| (from..=to).map(|n| format!("{n}\n")).collect::<String>();
    assert_eq!(server.append("t", &text(1, 3_000)).status, 200);
    assert_eq!(server.append("other", "x\n").status, 200);
    for round in 0..2 {
        faulty.fault(Some("erofs"));
        let refused = server.append("t", "no\n");
        assert_eq!((refused.status, refused.code().as_str()), (503, "read_only"), "{}", refused.body);
        assert_eq!(server.get("/readyz").status, 503, "round {round}");
        assert_eq!(server.append("new", "no\n").status, 503);
        assert_eq!(server.remove("other").status, 503, "nothing can be removed");
        assert_eq!(server.end("other").status, 503);
        assert_eq!(server.log("other"), ["x"], "a removal that was refused has removed nothing");
        assert_eq!(server.log("t"), lines(3_000), "reads go on");
        faulty.fault(None);
        until("lines are taken again", || server.append("after", "x\n").status == 200);
        until("it is ready", || server.get("/readyz").status == 200);
    }
    // That sled has met the fault may be found only by a commit after it; then writes are refused once more.
    until("more lines are taken", || server.append("t", &text(3_001, 3_100)).status == 200);
    assert_eq!(server.log("t"), lines(3_100), "expected an append that was refused to have added nothing");
    until("an end is taken", || server.end("t").status == 200);
    until("a removal is taken", || server.remove("other").status == 204);
    until("it is sealed", || !server.get("/api/v1/tasks/t").json()["artifact"].is_null());
    assert_eq!(server.log("t"), lines(3_100));
}

#[test]
fn a_commit_that_times_out_is_answered_and_not_repeated() {
    let faulty = Faulty::start(&["--commit-timeout", "1s"]);
    let server = &faulty.server;
    let send = |from: usize| {
        server.ask(
            "POST",
            &format!("/api/v1/tasks/t/lines?session=s&first_seq={from}"),
            "text/plain",
            &format!("{from}\n"),
        )
    };
    assert_eq!(send(1).status, 200);
    faulty.fault(Some("hang"));
    let begun = Instant::now();
    let answer = send(2);
    assert_eq!((answer.status, answer.code().as_str()), (503, "unconfirmed"), "{}", answer.body);
    assert!(answer.body.contains("it may or may not have been stored"), "{}", answer.body);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    until("it is told", || server.get("/readyz").body.contains("disk not responding"));
    // Others are refused at once, and what is known can be read.
    let refused = server.append("u", "x\n");
    assert_eq!((refused.status, refused.code().as_str()), (503, "read_only"), "{}", refused.body);
    assert_eq!(server.log("t")[0], "1");
    let mut client = crate::wire::Client::connect(server.redis).unwrap();
    let said = client.ask(&["XADD", "plain", "*", "f", "v"]).unwrap().to_string();
    assert!(said.contains("MISCONF"), "{said}");
    faulty.fault(None);
    until("it goes on", || send(2).status == 200);
    assert_eq!(send(3).status, 200);
    assert_eq!(server.log("t"), lines(3));
}

#[test]
fn a_sync_that_fails_ends_writes_and_not_reads() {
    let faulty = Faulty::start(&[]);
    let server = &faulty.server;
    assert_eq!(server.append("t", "1\n2\n").status, 200);
    faulty.fault(Some("syncio"));
    assert!(server.append("t", "3\n").status >= 500);
    faulty.fault(None);
    let refused = server.append("t", "4\n");
    assert_eq!((refused.status, refused.code().as_str()), (503, "read_only"), "{}", refused.body);
    let told = server.get("/readyz");
    assert!(told.status == 503 && told.body.contains("until the server is restarted"), "{}", told.body);
    assert_eq!(server.log("t"), lines(2), "what was not made durable is not shown");
    let Faulty { folder, server } = faulty;
    server.kill();
    let server = Server::start(&folder.path().join("data"), &[]);
    let log = server.log("t");
    assert!(log == lines(2) || log == lines(3), "{log:?}");
    assert_eq!(server.append("t", "more\n").status, 200);
}

#[test]
fn a_server_without_write_access_reports_the_cause_and_exits() {
    let Some(disk) = Mount::tmpfs("a_server_without_write_access_reports_the_cause_and_exits", 32) else { return };
    let data = disk.path().join("data");
    let server = Server::start(&data, &[]);
    assert_eq!(server.append("t", "1\n").status, 200);
    server.kill();
    disk.remount("ro");
    let mut serve = command(&data, &[]);
    let done = finish(serve.stderr(std::process::Stdio::piped()).spawn().unwrap());
    assert!(done.code.is_some_and(|code| code != 0), "{:?}", done.code);
    assert!(done.stderr.to_lowercase().contains("read-only"), "{}", done.stderr);
    disk.remount("rw");
    let server = Server::start(&data, &[]);
    assert_eq!(server.log("t"), lines(1));
    let kept = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(kept.into_iter().all(|name| !name.contains("damaged")), "it is no damage");
}
