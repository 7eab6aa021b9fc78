//! `follow`, `list` and `run --notify` in a real terminal: what was drawn is drawn again, and nothing else is reached.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::terminal::{PROMPT, Tmux, binary};

/// A terminal whose shell knows `t` as `tasktail`, with a server over the data folder of its home.
struct Shell {
    tmux: Tmux,
    server: Child,
}

impl std::ops::Deref for Shell {
    type Target = Tmux;

    fn deref(&self) -> &Tmux {
        &self.tmux
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.server.kill().and_then(|()| self.server.wait()).unwrap();
    }
}

fn shell() -> Shell {
    let tmux = Tmux::start();
    let home = tmux.folder.path().display();
    let set = format!("cd {home}; export HOME={home} TASKTAIL_LISTEN=127.0.0.1:0; unset TASKTAIL_URL XDG_STATE_HOME");
    tmux.keys(&[&format!("{set}; t() {{ {} \"$@\"; }}; clear; echo set", binary()), "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("set\n"));
    let mut server = outside(&tmux, &["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    Shell { tmux, server }
}

/// A command outside of the terminal, in the same home.
fn outside(tmux: &Tmux, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).env("HOME", tmux.folder.path()).env("TASKTAIL_LISTEN", "127.0.0.1:0").stdin(Stdio::null());
    command.env_remove("TASKTAIL_URL").env_remove("XDG_STATE_HOME");
    command
}

fn append(tmux: &Tmux, task: &str, text: &str, ends: bool) {
    let file = tmux.folder.path().join("text");
    std::fs::write(&file, text).unwrap();
    let sent = outside(tmux, &["append", "--task", task]).stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    if ends {
        let ended = outside(tmux, &["end", "--task", task, "--exit-code", "0"]).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// Clears the screen, runs a command to its end and returns what stands on the screen of it.
fn run(tmux: &Tmux, command: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // The screen of the command before must not count.
    let mark = format!("code-{}=", COUNT.fetch_add(1, Ordering::Relaxed));
    tmux.keys(&[&format!("clear; {command}; echo {mark}$?"), "Enter"]);
    let is_end =
        |line: &str| line.strip_prefix(&mark).is_some_and(|code| code.starts_with(|c: char| c.is_ascii_digit()));
    let screen = tmux.wait_for(|screen| screen.lines().any(is_end));
    screen.lines().take_while(|line| !is_end(line)).map(|line| format!("{line}\n")).collect()
}

/// Returns the rows that a line takes on the terminal.
fn wrapped(line: &str) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    let rows = chars.chunks(80).map(|row| row.iter().collect::<String>().trim_end().to_owned());
    if chars.is_empty() { vec![String::new()] } else { rows.collect() }
}

#[test]
fn recordings_are_drawn_again() {
    let tmux = shell();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/screens");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "txt") {
            continue;
        }
        count += 1;
        let name = path.file_stem().unwrap().to_str().unwrap();
        append(&tmux, name, &std::fs::read_to_string(&path).unwrap(), true);
        let wanted = std::fs::read_to_string(path.with_extension("screen")).unwrap();
        let shown = run(&tmux, &format!("t follow {name} --stream stdout"));
        let wanted: Vec<String> = wanted.trim_end().lines().flat_map(wrapped).collect();
        // Long ones have scrolled.
        let tail = |lines: Vec<String>| lines.into_iter().rev().take(15).collect::<Vec<_>>();
        assert_eq!(tail(shown.trim_end().lines().map(str::to_owned).collect()), tail(wanted), "{name}");
    }
    assert!(count >= 12, "{count} recordings");
}

#[test]
fn frames_that_arrive_one_by_one_are_redrawn_in_place() {
    let tmux = shell();
    append(&tmux, "live", "above\na 1\nb 1\n", false);
    tmux.keys(&["clear; t follow live; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("above\na 1\nb 1\n"));
    append(&tmux, "live", "\x1b[2A\x1b[Ka 2\n\x1b[Kb 2\n", false);
    tmux.wait_for(|screen| screen.starts_with("above\na 2\nb 2\n"));
    append(&tmux, "live", "\x1b[99A\x1b[Ktop\x1b[9;9Hx\x1b]0;title\x07\n", true);
    let screen = tmux.wait_for(|screen| screen.contains("code 0"));
    assert!(screen.starts_with("top\na 2\nb 2\n"), "{screen}");
    tmux.assert_restored();
}

#[test]
fn a_log_reaches_nothing_above_its_start() {
    let tmux = shell();
    append(
        &tmux,
        "hostile",
        "\x1b[99A\x1b[1;1H\x1b[2Jfirst\n\x1b[?1049h\x1b[?25l\x1b[Hsecond\x1b[5S\x1b[5T\x1bc\n",
        true,
    );
    let screen = run(&tmux, "echo mine; t follow hostile --stream stdout; echo mine too");
    assert!(screen.starts_with("mine\n") && screen.trim_end().ends_with("mine too"), "{screen}");
    tmux.assert_restored();
}

#[test]
fn matches_and_names_fit_a_terminal() {
    let tmux = shell();
    append(&tmux, "t", "one\n\x1b[31mtwo\x1b[0m\n10%\r20%\n", true);
    let screen = run(&tmux, "t follow t --grep '2|two' --prefix always");
    assert_eq!(screen.trim_end(), "t | two\nt | 20%");
    let table = run(&tmux, "t list");
    assert!(table.lines().count() >= 2 && table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn a_watched_list_is_updated_and_the_screen_restored() {
    let tmux = shell();
    append(&tmux, "early", "x\n", false);
    tmux.keys(&["clear; echo before; t list --watch; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("TASK") && screen.contains("early"));
    append(&tmux, "late", "x\n", true);
    tmux.wait_for(|screen| screen.contains("late") && screen.contains("completed"));
    tmux.keys(&["C-c"]);
    let screen = tmux.wait_for(|screen| screen.contains("code 130"));
    assert!(screen.starts_with("before\n") && screen.contains(PROMPT), "{screen}");
    tmux.assert_restored();
}

#[test]
fn removal_is_confirmed() {
    let tmux = shell();
    append(&tmux, "old", "x\n", true);
    for (answer, left) in [("n", true), ("y", false)] {
        tmux.keys(&["clear; t rm --status completed; echo code $?", "Enter"]);
        tmux.wait_for(|screen| screen.contains("delete 1 task") && screen.contains("[y/N]"));
        tmux.keys(&[answer, "Enter"]);
        tmux.wait_for(|screen| screen.contains("code "));
        assert_eq!(run(&tmux, "t list").contains("old"), left, "{answer}");
    }
}

#[test]
fn the_end_of_a_command_is_announced_on_a_terminal_only() {
    let tmux = shell();
    // `script` gives a terminal and keeps what was written to it.
    run(
        &tmux,
        &format!("script -qec '{} run -q --notify --task n -- sh -c \"exit 3\"' typescript > /dev/null", binary()),
    );
    let written = std::fs::read_to_string(tmux.folder.path().join("typescript")).unwrap();
    for sequence in
        ["\x1b]9;sh -c 'exit 3': exit code 3 after ", "\x1b]777;notify;sh -c 'exit 3';exit code 3 after ", "\x07\x07"]
    {
        assert!(written.contains(sequence), "{sequence:?}: {written:?}");
    }
    run(&tmux, "t run -q --notify --task n -- true 2> errors");
    assert!(!std::fs::read_to_string(tmux.folder.path().join("errors")).unwrap().contains('\x1b'));
}
