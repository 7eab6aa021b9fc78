//! Settings, manual pages, the version, and the state that a service manager sees.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::Value;
use tasktail::config::known_keys;

use crate::support::{Home, Serve, finish, signal};

#[test]
fn settings_are_shown_with_their_source() {
    let home = Home::new();
    std::fs::write(home.path("t.toml"), "# mine\nworker_grace = '5m'\n").unwrap();
    let mut command = home.command(&["config", "show", "--json", "--config", "t.toml"]);
    command.env("TASKTAIL_TOKEN", "tt_secret").env("TASKTAIL_PTY", "never");
    let done = finish(command.spawn().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!done.stdout.contains("tt_secret"), "{}", done.stdout);
    let rows: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), known_keys().count());
    let of = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!((&of("worker_grace")["value"], &of("worker_grace")["at"]), (&"5m".into(), &"t.toml:2".into()));
    assert_eq!((&of("pty")["source"], &of("pty")["at"]), (&"environment".into(), &"TASKTAIL_PTY".into()));
    assert_eq!((&of("token")["value"], &of("heartbeat")["source"]), (&"***".into(), &"default".into()));
    let text = home.ok(&["config", "show", "--config", "t.toml"]);
    assert!(text.lines().any(|line| line.starts_with("worker_grace ") && line.ends_with(" t.toml:2")), "{text}");
}

#[test]
fn a_file_that_is_missing_is_reported_with_what_to_do() {
    let home = Home::new();
    let check = |settings: &str| {
        std::fs::write(home.path("t.toml"), settings).unwrap();
        let done = home.run(&["config", "check", "--config", "t.toml"]);
        assert_eq!(done.code, Some(1), "{}", done.stdout);
        done.stdout
    };
    std::fs::write(home.path("cert.pem"), "").unwrap();
    let printed = check("tls_cert = 'cert.pem'\ntls_key = '/run/credentials/tasktail.service/tasktail_key.pem'\n");
    assert!(printed.contains("restart the unit to which the credential belongs"), "{printed}");
    let printed = check("share_jwt_key_file = 'none'\n");
    assert!(printed.contains("cannot read none") && printed.contains("use the path of a readable file"), "{printed}");
}

#[test]
fn mistakes_in_the_settings_are_all_reported() {
    let home = Home::new();
    std::fs::write(home.path("t.toml"), "worker_grace = 'soon'\nheartbeet = '5s'\n").unwrap();
    let mut command = home.command(&["config", "check", "--config", "t.toml"]);
    let done = finish(command.env("TASKTAIL_WORKERGRACE", "1s").spawn().unwrap());
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for part in ["t.toml:1: `worker_grace`", "did you mean `heartbeat`?", "did you mean TASKTAIL_WORKER_GRACE?"] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    assert_eq!(done.stdout.lines().count(), 3, "{}", done.stdout);
    std::fs::write(home.path("t.toml"), "worker_grace = '1m'\n").unwrap();
    let done = home.run(&["config", "check", "--config", "t.toml"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""), "{}", done.stderr);
}

#[test]
fn a_variable_that_is_no_setting_is_reported_at_the_start() {
    let home = Home::new();
    let mut command = home.command(&["run", "--pty", "never", "--", "true"]);
    let done = finish(command.env("TASKTAIL_SPOOL_BYTE_MAX", "1GiB").spawn().unwrap());
    let warning = "TASKTAIL_SPOOL_BYTE_MAX is not a setting and has no effect; did you mean TASKTAIL_SPOOL_BYTES_MAX?";
    assert!(done.code == Some(0) && done.stderr.contains(warning), "{}", done.stderr);
}

/// The template is a settings file as it is, and also with every setting uncommented.
#[test]
fn the_template_has_every_setting_and_its_default() {
    let home = Home::new();
    let template = home.ok(&["config", "template"]);
    std::fs::write(home.path("t.toml"), &template).unwrap();
    home.ok(&["config", "check", "--config", "t.toml"]);
    let is_setting = |line: &str| line.strip_prefix('#').is_some_and(|rest| !rest.starts_with([' ', '\n']));
    let lines = template.lines().map(|line| if is_setting(line) { &line[1..] } else { line });
    let without = ["token = ", "url = "];
    let active: Vec<&str> = lines.filter(|line| !without.iter().any(|name| line.starts_with(name))).collect();
    std::fs::write(home.path("all.toml"), active.join("\n")).unwrap();
    home.ok(&["config", "check", "--config", "all.toml"]);
    for key in known_keys() {
        let mut blocks = template.split("\n\n");
        let block = blocks.find(|block| block.lines().last().unwrap().starts_with(&format!("#{key} = ")));
        let block = block.unwrap_or_else(|| panic!("{key} is missing:\n{template}"));
        let help: String = block.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        assert!(help.len() > 12, "{key} has no help: {block}");
    }
    assert!(template.lines().all(|line| line.is_empty() || line.starts_with('#')), "{template}");
    assert!(!template.contains("[default") && !template.contains("[env"), "{template}");
}

#[test]
fn manual_pages_cover_every_command() {
    let home = Home::new();
    let page = home.ok(&["man"]);
    assert!(page.contains(".TH tasktail 1") && page.contains("tasktail\\-run(1)"), "{page}");
    home.ok(&["man", "pages/man1"]);
    for name in ["tasktail", "tasktail-run", "tasktail-serve", "tasktail-events-tail", "tasktail-config-show"] {
        let page = std::fs::read_to_string(home.path(&format!("pages/man1/{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
    let serve = std::fs::read_to_string(home.path("pages/man1/tasktail-serve.1")).unwrap();
    assert!(serve.contains("worker\\-grace") && serve.contains("tasktail serve \\-\\-ephemeral"), "{serve}");
}

#[test]
fn the_version_names_features_and_store_format() {
    let home = Home::new();
    let long = home.ok(&["--version"]);
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], concat!("tasktail ", env!("CARGO_PKG_VERSION")));
    for (line, start) in lines[1..].iter().zip(["commit: ", "features: ", "store format: "]) {
        assert!(line.starts_with(start), "{long}");
    }
    assert_eq!(home.ok(&["-V"]).trim_end(), lines[0]);
}

/// A socket of a service manager.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn receive(&self) -> String {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Waits for a message with this line.
    fn wait_for(&self, line: &str) {
        while !self.receive().lines().any(|received| received == line) {}
    }
}

#[test]
fn a_service_manager_is_notified() {
    let home = Home::new();
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
    let manager = Manager { socket };
    let mut command = home.command(&["serve"]);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    command.env("WATCHDOG_USEC", Duration::from_millis(300).as_micros().to_string());
    let server = Serve::start(command);
    let ready = manager.receive();
    assert!(ready.contains("READY=1") && ready.contains(&format!("STATUS=serving on {}", server.url)), "{ready}");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    signal(&server.child, "HUP");
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    signal(&server.child, "TERM");
    manager.wait_for("STOPPING=1");
}
