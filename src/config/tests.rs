//! Tests of the priority of sources, and of the errors for bad values.

use std::time::Duration;

use super::*;

fn load(flags: &[(&'static str, &str)], env: &[(&str, &str)], file: Option<&str>) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let flags: FlagValues = flags.iter().map(|(key, value)| (*key, OsString::from(value))).collect();
    let find = |name: &str| {
        let found = env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        found.or_else(|| (name == "HOME").then(|| "/home/nobody".into()))
    };
    Settings::load(&flags, find, file.map(|_| path.as_path()))
}

#[test]
fn source_with_highest_priority_wins() {
    let file = Some("worker_grace = '10s'\nlisten = '127.0.0.1:1'\nconnections_max = 7");
    let settings = load(&[("worker_grace", "30s")], &[("TASKTAIL_WORKER_GRACE", "20s")], file).unwrap();
    assert_eq!(settings.limits.worker_grace, Duration::from_secs(30), "flag");
    let settings = load(&[], &[("TASKTAIL_WORKER_GRACE", "20s"), ("TASKTAIL_LISTEN", "")], file).unwrap();
    assert_eq!(settings.limits.worker_grace, Duration::from_secs(20), "environment");
    assert_eq!(settings.listen, "127.0.0.1:1", "file; an empty variable is none");
    assert_eq!(settings.limits.connections_max, 7);
    let settings = load(&[], &[], None).unwrap();
    assert_eq!(settings.limits.worker_grace, Limits::default().worker_grace, "default");
    assert_eq!(settings.url, None);
}

#[test]
fn data_folder_follows_xdg() {
    let data = |env: &[(&str, &str)]| load(&[], env, None).unwrap().data.unwrap();
    assert_eq!(data(&[]), Path::new("/home/nobody/.local/state/tasktail"));
    assert_eq!(data(&[("XDG_STATE_HOME", "/s")]), Path::new("/s/tasktail"));
    assert_eq!(data(&[("XDG_STATE_HOME", "relative")]), Path::new("/home/nobody/.local/state/tasktail"));
    assert_eq!(data(&[("TASKTAIL_DATA", "/d")]), Path::new("/d"));
    assert!(load(&[], &[("TASKTAIL_DATA", "/d")], None).unwrap().data_named);
    // Only a command that needs the folder fails.
    let homeless = Settings::load(&Vec::new(), |_| None, None).unwrap();
    assert!(homeless.data().unwrap_err().to_string().contains("--data DIR"));
}

#[test]
fn retention_can_be_set_and_reset() {
    let file = Some("retention_age = '30d'\nretention_count = 1000\nretention_bytes = '10GiB'");
    let limits = load(&[("retention_count", "off")], &[], file).unwrap().limits;
    assert_eq!(limits.retention_age, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!((limits.retention_count, limits.retention_bytes), (None, Some(10 << 30)));
}

#[test]
fn errors_name_source_and_problem() {
    let error = |flags: &[(&'static str, &str)], env: &[(&str, &str)], file| load(flags, env, file).unwrap_err();
    let text = error(&[("durability", "never")], &[], None).to_string();
    assert_eq!(text, "--durability: `never` is not a durability: use commit or interval");
    assert!(error(&[("durability", "never")], &[], None).is_usage());
    let text = error(&[], &[("TASKTAIL_URL", "localhost")], None).to_string();
    assert!(text.starts_with("TASKTAIL_URL: `localhost`") && text.contains("http://127.0.0.1:7117"), "{text}");
    let text = error(&[], &[], Some("worker_grace = 'soon'")).to_string();
    assert!(text.contains("config.toml:1: `worker_grace`: `soon` is not a duration"), "{text}");
    let text = error(&[], &[], Some("worker_grace = [1]")).to_string();
    assert!(text.contains("expected a string or a number"), "{text}");
    let text = error(&[], &[], Some("worker_grce = '1s'")).to_string();
    assert!(text.contains("`worker_grce`") && text.contains("worker_grace"), "{text}");
    let text = error(&[], &[], Some("listen = \n")).to_string();
    assert!(text.contains("not TOML") && text.contains("line 1"), "{text}");
    let text = error(&[("listen", "7117")], &[], None).to_string();
    assert!(text.contains("HOST:PORT"), "{text}");
}

#[test]
fn explicit_settings_file_must_exist() {
    let error = Settings::load(&FlagValues::new(), |_| None, Some(Path::new("/nowhere/config.toml"))).unwrap_err();
    assert!(error.to_string().contains("/nowhere/config.toml"), "{error}");
}

#[test]
fn runs_folder_can_be_reset() {
    let runs = |flags: &[(&'static str, &str)]| load(flags, &[("TASKTAIL_RUNS", "/runs")], None).map(|s| s.runs);
    assert_eq!(runs(&[]).unwrap().as_deref(), Some(Path::new("/runs")));
    assert_eq!(runs(&[("runs", "off")]).unwrap(), None);
    assert!(runs(&[("runs", "")]).unwrap_err().to_string().contains("--runs"));
}

#[test]
fn every_setting_is_described_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "# a comment\nworker_grace = '10s'\n\ntoken = 'tt_secret'\n").unwrap();
    let flags: FlagValues = vec![("listen", "127.0.0.1:1".into())];
    let env = |name: &str| match name {
        "TASKTAIL_RESP" => Some("127.0.0.1:2".into()),
        "TASKTAIL_URL" => Some("http://user:pass@host:1/a@b".into()),
        "HOME" => Some("/home/nobody".into()),
        _ => None,
    };
    let all = Settings::describe(&flags, env, Some(&path)).unwrap();
    assert_eq!(all.len(), known_keys().count());
    let of = |name: &str| {
        let found = all.iter().find(|setting| setting.name == name).unwrap();
        (found.value.clone().unwrap_or_default(), found.source, found.at.clone().unwrap_or_default())
    };
    let at = |line: usize| format!("{}:{line}", path.display());
    assert_eq!(of("listen"), ("127.0.0.1:1".to_owned(), "flag", "--listen".to_owned()));
    assert_eq!(of("resp"), ("127.0.0.1:2".to_owned(), "environment", "TASKTAIL_RESP".to_owned()));
    assert_eq!(of("worker_grace"), ("10s".to_owned(), "file", at(2)));
    assert_eq!(of("token"), ("***".to_owned(), "file", at(4)));
    assert_eq!(of("url").0, "http://***@host:1/a@b");
    assert_eq!(of("data"), ("/home/nobody/.local/state/tasktail".to_owned(), "default", String::new()));
    assert_eq!(of("connections_max").1, "default");
}

#[test]
fn a_check_reports_every_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let text =
        "worker_grace = 'soon'\nworkr_grace = '1s'\ntls_cert = '/nowhere/cert.pem'\nca_file = '/nowhere/ca.pem'\n";
    std::fs::write(&path, text).unwrap();
    let env = |name: &str| (name == "TASKTAIL_LISTEN").then(|| "7117".into());
    let faults = Settings::check(&FlagValues::new(), env, Some(&path));
    let faults: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
    for (place, remedy) in [
        ("config.toml:2: unknown setting `workr_grace`", "did you mean `worker_grace`?"),
        ("config.toml:1: `worker_grace`", "is not a duration"),
        ("config.toml:3: `tls_cert`", "set tls_key"),
        ("config.toml:4: `ca_file`", "use the path of a readable file"),
        ("TASKTAIL_LISTEN", "HOST:PORT"),
    ] {
        let found = faults.iter().any(|fault| fault.contains(place) && fault.contains(remedy));
        assert!(found, "{place}: {faults:#?}");
    }
    assert_eq!(faults.len(), 5, "{faults:#?}");
    std::fs::write(&path, "worker_grace = '1s'\n").unwrap();
    assert_eq!(Settings::check(&FlagValues::new(), |_| None, Some(&path)), []);
}
