//! An ordinary playbook of real Ansible, without any event.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tasktail::dashboard::DashboardItem;

use crate::support::Scene;

/// What Ansible prints, both streams as one, as in a pipe of `2>&1`.
static PRINTED: LazyLock<String> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = root.join("target/ansible/venv/bin");
    let there = programs.join("ansible-playbook").exists();
    assert!(there, "there is no ansible-playbook in {}: scripts/test installs it", programs.display());
    let home = tempfile::tempdir().unwrap();
    let path = std::env::join_paths([programs.as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        // By its interpreter: the path in a script's first line has a limit.
        .arg(programs.join("python"))
        .arg(programs.join("ansible-playbook"))
        .args(["--inventory", "web1,db1,", "--connection", "local", "--forks", "1", "ordinary.yml"])
        .current_dir(root.join("tests/events/ansible"))
        .env_clear()
        .env("PATH", path)
        .env("LANG", "C.UTF-8")
        .env("HOME", home.path())
        .env("ANSIBLE_LOCAL_TEMP", home.path())
        .env("ANSIBLE_FORCE_COLOR", "1")
        .env("ANSIBLE_PYTHON_INTERPRETER", "auto_silent");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "a host fails: {text}");
    text
});

/// Returns what is printed before the first line that contains a text.
fn before(text: &str) -> &'static str {
    &PRINTED[..PRINTED.find(text).unwrap_or_else(|| panic!("no {text}: {}", *PRINTED))]
}

#[test]
fn the_screen_shows_the_play_the_task_and_each_host() {
    let mut scene = Scene::pipe();
    scene.text(before("TASK [Only on web1]"));
    let screen = scene.screen(100, 30);
    assert!(screen.contains("Playbook ⟳ running · Prepare hosts · task 1: Change something"), "{screen}");
    let head = screen.lines().find(|line| line.trim_start().starts_with("Host")).unwrap_or_else(|| panic!("{screen}"));
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["Host", "Play", "State", "Tasks", "Task"]);
    for host in ["web1", "db1"] {
        let row = screen.lines().find(|line| line.trim_start().starts_with(host)).unwrap_or_else(|| panic!("{screen}"));
        assert!(
            row.contains("Prepare hosts") && row.contains("⟳ running") && row.contains("Change something"),
            "{row}"
        );
    }
    let mut scene = Scene::pipe();
    scene.text(before("RUNNING HANDLER"));
    let screen = scene.screen(100, 30);
    let row = |host: &str| screen.lines().find(|line| line.trim_start().starts_with(host)).unwrap();
    assert!(row("web1").contains("⟳ running"), "an ignored failure: {screen}");
    assert!(row("db1").contains("✗ failed") && row("db1").contains("Check the disk"), "{screen}");
    assert!(screen.contains("Playbook ✗ failed · Prepare hosts · task 4: Ignored"), "{screen}");
}

#[test]
fn the_recap_is_the_last_screen() {
    let mut scene = Scene::pipe();
    scene.text(&PRINTED);
    scene.item(DashboardItem::End);
    let screen = scene.screen(120, 30);
    let row = |host: &str| screen.lines().find(|line| line.trim_start().starts_with(host)).unwrap();
    assert!(
        row("web1").contains("Deploy") && row("web1").contains("✓ done") && row("web1").contains("1 ignored"),
        "{screen}"
    );
    assert!(
        row("db1").contains("✗ failed") && row("db1").contains("Check the disk · 1 ok, 1 changed, 1 failed"),
        "{screen}"
    );
    assert!(screen.contains("Playbook ✗ failed") && !screen.contains("no events in"), "{screen}");
}

#[test]
fn the_exit_status_follows_the_recap() {
    for (text, code) in [(PRINTED.as_str(), 1), (&PRINTED.replace("failed=1", "failed=0"), 0)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
        command.args(["dashboard", "--exit", "--exit-status"]).env_remove("TASKTAIL_URL").env("TASKTAIL_LOG", "off");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            stderr.contains(if code == 1 { "the playbook failed on 1 host: db1" } else { "without a failed host" }),
            "{stderr}"
        );
    }
}
