//! The `token` commands over a data folder, and how all other commands come by their token.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Home, Serve, finish, until};

fn rows(home: &Home) -> Vec<Value> {
    let text = home.ok(&["token", "list", "--json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let home = Home::new();
    let none = home.run(&["token", "list"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert!(none.stderr.contains("there are no tokens"), "{}", none.stderr);
    let made =
        home.run(&["token", "create", "--name", "ci", "--scope", "write", "--task", "build-*", "--expires", "30d"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.starts_with("tt_") && made.stdout.trim_end().len() == 55, "alone on stdout");
    assert!(made.stderr.contains("from now on everyone needs a token"), "{}", made.stderr);
    assert!(!made.stderr.contains("tt_"));
    home.ok(&["token", "create", "--name", "wall", "--scope", "read", "--task", "a-*", "--task", "b-*", "--run", "r?"]);
    let all = rows(&home);
    assert_eq!(
        (&all[0]["name"], &all[0]["scope"], &all[0]["status"]),
        (&"ci".into(), &"write".into(), &"active".into())
    );
    assert_eq!((&all[0]["tasks"], &all[0]["runs"]), (&serde_json::json!(["build-*"]), &serde_json::json!(["build-*"])));
    assert_eq!((&all[1]["tasks"], &all[1]["runs"]), (&serde_json::json!(["a-*", "b-*"]), &serde_json::json!(["r?"])));
    let table = home.ok(&["token", "list"]);
    assert!(table.starts_with("NAME  STATUS  SCOPE  TASKS") && table.contains("in 29d"), "{table}");
    assert_eq!(home.ok(&["token", "revoke", "ci"]), "ci\n");
    assert_eq!(rows(&home)[0]["status"], "revoked");
    for (args, why) in [
        (&["token", "create", "--name", "ci", "--scope", "read"][..], "names are never reused"),
        (&["token", "revoke", "nobody"], "no token named `nobody`"),
    ] {
        let done = home.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
    for args in [
        &["token", "create", "--name", "x", "--scope", "root"][..],
        &["token", "create", "--name", "x\n", "--scope", "read"],
        &["token", "create", "--name", "x", "--scope", "read", "--task", "[ab]"],
        &["token", "create", "--name", "x", "--scope", "read", "--expires", "soon"],
        &["token", "create", "--scope", "read"],
        &["--token", "tt_x", "list"],
    ] {
        assert_eq!(home.run(args).code, Some(2), "{args:?}");
    }
    std::fs::write(home.path(".local/state/tasktail/tokens.json"), "{}").unwrap();
    let broken = home.run(&["token", "list"]);
    assert_eq!(broken.code, Some(1));
    assert!(broken.stderr.contains("tokens.json") && broken.stderr.contains("cannot parse"), "{}", broken.stderr);
}

#[test]
fn processes_that_make_tokens_at_once_lose_none() {
    let home = Home::new();
    const PROCESSES: usize = 16;
    let children: Vec<_> = (0..PROCESSES)
        .map(|n| home.command(&["token", "create", "--name", &format!("t{n}"), "--scope", "read"]).spawn().unwrap())
        .collect();
    let tokens: std::collections::BTreeSet<String> = children
        .into_iter()
        .map(|child| {
            let done = finish(child);
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            done.stdout
        })
        .collect();
    assert_eq!(tokens.len(), PROCESSES);
    let names: std::collections::BTreeSet<String> =
        rows(&home).iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), PROCESSES, "{names:?}");
    let mode = std::fs::metadata(home.path(".local/state/tasktail/tokens.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn commands_send_the_configured_token() {
    let home = Home::new();
    let token = home.ok(&["token", "create", "--name", "ci", "--scope", "write", "--task", "build-*"]);
    let server = home.serve();
    let ask = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = home.command(args);
        command.env("TASKTAIL_URL", &server.url).envs(env.iter().copied());
        finish(command.spawn().unwrap())
    };
    let none = ask(&["list"], &[]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("TASKTAIL_TOKEN or --token-file"), "it says what to do: {}", none.stderr);
    let env = [("TASKTAIL_TOKEN", token.trim_end())];
    let run = ask(&["run", "--task", "build-1", "--", "sh", "-c", "echo hello; echo $TASKTAIL_TOKEN | wc -c"], &env);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout, "hello\n56\n", "who had it in the environment passes it on");
    assert!(ask(&["follow", "build-1", "--no-follow"], &env).stdout.starts_with("hello\n"));
    assert!(ask(&["list"], &env).stdout.contains("build-1"));
    let scope = ask(&["rm", "build-1"], &env);
    assert_eq!(scope.code, Some(1));
    assert!(scope.stderr.contains("scope `admin`"), "{}", scope.stderr);
    let hidden = ask(&["show", "deploy-1"], &env);
    assert!(hidden.stderr.contains("or the access token does not cover it"), "{}", hidden.stderr);
    // A file of its own, which its child does not get to see.
    let file = home.path("ci.token");
    std::fs::write(&file, &token).unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let path = file.to_str().unwrap();
    let script = "echo \"[$TASKTAIL_TOKEN]\"";
    let run = ask(&["--token-file", path, "run", "--task", "build-2", "--", "sh", "-c", script], &[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "[]\n"), "{}", run.stderr);
    assert!(run.stderr.contains("is readable by others"), "{}", run.stderr);
    assert!(!run.stderr.contains("rejected this worker"), "{}", run.stderr);
    mode(0o600);
    let run = ask(&["list"], &[("TASKTAIL_TOKEN_FILE", path)]);
    assert!(run.stdout.contains("build-2") && !run.stderr.contains("others"), "{}", run.stderr);
    let config = home.path(".config/tasktail/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(&config, format!("token = '{}'\n", token.trim_end())).unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    let listed = ask(&["list"], &[]);
    assert!(listed.stdout.contains("build-2") && listed.stderr.contains("config.toml"), "{}", listed.stderr);
    let bad = ask(&["list"], &[("TASKTAIL_TOKEN", "two words")]);
    assert!(bad.stderr.contains("TASKTAIL_TOKEN") && !bad.stderr.contains("two words"), "{}", bad.stderr);
    // When a token was used last is written beside the requests.
    until("its last use is written", || !rows(&home)[0]["last_used"].is_null());
}

#[test]
fn a_rejected_worker_reports_it_once_and_its_command_continues() {
    let home = Home::new();
    let token = home.ok(&["token", "create", "--name", "ci", "--scope", "write", "--task", "build-*"]);
    let server = home.serve();
    for (task, env, why) in [
        ("build-1", None, "no access token was given"),
        ("build-1", Some("tt_wrong"), "unknown access token"),
        ("deploy-1", Some(token.trim_end()), "task `deploy-1` not found"),
    ] {
        let mut command = home.command(&["run", "--task", task, "--", "sh", "-c", "echo out; exit 7"]);
        command.env("TASKTAIL_URL", &server.url);
        env.map(|token| command.env("TASKTAIL_TOKEN", token));
        let done = finish(command.spawn().unwrap());
        assert_eq!((done.code, done.stdout.as_str()), (Some(7), "out\n"), "{}", done.stderr);
        assert_eq!(done.stderr.matches("rejected this worker").count(), 1, "{}", done.stderr);
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
}

#[test]
fn the_owner_of_the_data_folder_needs_no_token() {
    let home = Home::new();
    home.ok(&["token", "create", "--name", "ci", "--scope", "read"]);
    let run = home.run(&["run", "--task", "t", "--", "echo", "hello"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "hello\n"), "{}", run.stderr);
    assert!(!run.stderr.contains("not in"), "{}", run.stderr);
    assert!(home.ok(&["list"]).contains("completed"));
    assert_eq!(home.ok(&["follow", "t", "--no-follow"]), "hello\n");
    home.ok(&["rm", "t"]);
    // Another process's server is another's.
    let server = Serve::start({
        let mut command = home.command(&["serve"]);
        command.stdin(Stdio::null());
        command
    });
    let mut command = home.command(&["list"]);
    command.env("TASKTAIL_URL", &server.url);
    assert_eq!(finish(command.spawn().unwrap()).code, Some(1));
}
