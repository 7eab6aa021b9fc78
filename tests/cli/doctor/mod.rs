//! `doctor` names the hop that is broken, and no other.

mod proxy;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use proxy::Deal;
use tasktail::doctor::{self, CheckResult, DoctorOptions, StageCheck};
use tasktail::server::{ServeOptions, Server};

/// A broken hop costs this long; a loaded machine must be through with a whole one by then.
const TIMEOUT: Duration = Duration::from_secs(4);

struct Bench {
    server: Server,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("runs")).unwrap();
        let options = ServeOptions {
            listen: "127.0.0.1:0".to_owned(),
            data: folder.path().join("data"),
            runs: Some(folder.path().join("runs")),
            ..ServeOptions::default()
        };
        Self { server: Server::start(options).await.unwrap(), folder }
    }

    /// The examination through a proxy that deals so with requests.
    async fn examine(&self, deal: impl Fn(&str) -> Deal + Send + Sync + 'static) -> Vec<StageCheck> {
        examine(&proxy::start(self.server.addr(), deal).await, None).await
    }

    /// Nothing of the sentinel is left.
    async fn is_clean(&self) {
        let client = tasktail::client::HttpClient::new(self.server.url().parse().unwrap());
        let tasks: serde_json::Value = client.get("/api/v1/tasks", &[]).await.unwrap();
        assert_eq!(tasks["tasks"].as_array().unwrap().len(), 0, "{tasks}");
        let runs: serde_json::Value = client.get("/api/v1/runs", &[]).await.unwrap();
        assert_eq!(runs["runs"].as_array().unwrap().len(), 0, "{runs}");
        assert_eq!(std::fs::read_dir(self.folder.path().join("runs")).unwrap().count(), 0);
    }
}

async fn examine(url: &str, folder: Option<PathBuf>) -> Vec<StageCheck> {
    let mut checks = Vec::new();
    let options = DoctorOptions { endpoint: url.parse().unwrap(), timeout: TIMEOUT, folder };
    let healthy = doctor::run(options, &mut |check| checks.push(check.clone())).await;
    assert_eq!(healthy, failed(&checks).is_empty());
    checks
}

