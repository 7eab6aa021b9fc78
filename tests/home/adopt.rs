//! A Redis that was lost, and the object store alone.

use serde_json::{Value, json};

use crate::common::home::TestHome;
use crate::common::{TestServer, until};
use crate::processes::run;
use crate::serve;

/// Appends a line and ends the task. Waits for the seal.
async fn sealed(server: &TestServer, task: &str, line: &str) {
    assert_eq!(server.append(task, &format!("{line}\n")).await.status, 200);
    assert_eq!(server.end(task).await.status, 200);
    until("the seal", async || !server.get(&format!("/api/v1/tasks/{task}")).await.json()["artifact"].is_null()).await;
}

async fn adopt(home: &TestHome) -> (Option<i32>, Value) {
    let archive = format!("file://{}", home.objects().display());
    let done = run(&["adopt", "--json", "--journal", &home.url(), "--archive", &archive]).await;
    let json = serde_json::from_slice(&done.stdout);
    (done.status.code(), json.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr))))
}

async fn verify(home: &TestHome, flags: &[&str]) -> (Option<i32>, String) {
    let archive = format!("file://{}", home.objects().display());
    let done = run(&[&["verify", "--archive", &archive], flags].concat()).await;
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_an_emptied_redis_come_back() {
    let home = TestHome::start().await;
    let one = serve(&home).await;
    for n in 0..20 {
        sealed(&one, &format!("t{n}"), &format!("line of {n}")).await;
    }
    assert_eq!(one.append("running", "x\n").await.status, 200);
    let before = one.get("/api/v1/tasks/t7").await.json();
    redis::cmd("FLUSHALL").exec(&mut home.client()).unwrap();
    let (code, report) = adopt(&home).await;
    assert_eq!((code, &report["adopted"], &report["existing"]), (Some(0), &json!(20), &json!(0)), "{report}");
    let two = serve(&home).await;
    let list = two.get("/api/v1/tasks").await.json();
    assert_eq!(list["tasks"].as_array().unwrap().len(), 20);
    for server in [&one, &two] {
        for n in 0..20 {
            let id = format!("t{n}");
            until("the task", async || server.get(&format!("/api/v1/tasks/{id}")).await.status == 200).await;
            assert_eq!(server.texts(&id).await, [format!("line of {n}")]);
        }
    }
    let after = two.get("/api/v1/tasks/t7").await.json();
    for fact in ["id", "status", "created", "ended", "exit_code", "lines", "bytes", "artifact", "integrity", "counts"] {
        assert_eq!(after[fact], before[fact], "{fact}");
    }
    let (code, report) = adopt(&home).await;
    assert_eq!((code, &report["adopted"], &report["existing"]), (Some(0), &json!(0), &json!(20)), "{report}");
    // The number is in use again, as it was.
    assert_eq!(two.append("t7", "late\n").await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_log_of_an_id_is_adopted() {
    let home = TestHome::start().await;
    let one = serve(&home).await;
    sealed(&one, "t", "first").await;
    let kept = home.object_names("tasks/t");
    let copies: Vec<_> = kept.iter().map(|name| (name, std::fs::read(home.objects().join(name)).unwrap())).collect();
    assert_eq!(one.ask(hyper::Method::DELETE, "/api/v1/tasks/t", &[], "").await.status.as_u16() / 100, 2);
    sealed(&one, "t", "second").await;
    // A removal that did not reach the object store.
    for (name, content) in copies {
        let path = home.objects().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    redis::cmd("FLUSHALL").exec(&mut home.client()).unwrap();
    let (code, report) = adopt(&home).await;
    assert_eq!((code, &report["adopted"], &report["older"]), (Some(0), &json!(1), &json!(1)), "{report}");
    assert_eq!(serve(&home).await.texts("t").await, ["second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn task_in_use_is_not_replaced() {
    let home = TestHome::start().await;
    let one = serve(&home).await;
    sealed(&one, "t", "first").await;
    redis::cmd("FLUSHALL").exec(&mut home.client()).unwrap();
    let foreign = ["task:logs:t", "*", "line", "foreign"];
    redis::cmd("XADD").arg(&foreign).exec(&mut home.client()).unwrap();
    let (_, report) = adopt(&home).await;
    assert_eq!((&report["adopted"], &report["existing"]), (&json!(0), &json!(1)), "{report}");
    assert_eq!(serve(&home).await.texts("t").await, ["foreign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_damaged_and_missing_objects() {
    let home = TestHome::start().await;
    let one = serve(&home).await;
    for task in ["damaged", "missing", "whole"] {
        sealed(&one, task, "some text").await;
    }
    let long: String = (0..15_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(one.append("running", &long).await.status, 200);
    until("a segment", async || home.object_names("tasks/running").len() == 1).await;
    let (code, text) = verify(&home, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("checked 4 tasks, 4 archives (13003 lines)") && text.ends_with(": no faults\n"), "{text}");
    let log = |task: &str| {
        let names = home.object_names(&format!("tasks/{task}"));
        let name = names.into_iter().find(|name| name.ends_with(".zst")).unwrap();
        (home.objects().join(&name), name)
    };
    let flip = |task: &str| {
        let (path, name) = log(task);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
        name
    };
    let (missing, name) = log("missing");
    std::fs::remove_file(missing).unwrap();
    let expected = [flip("damaged"), name, flip("running")];
    let (code, text) = verify(&home, &["--json"]).await;
    assert_eq!(code, Some(1), "{text}");
    let rows: Vec<Value> = text.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    for name in expected {
        assert!(rows.iter().any(|row| row["at"] == name), "{name} in {text}");
    }
    assert!(!text.contains("tasks/whole"), "{text}");
    let (code, report) = adopt(&home).await;
    assert_eq!((code, report["faults"].as_array().unwrap().len()), (Some(1), 1), "{report}");
}
