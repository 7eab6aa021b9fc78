//! `tasktail complete`: prints the ids or labels that can stand at the end of a command line, for the completion
//! scripts of shells. It is silent on any error and takes at most [`TIME_MAX`].

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser as _};
use tokio::time::timeout;

use super::locate::{Locator, Purpose};
use super::settings::GlobalArgs;
use super::task_ref::TaskListPage;
use super::{Cli, Context};
use crate::client::HttpClient;
use crate::model::Task;

/// Maximum time of an answer.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Maximum number of tasks that are looked at.
const TASKS_MAX: usize = 200;
/// Global flags that decide which server is asked.
const SERVER_FLAGS: [&str; 5] = ["--url", "--data", "--config", "--token-file", "--ca-file"];

/// `tasktail complete`.
#[derive(Debug, Args)]
pub struct CompleteArgs {
    /// The words after `tasktail` up to the cursor; the last one may be empty
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    words: Vec<String>,
}

/// The parts of a word that can be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// An id that begins with this.
    Task(String),
    /// A label that begins with this.
    Label(String),
    /// The value of a label with this key, in a shell that treats `=` as a word; it begins with the second.
    LabelValue(String, String),
}

impl CompleteArgs {
    /// Returns the global flags among the words.
    pub(super) fn global(&self) -> Option<GlobalArgs> {
        let mut flags = vec!["tasktail".to_owned()];
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            if SERVER_FLAGS.contains(&name) {
                flags.push(name.to_owned());
                flags.push(value.map(str::to_owned).or_else(|| words.next().cloned())?);
            }
        }
        flags.push("list".to_owned());
        Cli::try_parse_from(flags).ok().map(|cli| cli.global)
    }
}

pub(super) async fn run(args: CompleteArgs, context: Context) -> anyhow::Result<u8> {
    let Some(wanted) = wanted(&args.words) else { return Ok(0) };
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let found = timeout(TIME_MAX, async { candidates(&wanted, &locator.client().await?).await }).await;
    if let Ok(Ok(found)) = &found {
        for word in found {
            output.line(word)?;
        }
    }
    if found.is_ok() {
        locator.close().await;
    }
    Ok(0)
}

/// Returns what can stand at the end of a command line.
fn wanted(words: &[String]) -> Option<Wanted> {
    let (last, before) = words.split_last()?;
    let command = Cli::command();
    let name_at = subcommand_at(&command, before)?;
    let name = before.get(name_at)?;
    let command = command.find_subcommand(name)?;
    let previous = before.last().map_or("", String::as_str);
    // bash makes words of `--label`, `key`, `=`, `value`.
    if let [.., flag, key, equals] = before
        && flag == "--label"
        && equals == "="
    {
        return Some(Wanted::LabelValue(key.clone(), last.clone()));
    }
    if let [.., flag, key] = before
        && flag == "--label"
        && last == "="
    {
        return Some(Wanted::LabelValue(key.clone(), String::new()));
    }
    match previous {
        "--label" => return Some(Wanted::Label(last.clone())),
        "--task" => return Some(Wanted::Task(last.clone())),
        flag if takes_value(command, flag) => return None,
        _ => {}
    }
    let positionals = positionals(command, before.get(name_at + 1..)?);
    let arguments: Vec<&clap::Arg> = command.get_positionals().collect();
    let argument = arguments.get(positionals).or_else(|| arguments.last().filter(|last| is_list(last)));
    let is_task = argument?.get_value_names()?.iter().any(|name| matches!(name.as_str(), "TASK" | "A" | "B"));
    (is_task && !last.starts_with('-')).then(|| Wanted::Task(last.clone()))
}

fn is_list(argument: &clap::Arg) -> bool {
    argument.get_num_args().is_some_and(|count| count.max_values() > 1)
        || matches!(argument.get_action(), clap::ArgAction::Append)
}

/// Returns the place of the command among the words, after global flags.
fn subcommand_at(command: &clap::Command, words: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if !word.starts_with('-') {
            return Some(at);
        }
        at += if takes_value(command, word) { 2 } else { 1 };
    }
    None
}

/// Returns the number of positional arguments among the words.
fn positionals(command: &clap::Command, words: &[String]) -> usize {
    let (mut count, mut at) = (0, 0);
    while let Some(word) = words.get(at) {
        count += usize::from(!word.starts_with('-'));
        at += if takes_value(command, word) { 2 } else { 1 };
    }
    count
}