fn failed(checks: &[StageCheck]) -> Vec<&'static str> {
    checks.iter().filter(|check| matches!(check.finding, CheckResult::Failed(_))).map(|check| check.hop).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hop_of_a_whole_pipe_is_good_and_nothing_is_left() {
    let bench = Bench::start().await;
    let checks = examine(&bench.server.url(), None).await;
    let hops: Vec<&str> = checks.iter().map(|check| check.hop).collect();
    let all = [
        "server",
        "store",
        "worker_socket",
        "journal",
        "viewer_socket",
        "sse",
        "extraction",
        "runs_http",
        "dedupe",
        "run_state",
        "runs_sse",
        "events_file",
        "follower",
        "runs_folder",
    ];
    assert_eq!(hops, all);
    for check in &checks {
        assert!(matches!(check.finding, CheckResult::Ok { .. }), "{check:?}");
    }
    bench.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_hop_is_named_and_no_other() {
    let bench = Bench::start().await;
    let cut = |path: &'static str| move |line: &str| if line.contains(path) { Deal::Cut } else { Deal::Pass };
    assert_eq!(failed(&bench.examine(cut("/readyz")).await), ["store"]);
    assert_eq!(failed(&bench.examine(cut("/ws/v1/worker")).await), ["worker_socket"]);
    assert_eq!(failed(&bench.examine(cut("/ws/v1/tasks/")).await), ["viewer_socket"]);
    assert_eq!(failed(&bench.examine(cut("/events/stream")).await), ["runs_sse"]);
    let one = |method: &'static str, end: &'static str, deal: fn() -> Deal| {
        move |line: &str| {
            let path = line.split('?').next().unwrap_or_default();
            if path.starts_with(method) && path.ends_with(end) { deal() } else { Deal::Pass }
        }
    };
    let changed = one("GET", "/lines", || Deal::Change("tasktail doctor", "tasktail d0ct0r"));
    assert_eq!(failed(&bench.examine(changed).await), ["journal"]);
    let held = |line: &str| {
        if line.contains("/tasks/") && line.contains("/stream") { Deal::Hold } else { Deal::Pass }
    };
    assert_eq!(failed(&bench.examine(held).await), ["sse"], "a proxy that buffers");
    let dedupe = one("POST", "/events", || Deal::ChangeBody("\"event_id\"", "\"event_1d\""));
    assert_eq!(failed(&bench.examine(dedupe).await), ["dedupe"], "ids are lost on the way");
    let state = |line: &str| {
        let is_run = line.starts_with("GET /api/v1/runs/") && !line.contains("/events");
        if is_run { Deal::Change("\"done\"", "\"d0ne\"") } else { Deal::Pass }
    };
    assert_eq!(failed(&bench.examine(state).await), ["run_state"]);
    bench.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_extraction_of_lines_without_events() {
    let bench = Bench::start().await;
    // The token is broken in what the worker sends by HTTP, its socket being cut: no event is found.
    let checks = bench
        .examine(|line| {
            if line.contains("/ws/v1/worker") {
                return Deal::Cut;
            }
            if line.starts_with("POST") && line.contains("/lines") {
                return Deal::ChangeBody("LB_EVENT", "LB_EVANT");
            }
            if line.starts_with("GET") && line.contains("/lines") || line.contains("/stream") {
                return Deal::Pass;
            }
            Deal::Pass
        })
        .await;
    let names = failed(&checks);
    assert!(names.contains(&"extraction"), "{names:?}");
    let extraction = checks.iter().find(|check| check.hop == "extraction").unwrap();
    let CheckResult::Failed(trouble) = &extraction.finding else { panic!("{extraction:?}") };
    assert!(trouble.arrived.contains("no event"), "{trouble:?}");
    assert!(trouble.cause.contains("received"), "the server's own count is told: {trouble:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_watches_another_folder_is_named() {
    let bench = Bench::start().await;
    let other = bench.folder.path().join("rums");
    std::fs::create_dir(&other).unwrap();
    let checks = bench
        .examine(|line| if line.contains("/pipeline") { Deal::Change("/runs\"", "/rums\"") } else { Deal::Pass })
        .await;
    assert_eq!(failed(&checks), ["runs_folder"], "{checks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_and_a_server_that_is_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_folder = folder.path().join("file");
    std::fs::write(&not_a_folder, "").unwrap();
    let checks = examine("http://127.0.0.1:1", Some(not_a_folder)).await;
    assert_eq!(failed(&checks), ["server", "events_file"], "{checks:#?}");
    let skipped = checks.iter().filter(|check| matches!(check.finding, CheckResult::Skipped { .. })).count();
    assert_eq!(skipped, 12, "{checks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_prints_each_stage_and_fails_if_one_is_broken() {
    let bench = Bench::start().await;
    let url = bench.server.url();
    let doctor = |url: String| {
        tokio::task::spawn_blocking(move || {
            Command::new(env!("CARGO_BIN_EXE_tasktail"))
                .args(["--url", &url, "doctor", "--timeout", "4s"])
                .output()
                .unwrap()
        })
    };
    let good = doctor(url).await.unwrap();
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success(), "{text}");
    assert!(
        text.lines().any(|line| line.contains("viewer_socket") && line.contains("ok") && line.contains("ms")),
        "{text}"
    );
    let proxied =
        proxy::start(bench.server.addr(), |line| if line.contains("/ws/v1/tasks/") { Deal::Cut } else { Deal::Pass });
    let bad = doctor(proxied.await).await.unwrap();
    let text = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1), "{text}");
    let at = text.find("FAILED").unwrap();
    for word in ["viewer_socket", "502", "expected", "proxy"] {
        assert!(text[at..].contains(word), "{word}: {text}");
    }
}
