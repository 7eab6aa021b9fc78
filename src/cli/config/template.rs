//! A settings file with every setting as a comment, out of the help texts of the flags.

use std::collections::BTreeMap;

use crate::config::{default_of, known_keys};
use crate::model::limits::Limit;

/// Columns of a comment.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Settings of tasktail. A commented setting has its default value.
#
# A flag or an environment variable overrides a setting of this file: worker_grace is --worker-grace and
# TASKTAIL_WORKER_GRACE. `tasktail config check` reports mistakes, `tasktail config show` the values in force.
# SIGHUP makes a server read this file again.
";

/// A rule of notices, at the end: TOML has no settings after a section.
const RULE: &str = "
# Rules of notices, each with one condition and one action or more; see the guide. To use one, write it
# without the `# ` at its beginning, after all settings.
#
# [[notify]]
# name = \"nightly failed\"
# tasks = \"nightly*\"                # ids or names; all tasks if left out
# labels = [\"branch=main\"]          # all of them; none if left out
# status = [\"failed\", \"aborted\"]   # or pattern = \"panic\", silence = \"10m\", slower = 1.5
# webhook = \"https://hooks.example/tasktail\"
# secret_file = \"/etc/tasktail/webhook-secret\"
# ntfy = \"https://ntfy.example/builds\"
# command = [\"/usr/local/bin/page-me\"]
";

/// Examples for settings without a default as text.
const EXAMPLES: [(&str, &str); 4] =
    [("url", "http://127.0.0.1:7117"), ("token", "tt_..."), ("data", "/var/lib/tasktail"), ("spool_bytes_max", "4GiB")];

/// Returns the file.
pub(super) fn render(definitions: clap::Command) -> String {
    let mut help = BTreeMap::new();
    collect(&definitions, &mut help);
    let mut file = HEAD.to_owned();
    for key in known_keys() {
        file.push('\n');
        let text = help.get(key).map_or_else(|| own_help(key).to_owned(), |text| without_notes(text));
        for line in wrap(&text) {
            file.push_str(&format!("# {line}\n"));
        }
        file.push_str(&format!("#{key} = {}\n", value(key)));
    }
    file.push_str(RULE);
    file
}

/// Collects the help texts of all flags by their ids, which are the names of the settings.
fn collect(command: &clap::Command, help: &mut BTreeMap<String, String>) {
    for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
        let text = flag.get_long_help().or(flag.get_help()).map(ToString::to_string);
        if let Some(text) = text.filter(|_| known_keys().any(|key| key == flag.get_id().as_str())) {
            // The first is that of the whole program, of `serve`, or of `run`.
            help.entry(flag.get_id().to_string()).or_insert(text);
        }
    }
    let order = |command: &&clap::Command| !["serve", "run"].contains(&command.get_name());
    let mut commands: Vec<_> = command.get_subcommands().collect();
    commands.sort_by_key(order);
    commands.into_iter().for_each(|command| collect(command, help));
}

/// Returns the help of a setting that has no flag.
fn own_help(key: &str) -> &'static str {
    match key {
        "token" => "Send this access token. Only the owner of this file should be able to read it",
        _ => "",
    }
}

/// Removes what the file itself shows: the default and the variable.
fn without_notes(text: &str) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for note in ["[env: ", "[default: "] {
        while let Some(start) = text.find(note) {
            let end = text[start..].find(']').map_or(text.len(), |end| start + end + 1);
            text.replace_range(start..end, "");
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the value of a setting as TOML.
fn value(key: &str) -> String {
    let example = EXAMPLES.iter().find(|(name, _)| *name == key).map(|(_, example)| (*example).to_owned());
    let text = default_of(key).or(example).unwrap_or_default();
    let is_number = Limit::from_name(key).is_some() && text.parse::<u64>().is_ok();
    if is_number || text == "false" { text } else { format!("\"{text}\"") }
}

/// Splits a text into lines of at most [`WIDTH`] columns.
fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.len() + word.len() < WIDTH) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
