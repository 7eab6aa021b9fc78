//! A hint for a command line that only a shell understands.

use std::ffi::OsString;

use crate::model::command_line;
use crate::worker::Masks;

/// Commands that exist only inside a shell.
const BUILTINS: [&str; 12] =
    ["cd", "source", ".", "export", "alias", "ulimit", "umask", "set", "eval", "exec", "wait", "trap"];

/// Returns a `tasktail run` that works for a command that was not found, if the command looks like shell syntax.
pub(super) fn of(command: &[OsString], masks: &Masks) -> Option<String> {
    let words: Vec<String> = command.iter().map(|word| masks.text(&word.to_string_lossy())).collect();
    let (first, rest) = words.split_first()?;
    let words = if rest.is_empty() && needs_shell(first) {
        vec!["sh".to_owned(), "-c".to_owned(), first.clone()]
    } else if rest.is_empty() && first.contains(char::is_whitespace) {
        first.split_whitespace().map(str::to_owned).collect()
    } else if is_assignment(first) && !rest.is_empty() {
        [&["env".to_owned()], words.as_slice()].concat()
    } else if BUILTINS.contains(&first.as_str()) || rest.iter().any(|word| is_operator(word)) {
        vec!["sh".to_owned(), "-c".to_owned(), words.join(" ")]
    } else {
        return None;
    };
    Some(format!("tasktail run -- {}", command_line(&words)))
}

/// Reports whether the text is more than words with spaces between them.
fn needs_shell(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    text.contains(['|', '&', ';', '<', '>', '(', ')', '$', '`', '"', '\'', '*', '?', '~', '\n', '{', '[', '\\', '#'])
        || is_assignment(first)
        || BUILTINS.contains(&first)
}

/// Reports whether the word sets a variable: `NAME=value`.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn is_operator(word: &str) -> bool {
    ["|", "||", "&&", ";", "&", ">", ">>", "<", "2>&1"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(command: &[&str]) -> Option<String> {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        of(&command, &Masks::default())
    }

    #[test]
    fn a_shell_command_line_gets_a_hint_to_use_a_shell() {
        for line in ["make | tee x", "a && b", "x > y", "FOO=1 cmd", "cd x; y", "cd /tmp", "echo $HOME", "(a)", "x\ny"]
        {
            assert_eq!(hint(&[line]), Some(format!("tasktail run -- sh -c '{line}'")), "{line}");
        }
        assert_eq!(hint(&["echo 'a b'"]).unwrap(), r"tasktail run -- sh -c 'echo '\''a b'\'''");
        assert_eq!(hint(&["cd", "build"]).unwrap(), "tasktail run -- sh -c 'cd build'");
        assert_eq!(hint(&["make", "|", "tee", "x"]).unwrap(), "tasktail run -- sh -c 'make | tee x'");
    }

    #[test]
    fn arguments_are_passed_separately() {
        assert_eq!(hint(&["make -j8 all"]).unwrap(), "tasktail run -- make -j8 all");
        assert_eq!(hint(&["FOO=1", "cmd", "x"]).unwrap(), "tasktail run -- env FOO=1 cmd x");
    }

    #[test]
    fn a_plain_command_needs_no_hint() {
        for command in [&["nosuch"][..], &["no-such", "-x", "a b"], &["./nosuch"], &["a=b/c"]] {
            assert!(hint(command).is_none_or(|_| command == ["a=b/c"]), "{command:?}");
        }
    }
}
