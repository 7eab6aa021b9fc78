//! A log that cannot be sealed.

use crate::net::{Viewer, facts, get};
use crate::support::{Home, until};
use crate::tools::{data, serve_at, steady_lines, zstdcat};

fn failures(url: &str) -> u64 {
    let metrics = get(url, "/metrics");
    let line = metrics.lines().find(|line| line.starts_with("tasktail_seal_failures_total")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_seal_that_fails_keeps_the_journal_and_is_tried_again() {
    let home = Home::new();
    let serve = home.serve();
    let text: String = steady_lines(2_000).iter().map(|line| format!("{line}\n")).collect();
    home.run_with(&["append", "--task", "t", "--url", &serve.url], text.as_bytes());
    // A folder in the place of the file: root is not stopped by permissions.
    let place = data(&home).join("archive/t.ndjson.zst");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("something"), "").unwrap();
    home.ok(&["end", "--task", "t", "--exit-code", "0", "--url", &serve.url]);
    until("a seal fails", || failures(&serve.url) > 0);
    let told = facts(&serve.url, "t");
    assert_eq!((&told["status"], &told["artifact"]), (&"completed".into(), &serde_json::Value::Null));
    let whole = |url: &str| Viewer::start(url, "t").finish().texts("stdout") == steady_lines(2_000);
    assert!(whole(&serve.url), "the log is read from the journal");

    // A restart in the middle of the trouble changes nothing.
    drop(serve);
    let serve = serve_at(&home, "127.0.0.1:0", &[]);
    assert!(whole(&serve.url));
    until("it is tried again", || failures(&serve.url) > 0);
    std::fs::remove_file(place.join("something")).unwrap();
    std::fs::remove_dir(&place).unwrap();
    until("it is sealed", || !facts(&serve.url, "t")["artifact"].is_null());
    assert!(whole(&serve.url) && zstdcat(&home, "t") == steady_lines(2_000));
}
