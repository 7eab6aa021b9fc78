//! `list`, `rm` and `export`: selection, sorting, removal by condition, formats.

use crate::support::Home;

/// A home with tasks of all outcomes.
fn with_outcomes() -> (Home, crate::support::Serve) {
    let home = Home::new();
    let serve = home.serve();
    for (id, label, script) in [
        ("good", "branch=main", "echo one; echo two; echo three"),
        ("bad", "branch=main", "echo one; exit 3"),
        ("killed", "branch=dev", "kill -9 $$"),
    ] {
        home.run(&["run", "-q", "--task", id, "--label", label, "--label", "x=y", "--", "sh", "-c", script]);
    }
    home.ok(&["append", "--task", "open", "still running"]);
    (home, serve)
}

fn ids(home: &Home, args: &[&str]) -> Vec<String> {
    let rows = home.ok(&[&["list", "--json"], args].concat());
    rows.lines()
        .map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn tasks_are_selected_and_sorted() {
    let (home, _serve) = with_outcomes();
    assert_eq!(ids(&home, &[]), ["open", "killed", "bad", "good"]);
    assert_eq!(ids(&home, &["--status", "failed"]), ["killed", "bad"]);
    assert_eq!(ids(&home, &["--status", "failed", "--status", "running"]), ["open", "killed", "bad"]);
    assert_eq!(ids(&home, &["--label", "branch=main", "--label", "x=y"]), ["bad", "good"]);
    assert_eq!(ids(&home, &["--label", "branch=main", "--label", "x=z"]), [""; 0]);
    assert_eq!(ids(&home, &["--sort", "name"]), ["bad", "good", "killed", "open"]);
    assert_eq!(ids(&home, &["--sort", "name", "--reverse", "--limit", "2"]), ["open", "killed"]);
    assert_eq!(ids(&home, &["--sort", "lines", "--limit", "1"]), ["good"]);
    assert_eq!(ids(&home, &["--sort", "ended"]), ["open", "killed", "bad", "good"]);
    assert_eq!(ids(&home, &["--reverse"]), ["good", "bad", "killed", "open"]);
    for name in ["ls", "ps"] {
        assert_eq!(home.ok(&[name, "--status", "running"]).lines().count(), 2);
    }
    for args in [&["--status", "broken"][..], &["--sort", "size"]] {
        assert_eq!(home.run(&[&["list"], args].concat()).code, Some(2));
    }
    let watch = home.run(&["list", "--watch"]);
    assert!(watch.code == Some(1) && watch.stderr.contains("terminal"), "{}", watch.stderr);
}

#[test]
fn tasks_are_removed_by_condition_after_a_confirmation() {
    let (home, _serve) = with_outcomes();
    let asked = home.run(&["rm", "--status", "failed"]);
    assert_eq!(asked.code, Some(1), "no terminal to ask on");
    for word in ["bad", "killed", "2 tasks", "--yes"] {
        assert!(asked.stderr.contains(word), "{word}: {}", asked.stderr);
    }
    assert_eq!(ids(&home, &[]).len(), 4);
    assert_eq!(home.ok(&["rm", "--status", "failed", "--label", "branch=main", "--yes"]), "bad\n");
    assert_eq!(home.ok(&["rm", "--older-than", "1h", "--yes"]), "", "they are too young");
    let running = home.run(&["rm", "open"]);
    assert!(running.code == Some(1) && running.stderr.contains("--force"), "{}", running.stderr);
    assert_eq!(home.ok(&["rm", "--older-than", "1ms", "--yes"]), "good\nkilled\n", "those that run stay");
    assert_eq!(home.ok(&["rm", "open", "--force"]), "open\n");
    assert_eq!(home.run(&["rm", "good", "--status", "failed"]).code, Some(2));
}

#[test]
fn a_log_is_exported_as_a_recording() {
    let (home, _serve) = with_outcomes();
    let cast = home.ok(&["export", "good", "--format", "asciicast"]);
    let mut lines = cast.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!((&header["version"], &header["width"], &header["height"]), (&2.into(), &80.into(), &24.into()));
    let events: Vec<serde_json::Value> = lines.collect();
    assert_eq!(events.iter().map(|event| event[2].as_str().unwrap()).collect::<String>(), "one\r\ntwo\r\nthree\r\n");
    let times: Vec<f64> = events.iter().map(|event| event[0].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] >= 0.0 && times[2] < 60.0, "{times:?}");
    home.ok(&["export", "good", "--format", "asciicast", "-o", "good.cast"]);
    assert_eq!(std::fs::read_to_string(home.path("good.cast")).unwrap(), cast);
}
