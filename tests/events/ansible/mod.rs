//! Real Ansible runs a playbook full of events; each arrives exactly once, with its exact text.

use std::path::{Path, PathBuf};
use std::process::Command;

use tasktail::events::{ExtractedItem, Extractor, ExtractorOptions};
use tasktail::model::Event;

use crate::extract::callbacks::assert_outcomes;

pub(crate) mod expected;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn programs() -> PathBuf {
    let programs = root().join("target/ansible/venv/bin");
    let there = programs.join("ansible-playbook").exists();
    assert!(there, "there is no ansible-playbook in {}: scripts/test installs it", programs.display());
    programs
}

/// What Ansible prints for the playbook, both streams as one, as a terminal or a pipe of `2>&1` has them.
fn play(format: &str, verbose: bool, colour: bool) -> Vec<u8> {
    let colour = colour.then_some(("ANSIBLE_FORCE_COLOR", "1"));
    let format = [("ANSIBLE_CALLBACK_RESULT_FORMAT", format)];
    run("play.yml", verbose.then_some("-v"), &format.into_iter().chain(colour).collect::<Vec<_>>())
}

fn run(playbook: &str, verbosity: Option<&str>, settings: &[(&str, &str)]) -> Vec<u8> {
    let programs = programs();
    let home = tempfile::tempdir().unwrap();
    let path = std::env::join_paths([programs.as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        // By its interpreter: the path in a script's first line has a limit.
        .arg(programs.join("python"))
        .arg(programs.join("ansible-playbook"))
        .args(["--inventory", "localhost,", "--connection", "local", playbook])
        .args(verbosity)
        .current_dir(root().join("tests/events/ansible"))
        .env_clear()
        .env("PATH", path)
        .env("LANG", "C.UTF-8")
        .env("HOME", home.path())
        .env("ANSIBLE_LOCAL_TEMP", home.path())
        .env("ANSIBLE_PYTHON_INTERPRETER", "auto_silent")
        .envs(settings.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    output.stdout
}

fn every_event_arrives_once(format: &str) {
    for (verbose, colour) in [(false, false), (true, false), (false, true), (true, true)] {
        let text = play(format, verbose, colour);
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(shown.contains('\u{1b}'), colour, "{shown}");
        let mut events = Vec::new();
        let mut ids = std::collections::HashSet::new();
        let mut extractor = Extractor::new(ExtractorOptions::default());
        let mut each = |found: ExtractedItem<'_>| match found {
            ExtractedItem::Event(event) => {
                ids.insert(event.identified.view().event_id.unwrap().to_string());
                events.push(event.event);
            }
            ExtractedItem::Rejected(rejected) => panic!("{rejected:?} in {shown}"),
            ExtractedItem::Echo { .. } | ExtractedItem::Task(_) | ExtractedItem::Text { .. } => {}
        };
        for piece in text.chunks(97) {
            extractor.feed(piece, &mut each);
        }
        extractor.finish(&mut each);
        let expected: Vec<_> = expected::events(verbose).iter().map(|text| Event::parse(text).unwrap()).collect();
        assert_eq!(events, expected, "{format}, verbose: {verbose}, colour: {colour}: {shown}");
        assert_eq!(ids.len(), events.len(), "each has an id of its own");
    }
}

#[test]
fn every_event_arrives_once_in_the_default_format() {
    every_event_arrives_once("json");
}

#[test]
fn every_event_arrives_once_in_the_yaml_format() {
    every_event_arrives_once("yaml");
}

/// What no verbosity shows, and how often the task that is tried again is shown, by callback and verbosity.
#[test]
fn every_event_is_one_event_with_every_callback_of_ansible_core() {
    let json = ("ANSIBLE_CALLBACK_RESULT_FORMAT", "json");
    let yaml = ("ANSIBLE_CALLBACK_RESULT_FORMAT", "yaml");
    let oneline = ("ANSIBLE_STDOUT_CALLBACK", "oneline");
    for (setting, verbosity, not_shown, attempts) in [
        (json, "-v", "", 1),
        (json, "-vvv", "", 2),
        (yaml, "-v", "", 1),
        (yaml, "-vvv", "", 2),
        (oneline, "-v", "loop", 1),
    ] {
        let text = run("outcomes.yml", Some(verbosity), &[setting]);
        assert_outcomes(&String::from_utf8_lossy(&text), not_shown, attempts);
    }
    let minimal = run("outcomes.yml", None, &[("ANSIBLE_STDOUT_CALLBACK", "minimal")]);
    let mut extractor = Extractor::new(ExtractorOptions::default());
    let mut count = 0;
    extractor.feed(&minimal, &mut |found| count += u32::from(matches!(found, ExtractedItem::Event(_))));
    assert_eq!(count, 5, "it shows no loops: {}", String::from_utf8_lossy(&minimal));
}