/// Reports whether the word is a flag whose value is the next word.
fn takes_value(command: &clap::Command, word: &str) -> bool {
    let root = Cli::command();
    let found = |argument: &&clap::Arg| match word.strip_prefix("--") {
        Some(long) => argument.get_long_and_visible_aliases().is_some_and(|names| names.contains(&long)),
        None => match word.strip_prefix('-').map(|short| short.chars().collect::<Vec<_>>()).as_deref() {
            Some([short]) => argument.get_short() == Some(*short),
            _ => false,
        },
    };
    let argument = command.get_arguments().find(found).or_else(|| root.get_arguments().find(found));
    argument.is_some_and(|argument| argument.get_action().takes_values() && !is_optional(argument))
}

/// Reports whether a flag can stand without its value.
fn is_optional(argument: &clap::Arg) -> bool {
    argument.get_num_args().is_some_and(|count| count.min_values() == 0)
}

async fn candidates(wanted: &Wanted, client: &HttpClient) -> anyhow::Result<Vec<String>> {
    let prefix = match wanted {
        Wanted::Task(start) => Some(start.clone()),
        _ => None,
    };
    let query = [("prefix", prefix), ("limit", Some(TASKS_MAX.to_string()))];
    let page: TaskListPage = client.get("/api/v1/tasks", &query).await?;
    let labels = |word: &dyn Fn(&str, &str) -> String| -> BTreeSet<String> {
        page.tasks.iter().flat_map(|task| task.labels.iter().map(|(key, value)| word(key, value))).collect()
    };
    Ok(match wanted {
        Wanted::Task(start) => {
            let ids = page.tasks.iter().map(Task::exact_id);
            ids.filter(|id| id.starts_with(start)).collect()
        }
        Wanted::Label(start) => {
            let words = labels(&|key, value| format!("{key}={value}"));
            words.into_iter().filter(|word| is_one_word(word) && word.starts_with(start)).collect()
        }
        Wanted::LabelValue(key, start) => {
            let words = labels(&|name, value| if name == key { value.to_owned() } else { String::new() });
            let matches = |word: &String| is_one_word(word) && word.starts_with(start);
            words.into_iter().filter(matches).collect()
        }
    })
}

/// Reports whether a shell can insert the word as it is: labels are texts of others.
fn is_one_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_.:/=@+,%".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_end(line: &str) -> Option<Wanted> {
        wanted(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_end_of_a_command_line_decides() {
        let task = |start: &str| Some(Wanted::Task(start.to_owned()));
        assert_eq!(at_end("follow "), task(""));
        assert_eq!(at_end("logs a ma"), task("ma"));
        assert_eq!(at_end("--data d show -q ma"), task("ma"));
        assert_eq!(at_end("follow -n 5 ma"), task("ma"));
        assert_eq!(at_end("follow --tail 5 ma"), task("ma"));
        assert_eq!(at_end("end --task ma"), task("ma"));
        assert_eq!(at_end("show a b"), None, "it has one task");
        assert_eq!(at_end("follow -n "), None);
        assert_eq!(at_end("follow --st"), None);
        assert_eq!(at_end("list x"), None);
        assert_eq!(at_end("fol"), None);
        assert_eq!(at_end("list --label br"), Some(Wanted::Label("br".to_owned())));
        assert_eq!(at_end("list --label branch = m"), Some(Wanted::LabelValue("branch".to_owned(), "m".to_owned())));
        assert_eq!(at_end("list --label branch ="), Some(Wanted::LabelValue("branch".to_owned(), String::new())));
    }

    #[test]
    fn server_flags_are_found_anywhere() {
        let args = |line: &str| CompleteArgs { words: line.split(' ').map(str::to_owned).collect() };
        let global = args("follow --data /d --quiet x").global().unwrap();
        assert_eq!(global.data.as_deref(), Some(std::ffi::OsStr::new("/d")));
        assert!(args("--data=/d follow ").global().unwrap().data.is_some());
        assert!(args("follow x").global().unwrap().data.is_none());
        assert!(args("follow --data").global().is_none());
    }

    #[test]
    fn completions_with_shell_syntax_are_omitted() {
        assert!(is_one_word("branch=main/feature-1"));
        assert!(["$(id)", "a b", "", "a;b", "`x`", "a\n"].iter().all(|word| !is_one_word(word)));
    }
}
