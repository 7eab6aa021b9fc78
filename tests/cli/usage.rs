//! What needs no server: help, usage errors, settings, completions.

use crate::support::Home;

const COMMANDS: [&str; 21] = [
    "serve",
    "run",
    "follow",
    "append",
    "ship",
    "spool",
    "events",
    "dashboard",
    "end",
    "list",
    "show",
    "export",
    "rm",
    "doctor",
    "backup",
    "restore",
    "verify",
    "adopt",
    "config",
    "man",
    "completions",
];

#[test]
fn help_of_every_command_has_an_example() {
    let home = Home::new();
    for command in COMMANDS {
        let help = home.ok(&[command, "--help"]);
        assert!(help.contains("Examples:"), "{command}");
        assert!(help.contains(&format!("tasktail {command}")), "{command}");
    }
    let help = home.ok(&["--help"]);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command}")), "{command} is not in the list");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let home = Home::new();
    for args in [
        &["list", "--frobnicate"][..],
        &["frobnicate"],
        &[],
        &["follow", "a/b"],
        &["follow", "x", "--stream", "stdin"],
        &["follow", "x", "--after", "120"],
        &["show", &"x".repeat(200)],
        &["run"],
        &["run", "--label", "nothing", "--", "true"],
        &["end", "--task", "x"],
        &["append", "text"],
        &["list", "--status", "finished"],
        &["list", "--limit", "0"],
        &["rm"],
        &["completions", "cmd.exe"],
        &["serve", "--durability", "never"],
        &["list", "--url", "127.0.0.1:7117"],
    ] {
        let done = home.run(args);
        assert_eq!(done.code, Some(2), "{args:?}: {}", done.stderr);
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_bad_setting_is_named_with_its_place() {
    let home = Home::new();
    let done = crate::support::finish(home.command(&["list"]).env("TASKTAIL_URL", "nowhere").spawn().unwrap());
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("TASKTAIL_URL: `nowhere`"), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);

    std::fs::write(home.path("t.toml"), "worker_grace = 'soon'\n").unwrap();
    let done = home.run(&["list", "--config", "t.toml"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("t.toml:1: `worker_grace`: `soon` is not a duration"), "{}", done.stderr);

    let done = home.run(&["run", "--config", "missing.toml", "--", "true"]);
    assert_eq!(done.code, Some(125), "tasktail itself failed before the command started");
    assert!(done.stderr.contains("missing.toml"), "{}", done.stderr);
}

#[test]
fn completions_name_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.ok(&["completions", shell]);
        assert!(script.contains("tasktail") && script.contains("export"), "{shell}");
    }
}

#[test]
fn a_server_that_is_not_there_is_one_clear_line() {
    let home = Home::new();
    for args in [&["list"][..], &["show", "x"], &["follow", "x"], &["rm", "x"], &["export", "x", "-o", "f"]] {
        let done = home.run(&[args, &["--url", "http://127.0.0.1:1"]].concat());
        assert_eq!(done.code, Some(1), "{args:?}");
        assert!(done.stderr.contains("cannot reach http://127.0.0.1:1"), "{args:?}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{args:?}: {}", done.stderr);
        assert!(!home.path("f").exists());
    }
}

/// Every limit is a flag of `serve` with its default, whatever else is in the table.
#[test]
fn every_limit_is_in_the_help_of_serve() {
    use tasktail::model::limits::{Limit, Limits};
    let home = Home::new();
    let help = home.ok(&["serve", "--help"]);
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let defaults = Limits::default();
    for limit in Limit::ALL {
        let flag = format!("--{} <{}>", limit.name().replace('_', "-"), limit.value_name());
        assert!(words.contains(&flag), "{flag}\n{help}");
        assert!(words.contains(&format!("{} [default: {}]", limit.help(), defaults.show(*limit))), "{help}");
    }
}

/// Every link of the README and of the guide leads to a file, and every page of the guide is linked.
#[test]
fn the_links_of_the_readme_lead_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150, "the README has {} lines", readme.lines().count());
    let targets: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    for target in &targets {
        assert!(root.join(target).is_file(), "README.md links to {target}");
    }
    for page in std::fs::read_dir(root.join("src/guide")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let linked = targets.contains(&format!("src/guide/{name}").as_str());
        assert!(linked || name == "mod.rs", "README.md does not link to src/guide/{name}");
    }
}
