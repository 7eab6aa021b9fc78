//! Recognizes commands that print an event: in a shell's trace (`set -x`), in echoed source (`set -v`, `make`, a
//! Dockerfile's `RUN`, a CI's `$ ...`) and in source code. The command is not an event; its output is.

/// Commands and functions whose argument is printed.
const PRINTERS: [&str; 16] = [
    "echo",
    "printf",
    "print",
    "println",
    "puts",
    "print!",
    "println!",
    "eprintln!",
    "console.log",
    "console.error",
    "fmt.Println",
    "fmt.Printf",
    "System.out.println",
    "Write-Host",
    "Write-Output",
    "sys.stdout.write",
];
/// Words before a command in echoed source.
const PROMPTS: [&str; 10] = ["$", "#", ">", "RUN", "CMD", "ENTRYPOINT", "then", "do", "else", "exec"];
/// Words of a log's own prefix (a time, a container's name) before a trace.
const PREFIX_WORDS_MAX: usize = 6;
/// Options and formats between a printer and its argument.
const OPTIONS_MAX: usize = 4;

/// Reports whether a token is part of a command. `before` is the text before it: of its line from the start if
/// `from_start`, of the string around it if `quoted`.
pub(super) fn is_command(before: &str, from_start: bool, quoted: bool) -> bool {
    let newline = before.rfind('\n').map(|at| at + 1);
    let line = newline.or(from_start.then_some(0)).map(|at| &before[at..]);
    let string = if quoted { string_start(before).map(|at| &before[at..]) } else { None };
    let mut lines = line.into_iter().chain(string);
    is_argument(&before[newline.unwrap_or(0)..])
        || lines.any(|line| is_traced(line) || is_echoed(line) || is_executed(line))
}

/// Returns the start of the last line in the string that `before` ends in, whose newlines are escaped.
fn string_start(before: &str) -> Option<usize> {
    let newline = before.rfind("\\n").map(|at| at + 2);
    let quote = before.char_indices().rev().find(|(at, c)| *c == '"' && !before[..*at].ends_with('\\'));
    newline.max(quote.map(|(at, _)| at + 1))
}

/// Reports whether a line is Ansible's account of a command (`-vvv`): `<h1> EXEC ..`, `<h1> (0, b'..`.
fn is_executed(line: &str) -> bool {
    let rest = line.strip_prefix('<').and_then(|line| Some(line.split_once("> ")?.1));
    rest.is_some_and(|rest| ["EXEC ", "SSH: EXEC ", "PUT ", "FETCH ", "("].iter().any(|word| rest.starts_with(word)))
}

/// Reports whether a line is from a shell's trace: `+ cmd`, `++ cmd`, `+zsh:1> cmd`, also after a log's prefix.
fn is_traced(line: &str) -> bool {
    let mut words = line.split_whitespace().take(PREFIX_WORDS_MAX);
    let is_prefix =
        |word: &&str| word.bytes().all(|b| !b.is_ascii_alphabetic()) || word.contains(|c: char| c.is_ascii_digit());
    let Some(mark) = words.find(|word| word.starts_with('+') || !is_prefix(word)) else { return false };
    let rest = mark.trim_start_matches('+');
    // Something has to stand between the mark and the token: `+LB_EVENT` is a line that a diff adds.
    let has_command = words.next().is_some_and(|word| word != "|");
    mark.starts_with('+') && (rest.is_empty() || rest.ends_with([':', '>'])) && has_command
}

/// Reports whether a line starts with a printing command.
fn is_echoed(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| PROMPTS.contains(word));
    words.next().is_some_and(|word| matches!(name(word), "echo" | "printf")) && line.ends_with([' ', '\'', '"', '\t'])
}

/// Reports whether a text ends with a printing command and the start of its argument.
fn is_argument(before: &str) -> bool {
    let mut rest = before;
    for _ in 0..OPTIONS_MAX {
        let head = rest.trim_end_matches([' ', '\t', '\'', '"', '`', '$', '(', ',', '\\']);
        if head.len() == rest.len() {
            return false;
        }
        // The letter of a string's prefix, as in `print(f"`.
        let head = head.strip_suffix(['f', 'b', 'r', 'u']).filter(|head| head.ends_with('(')).unwrap_or(head);
        let head = head.trim_end_matches('(');
        let start = head.rfind([' ', '\t', '\'', '"', '`', ';', '\n']).map_or(0, |at| at + 1);
        let word = &head[start..];
        if PRINTERS.contains(&name(word)) {
            return true;
        }
        if !word.starts_with('-') && !word.contains('%') {
            return false;
        }
        rest = &head[..start];
    }
    false
}

/// Returns the name of a command without its folder and the characters of a shell before it.
fn name(word: &str) -> &str {
    let start = word.rfind(['/', '\\', '>', ';', '&', '|', '(', '{', '@', '[']).map_or(0, |at| at + 1);
    &word[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_recognized() {
        for line in [
            "+ echo '",
            "+ echo ",
            "++ printf '%s\\n' '",
            "+++ /bin/echo -n \"",
            "+ python3 -c 'print(\"",
            "+ msg='",
            "+ logger -t x '",
            "+zsh:1> emit '",
            "+ ./x.sh:3: emit '",
            "+./x.sh:12:main: emit '",
            ">>> echo '",
            "12: echo '",
            "[10:00:01] echo \"",
            "2026-11-30T10:00:00Z + emit '",
            "web-1  | + emit '",
            "echo '",
            "echo \"$(date) ",
            "\techo -e \"",
            "RUN echo '",
            "RUN [\"echo\", \"",
            "#7 [3/5] RUN echo '",
            "Step 3/5 : RUN printf '%s\\n' '",
            "$ echo '",
            "C:\\>echo ",
            "[command]/usr/bin/echo ",
            "  if x; then echo \"",
            "    print(\"",
            "+    print(f\"",
            "  console.log('",
            "bash -c \"echo '",
            "<h1> EXEC /bin/sh -c 'x ",
            "<h1> (0, b'{\"stdout\": \"",
        ] {
            assert!(is_command(line, true, false), "{line}");
        }
        assert!(is_command("{\"log\":\"+ emit '", true, true));
        assert!(is_command("\"stderr\": \"one\\n+ emit '", false, true));
        assert!(is_command("x\n+ emit '", false, false));
    }

    #[test]
    fn output_is_not_a_command() {
        for line in [
            "",
            "    ",
            "+",
            "+ ",
            "web-1  | ",
            "echo-1  | ",
            "     [echo] ",
            "echo: ",
            "Nov 30 10:00:00 h logger[12]: ",
            "time=\"2026-11-30T10:00:00Z\" level=info msg=\"",
            "INFO[0001] ",
            "+build | ",
            "{\"log\":\"",
            "ok: [h1] => (item=",
            "['",
            "b'",
            "#7 0.234 ",
            "event=\"",
            "the sum of 1 + 2 is ",
            "said echo before; ",
            "1 + ",
        ] {
            assert!(!is_command(line, true, false), "{line}");
        }
        assert!(!is_command("+ emit '", false, false), "the start of the line is unknown");
    }
}
