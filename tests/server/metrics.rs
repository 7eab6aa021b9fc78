//! `/metrics` in both formats, checked by Prometheus' own tool, and the dashboard and alerts that read it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::{TestServer, serve};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns Prometheus' tool, which `scripts/test` puts into `target/promtool`. Without it, says that the test is
/// skipped.
fn promtool(test: &str) -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/promtool/usr/bin/promtool");
    let found = [unpacked, PathBuf::from("/usr/bin/promtool")].into_iter().find(|path| path.is_file());
    if found.is_none() {
        let note = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped-{test}"));
        std::fs::write(note, "promtool is not installed\n").unwrap();
    }
    found
}

/// Runs the tool on `input` and returns what it prints, after checking that it succeeds.
fn check(tool: &Path, args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(tool);
    let command = command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let done = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "promtool {args:?}: {printed}");
    printed
}

/// A server that has done a little of everything.
async fn used() -> TestServer {
    let server = serve().await;
    server.append("t", "a\nb\n").await;
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    viewer.hear_type("lines").await;
    server.append("t", "live\n").await;
    viewer.hear_type("lines").await;
    server.get("/nowhere").await;
    server.end("t").await;
    viewer.hear_type("end").await;
    server
}

async fn scrape(server: &TestServer, accept: &str) -> (String, String) {
    let answer = server.ask(hyper::Method::GET, "/metrics", &[("accept", accept)], "").await;
    assert_eq!((answer.status.as_u16(), &answer.headers["vary"]), (200, &"accept".parse().unwrap()));
    (answer.headers["content-type"].to_str().unwrap().to_owned(), answer.text())
}

/// Returns the value of a series.
fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no series {series}:\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_are_served_and_valid() {
    let server = used().await;
    let (kind, text) = scrape(&server, OPEN_METRICS).await;
    assert_eq!(kind, OPEN_METRICS);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (kind, text) = scrape(&server, "*/*").await;
    assert_eq!(kind, CLASSIC);
    assert!(!text.contains("# EOF"), "{text}");
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert!(names.insert(line.split(' ').next().unwrap().to_owned()), "twice: {line}");
    }
    if let Some(tool) = promtool("metrics-promtool") {
        assert_eq!(check(&tool, &["check", "metrics"], text.as_bytes()), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latencies_and_the_process_are_measured() {
    let server = used().await;
    let (_, text) = scrape(&server, "").await;
    assert!(value(&text, "tasktail_commit_seconds_count") >= 2.0, "{text}");
    assert_eq!(value(&text, "tasktail_line_to_viewer_seconds_count"), 1.0, "history is not counted:\n{text}");
    assert_eq!(value(&text, "tasktail_http_request_seconds_count{status=\"1xx\"}"), 1.0);
    assert_eq!(value(&text, "tasktail_http_request_seconds_count{status=\"4xx\"}"), 1.0);
    assert!(value(&text, "tasktail_http_request_seconds_count{status=\"2xx\"}") >= 3.0, "{text}");
    assert_eq!(value(&text, "tasktail_limit{limit=\"worker_grace\",unit=\"seconds\"}"), 60.0);
    assert_eq!(value(&text, "tasktail_limit{limit=\"retention_count\",unit=\"number\"}"), f64::INFINITY);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6, "{text}");
    assert!(value(&text, "process_open_fds") > 3.0 && value(&text, "process_threads") > 1.0);
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
        - value(&text, "process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "the process is {age} s old");
    assert!(text.contains(concat!("tasktail_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_viewer_is_in_the_histogram() {
    let server = serve().await;
    server.append("t", "history\n").await;
    let count = async || value(&scrape(&server, "").await.1, "tasktail_line_to_viewer_seconds_count");
    let mut socket = server.socket("/ws/v1/follow").await;
    socket.say(json!({"type":"subscribe","task":"t"})).await;
    socket.hear_type("lines").await;
    assert_eq!(count().await, 0.0, "history is not counted");
    server.append("t", "live\n").await;
    socket.hear_type("lines").await;
    assert_eq!(count().await, 1.0, "a socket for many tasks");
    let mut single = server.socket("/ws/v1/tasks/t?tail=1").await;
    single.hear_type("lines").await;
    server.append("t", "live\n").await;
    single.hear_type("lines").await;
    socket.hear_type("lines").await;
    assert_eq!(count().await, 3.0, "and one for a task");
}

/// Returns the names of metrics in a text, without the parts that a histogram adds.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("tasktail_") || word.starts_with("process_"));
    let base = |name: &str| {
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        part.filter(|name| name.ends_with("_seconds")).unwrap_or(name).to_owned()
    };
    names.map(base).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_name_metrics_that_exist() {
    let server = used().await;
    let (_, text) = scrape(&server, "").await;
    let served = metrics_in(&text);
    for file in ["data/grafana.json", "data/alerts.yml", "data/alerts.test.yml"] {
        let used = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let used = metrics_in(&used);
        assert!(used.len() > 3, "{file} names {used:?}");
        let unknown: Vec<_> = used.difference(&served).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which /metrics does not have");
    }
    let dashboard = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    let Some(tool) = promtool("alerts-promtool") else { return };
    check(&tool, &["check", "rules", "data/alerts.yml"], b"");
    check(&tool, &["test", "rules", "data/alerts.test.yml"], b"");
    // Every expression of the dashboard, as the expression of a rule: the tool parses no bare expression.
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let rules = targets.map(|target| {
        let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$job", "tasktail");
        format!("  - record: a:b\n    expr: {}\n", serde_json::to_string(&expression).unwrap())
    });
    let rules: Vec<String> = rules.collect();
    assert!(rules.len() > 8, "{rules:?}");
    for rule in rules {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("groups:\n- name: dashboard\n  rules:\n{rule}")).unwrap();
        check(&tool, &["check", "rules", file.path().to_str().unwrap()], b"");
    }
}
