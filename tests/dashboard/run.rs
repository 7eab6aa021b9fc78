//! `run` in a real terminal: the command has a terminal of its own, and every key works as without tasktail.

use crate::terminal::{PROMPT, Tmux, binary};

/// A terminal whose shell knows `t` as `tasktail run`, in a home of its own.
fn shell() -> Tmux {
    let tmux = Tmux::start();
    let home = tmux.folder.path().display();
    let set = format!("cd {home}; export HOME={home} TASKTAIL_LISTEN=127.0.0.1:0; unset TASKTAIL_URL XDG_STATE_HOME");
    tmux.keys(&[&format!("{set}; t() {{ {} run -q \"$@\"; }}; clear; echo set", binary()), "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("set\n"));
    tmux
}

fn file(tmux: &Tmux, name: &str) -> String {
    std::fs::read_to_string(tmux.folder.path().join(name)).unwrap_or_default()
}

#[test]
fn a_terminal_is_allocated_only_if_stdout_is_one() {
    let tmux = shell();
    let script = "test -t 1 && echo terminal || echo pipe; echo $TERM; stty size; echo error >&2";
    tmux.keys(&[&format!("clear; t -- sh -c '{script}'; echo code $?"), "Enter"]);
    tmux.wait_for(|screen| screen.contains("\ncode 0"));
    assert!(tmux.screen().starts_with("terminal\nscreen-256color\n24 80\nerror\ncode 0"), "{}", tmux.screen());
    tmux.keys(&[&format!("clear; t -- sh -c '{script}' > out 2> err; echo code $?"), "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("code 0"));
    assert!(file(&tmux, "out").starts_with("pipe\n"), "{}", file(&tmux, "out"));
    // Only stderr goes elsewhere: the two stay apart.
    tmux.keys(&["clear; t -- sh -c 'test -t 1 && echo terminal; echo error >&2' 2> err; echo code $?", "Enter"]);
    let screen = tmux.wait_for(|screen| screen.contains("code 0"));
    assert!(screen.starts_with("terminal\ncode 0") && file(&tmux, "err").contains("error\n"), "{screen}");
    tmux.assert_restored();
}

#[test]
fn ctrl_c_and_ctrl_d_reach_the_command() {
    let tmux = shell();
    tmux.keys(&["clear; t -- sh -c 'echo begun; exec sleep 100'; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("begun"));
    tmux.keys(&["C-c"]);
    tmux.wait_for(|screen| screen.contains("code 130"));
    tmux.keys(&["clear; t -- sh -c 'echo waiting; cat; echo end of input'; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("waiting"));
    tmux.keys(&["some text", "Enter", "C-d"]);
    let screen = tmux.wait_for(|screen| screen.contains("code 0"));
    assert!(screen.starts_with("waiting\nsome text\nsome text\nend of input\ncode 0"), "{screen}");
    tmux.keys(&["clear; t -- bash -c 'read -p \"name? \" n; echo \"[$n]\"'; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("name?"));
    tmux.keys(&["me", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("name? me\n[me]\ncode 0"));
    tmux.assert_restored();
}

#[test]
fn ctrl_z_stops_and_fg_and_bg_continue() {
    let tmux = shell();
    tmux.keys(&["clear; t --task z -- sh -c 'echo begun; read x; echo got $x; exit 3'", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("begun"));
    tmux.keys(&["C-z"]);
    tmux.wait_for(|screen| screen.contains("Stopped") && screen.trim_end().ends_with(PROMPT));
    tmux.keys(&["clear; echo the shell reads", "Enter"]);
    tmux.wait_for(|screen| screen.contains("\nthe shell reads") || screen.starts_with("the shell reads"));
    tmux.keys(&["fg; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.contains("code $?\n"));
    tmux.keys(&["hello", "Enter"]);
    tmux.wait_for(|screen| screen.contains("got hello\ncode 3"));
    tmux.assert_restored();
    // In the background it runs on, and no key is taken from the shell.
    let script = "echo begun; while [ ! -e go ]; do sleep 0.05; done; echo gone on";
    tmux.keys(&[&format!("clear; t -- sh -c '{script}'"), "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("begun"));
    tmux.keys(&["C-z"]);
    tmux.wait_for(|screen| screen.contains("Stopped") && screen.trim_end().ends_with(PROMPT));
    tmux.keys(&["bg", "Enter"]);
    tmux.keys(&["clear; touch go; echo touched", "Enter"]);
    tmux.wait_for(|screen| screen.contains("touched") && screen.contains("gone on"));
    tmux.keys(&["clear", "Enter"]);
    tmux.assert_restored();
}

#[test]
fn output_before_a_stop_is_shown_before_the_prompt() {
    let tmux = shell();
    for _ in 0..5 {
        tmux.keys(&["clear; t -- sh -c 'seq 2000; kill -TSTP $$; echo on'", "Enter"]);
        let screen = tmux.wait_for(|screen| screen.contains("Stopped") && screen.trim_end().ends_with(PROMPT));
        let rows: Vec<&str> = screen.lines().collect();
        let stopped = rows.iter().position(|row| row.contains("Stopped")).unwrap();
        assert!(rows[..stopped].contains(&"2000"), "{screen}");
        tmux.keys(&["clear; fg", "Enter"]);
        tmux.wait_for(|screen| screen.contains("\non\n"));
    }
}

#[test]
fn an_editor_and_a_pager_work() {
    let tmux = shell();
    tmux.keys(&["clear; seq 100 > numbers; t -- vim -u NONE -N numbers; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("1\n2\n") && screen.contains("\n23\n"));
    tmux.keys(&["ifirst ", "Escape", "C-z"]);
    tmux.wait_for(|screen| screen.contains("Stopped") && screen.trim_end().ends_with(PROMPT));
    tmux.assert_restored();
    tmux.keys(&["fg", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("first 1\n"));
    tmux.keys(&[":wq", "Enter"]);
    tmux.wait_for(|screen| screen.contains("code 0") || screen.trim_end().ends_with(PROMPT));
    assert!(file(&tmux, "numbers").starts_with("first 1\n2\n"));
    tmux.keys(&["clear; t -- less numbers; echo code $?", "Enter"]);
    tmux.wait_for(|screen| screen.starts_with("first 1\n2\n") && screen.contains("\n23\n"));
    tmux.keys(&["G"]);
    tmux.wait_for(|screen| screen.contains("100\n"));
    tmux.keys(&["q"]);
    tmux.wait_for(|screen| screen.contains("code 0"));
    tmux.assert_restored();
}
