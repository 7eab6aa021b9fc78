//! Commands that print an event are not events (kind K27); the wrappers of real logs are passed through.

use crate::extract::support::{Item, all, escaped, event, events};

/// Forms of a line that shows a command, with the event's line in place of `@`, as printed by real programs.
const COMMANDS: [&str; 22] = [
    "+ echo '@'",
    "+ echo @",
    "++ printf '%s\\n' '@'",
    "+ python3 -c 'print(\"@\")'",
    "+ msg='@'",
    "+zsh:1> echo '@'",
    "+ ./run.sh:3: emit '@'",
    "+ (run.sh:3): echo '@'",
    ">>> echo '@'",
    "3: echo '@'",
    "2026-11-30T10:00:00.000Z + emit '@'",
    "web-1  | + emit '@'",
    "\u{1b}[36;1m+ echo '@'\u{1b}[0m",
    "echo '@'",
    "\techo '@'",
    "RUN echo '@'",
    "#7 [3/5] RUN echo '@'",
    "Step 3/5 : RUN printf '%s\\n' '@'",
    "$ echo '@'",
    "    print('@')",
    "  console.log('@');",
    "\u{1b}[32;1m$ echo '@'\u{1b}[0;m",
];

/// Forms of a line of real output.
const WRAPPERS: [&str; 18] = [
    "@",
    "web-1  | @",
    "echo-1  | @",
    "     [echo] @",
    "2026-11-30T10:00:00.0000000Z @",
    "[2026-11-30T10:00:00.000Z] @",
    "00:00:12 @",
    "Nov 30 10:00:00 host runner[12]: @",
    "\u{1b}[36m@\u{1b}[0m",
    "  0 %\r100 %\r@",
    "@\r",
    "\u{1b}]0;title\u{7}@",
    "#7 0.234 @",
    "+build | @",
    "+@",
    "INFO[0001] @  source=console",
    "['@', 'x']",
    "b'@'",
];

fn line() -> String {
    format!("LB_EVENT {}", event("traced"))
}

#[test]
fn a_command_is_not_an_event_and_its_output_is() {
    for form in COMMANDS {
        let text = format!("{}\n{}\n", form.replace('@', &line()), line());
        let found = events(&text);
        assert!(found.len() == 1 && found[0].line == 2, "{form}: {:?}", all(&text));
        // The same in double quotes, and a broken one: neither is an event, and neither is rejected.
        let quoted = form.replace('\'', "\"").replace('@', &escaped(&line(), 1));
        assert!(matches!(&all(&quoted)[..], [Item::Text(..)]), "{quoted}: {:?}", all(&quoted));
        let broken = form.replace('@', "LB_EVENT {$x}");
        assert!(matches!(&all(&broken)[..], [Item::Text(..)]), "{broken}: {:?}", all(&broken));
    }
}

#[test]
fn every_wrapper_is_passed_through() {
    for form in WRAPPERS {
        let text = format!("{}\n", form.replace('@', &line()));
        assert_eq!(events(&text).len(), 1, "{form}: {:?}", all(&text));
    }
    for form in [r#"{"log":"@\n","stream":"stdout"}"#, r#"time="2026" level=info msg="@" source=console"#] {
        let text = form.replace('@', &escaped(&line(), 1));
        assert_eq!(events(&text).len(), 1, "{text}: {:?}", all(&text));
    }
}

#[test]
fn a_trace_in_a_json_string_is_not_an_event() {
    let trace = escaped(&format!("+ emit {0}\n{0}\n", line()), 1);
    for text in [format!(r#"{{"log":"{trace}"}}"#), format!("    \"stderr\": \"begin\\n{trace}\",\n")] {
        assert_eq!(events(&text).len(), 1, "{:?}", all(&text));
    }
}

/// A shell traces commands and prints their output: each event once.
#[test]
fn traces_of_real_shells_hold_every_event_once() {
    let script =
        format!("event='{0}'; echo '{0}'; printf '%s\\n' \"$event\"; for i in 1 2; do echo \"$event\"; done", line());
    let variants: [(&[&str], &str); 6] = [
        (&["bash", "-xc"], "+ "),
        (&["bash", "-xc"], "+ ${BASH_SOURCE}:${LINENO}: "),
        (&["bash", "-xc"], "++ [${LINENO}] > "),
        (&["bash", "-vc"], "+ "),
        (&["sh", "-xc"], "+ "),
        (&["sh", "-xc"], "+ $0: "),
    ];
    for (shell, prompt) in variants {
        let mut command = std::process::Command::new(shell[0]);
        let output = command.args(&shell[1..]).arg(format!("exec 2>&1; {script}")).env("PS4", prompt).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(events(&text).len(), 4, "{shell:?} {prompt}: {text}");
    }
}
