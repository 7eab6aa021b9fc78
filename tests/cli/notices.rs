//! Rules of notices in the settings file, with real receivers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};

use crate::support::{Home, LIMIT, Serve, finish, lines_of, signal, until};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A request that a receiver got.
struct Received {
    path: String,
    headers: Vec<(String, String)>,
    text: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("no {name}"), |(_, value)| value)
    }

    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// Verifies the signature as the specification of Standard Webhooks describes it.
    fn is_signed(&self) -> bool {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.text).as_bytes(),
        );
        self.header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A receiver of webhooks.
struct Receiver {
    url: String,
    received: mpsc::Receiver<Received>,
}

impl Receiver {
    /// Starts a receiver that answers with these statuses, then with the last of them; 0 is no answer.
    fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = mpsc::channel();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for (at, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let status = statuses[at.min(statuses.len() - 1)];
                let request = read(&stream);
                if status == 0 {
                    silent.push(stream);
                } else {
                    write!(&stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
                }
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { url, received }
    }

    fn next(&self) -> Received {
        self.received.recv_timeout(LIMIT).expect("a notice")
    }

    fn is_idle(&self) -> bool {
        self.received.try_recv().is_err()
    }
}

fn read(stream: &TcpStream) -> Received {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").unwrap().1.parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Received { path, headers, text: String::from_utf8(body).unwrap() }
}

/// Writes the settings file of this home.
fn settings(home: &Home, text: &str) {
    std::fs::create_dir_all(home.path(".config/tasktail")).unwrap();
    std::fs::write(home.path(".config/tasktail/config.toml"), text).unwrap();
    std::fs::write(home.path("secret"), SECRET).unwrap();
}

/// Returns a rule that calls the receiver.
fn rule(home: &Home, name: &str, condition: &str, receiver: &Receiver) -> String {
    let secret = home.path("secret").display().to_string();
    let url = &receiver.url;
    format!("[[notify]]\nname = '{name}'\n{condition}\nwebhook = '{url}/hook?key=1'\nsecret_file = '{secret}'\n")
}

/// Returns the value of a metric.
fn metric(serve: &Serve, name: &str) -> u64 {
    let url = format!("{}/metrics", serve.url);
    let output = std::process::Command::new("curl").args(["-sf", &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_failed_task_is_reported_once_signed_and_again_after_a_failure() {
    let home = Home::new();
    let receiver = Receiver::start(&[503, 204]);
    let condition = "status = 'failed'\ntasks = 'night*'\nlabels = ['branch=main']";
    settings(&home, &rule(&home, "main", condition, &receiver));
    let serve = home.serve();
    for (task, label, command) in [("night-1", "main", "true"), ("night-2", "dev", "false"), ("day", "main", "false")] {
        home.run(&["run", "-q", "--task", task, "--label", &format!("branch={label}"), "--", command]);
    }
    home.run(&["run", "-q", "--task", "night-3", "--label", "branch=main", "--", "sh", "-c", "exit 3"]);
    let (first, second) = (receiver.next(), receiver.next());
    let body = first.body();
    assert_eq!(
        (&body["rule"], &body["trigger"], &body["task"]["id"]),
        (&json!("main"), &json!("status"), &json!("night-3"))
    );
    assert_eq!((&body["task"]["exit_code"], first.path.as_str()), (&json!(3), "/hook?key=1"));
    assert_eq!(body["url"], format!("{}/tasks/night-3", serve.url));
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("night-3 failed with exit code 3 after "), "{text}");
    assert!(first.is_signed() && second.is_signed());
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.text, second.text);
    let delivered = r#"tasktail_notices_total{action="webhook",outcome="delivered"}"#;
    until("the delivery is counted", || metric(&serve, delivered) == 1);
    assert_eq!(metric(&serve, r#"tasktail_notice_retries_total{action="webhook"}"#), 1);
    assert!(receiver.is_idle(), "another notice");
}

#[test]
fn lines_silence_and_long_durations_are_reported_while_a_task_runs() {
    let home = Home::new();
    let receiver = Receiver::start(&[200]);
    let log = home.path("notices").display().to_string();
    let script = format!("tr -d '\\n' >>{log}; printf '\\n%s\\n' \"$TASKTAIL_NOTICE_TEXT\" >>{log}");
    let rules = [
        format!(
            "[[notify]]\nname = 'line'\npattern = 'disk .*full'\nignore_case = true\ncommand = ['sh', '-c', \"\"\"{script}\"\"\"]\n"
        ),
        rule(&home, "quiet", "silence = '1s'\ntasks = 'job'", &receiver),
        format!("[[notify]]\nname = 'slow'\nslower = 1.5\ntasks = 'job*'\nntfy = '{}/base/builds'\n", receiver.url),
    ];
    settings(&home, &rules.concat());
    let serve = home.serve();
    for n in 1..=3 {
        home.ok(&["run", "-q", "--task", &format!("job-{n}"), "--", "true"]);
    }
    let script = "read a; printf 'Disk \\033[1mis\\033[0m FULL\\n'; echo disk full; read b";
    let mut run =
        home.command(&["run", "-q", "--task", "job", "--", "sh", "-c", script]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = run.stdin.take().unwrap();
    let (mut quiet, mut slow) = (None, None);
    while quiet.is_none() || slow.is_none() {
        let received = receiver.next();
        let kept = if received.path == "/base" { &mut slow } else { &mut quiet };
        *kept = Some(received);
    }
    let quiet = quiet.unwrap().body();
    assert_eq!((&quiet["trigger"], &quiet["text"]), (&json!("silence"), &json!("job has had no output for 1.0 s")));
    assert_eq!(quiet["task"]["status"], "running");
    let slow = slow.unwrap().body();
    assert_eq!((&slow["topic"], &slow["title"], &slow["priority"]), (&json!("builds"), &json!("slow"), &json!(4)));
    assert!(slow["message"].as_str().unwrap().starts_with("job takes longer than 1.5 times its usual "), "{slow}");
    input.write_all(b"x\n").unwrap();
    // Silence begins again after a line.
    assert_eq!(receiver.next().body()["rule"], "quiet");
    let lines = || lines_of(&home.path("notices"));
    until("the command has run", || lines().len() == 2);
    let notice: Value = serde_json::from_str(&lines()[0]).unwrap();
    assert_eq!(notice["line"]["line"], "Disk is FULL");
    let n = notice["line"]["n"].as_u64().unwrap();
    assert_eq!(lines()[1], format!("job, line {n}: Disk is FULL"));
    assert_eq!(notice["url"], format!("{}/tasks/job#L{n}", serve.url));
    input.write_all(b"x\n").unwrap();
    assert_eq!(finish(run).code, Some(0));
    drop(serve);
    assert_eq!(lines().len(), 2, "the first line of a task alone");
}

#[test]
fn a_reload_changes_the_rules_and_keeps_them_if_they_are_wrong() {
    let home = Home::new();
    let (first, second) = (Receiver::start(&[200]), Receiver::start(&[200]));
    settings(&home, "");
    let serve = home.serve();
    home.run(&["run", "-q", "--task", "before", "--", "false"]);
    settings(&home, &rule(&home, "first", "status = 'failed'", &first));
    signal(&serve.child, "HUP");
    let fails_until = |receiver: &Receiver| {
        let mut received = None;
        until("the rule is in force", || {
            home.run(&["run", "-q", "--task", "t", "--", "false"]);
            received = receiver.received.try_recv().ok();
            received.is_some()
        });
        received.unwrap().body()
    };
    assert_eq!(fails_until(&first)["task"]["id"].as_str().unwrap().split('.').next(), Some("t"));
    settings(&home, &format!("{}\nslower = 2\n", rule(&home, "wrong", "status = 'failed'", &second)));
    signal(&serve.child, "HUP");
    settings(&home, &rule(&home, "second", "status = 'failed'", &second));
    signal(&serve.child, "HUP");
    assert_eq!(fails_until(&second)["rule"], "second");
}

#[test]
fn a_receiver_that_does_not_answer_delays_only_itself() {
    let home = Home::new();
    let (silent, good) = (Receiver::start(&[0]), Receiver::start(&[200]));
    let rules =
        [rule(&home, "silent", "status = 'completed'", &silent), rule(&home, "good", "status = 'completed'", &good)];
    settings(&home, &format!("notices_queued_max = 1\n{}", rules.concat()));
    let serve = home.serve();
    for n in 1..=4 {
        home.ok(&["run", "-q", "--task", &format!("t{n}"), "--", "true"]);
        assert_eq!(good.next().body()["task"]["id"], format!("t{n}"));
    }
    let dropped = r#"tasktail_notices_total{action="webhook",outcome="dropped"}"#;
    until("notices beyond the limit are dropped and counted", || metric(&serve, dropped) == 2);
    assert_eq!(metric(&serve, r#"tasktail_limit_reached_total{limit="notices_queued_max"}"#), 2);
}

#[test]
fn a_run_without_a_server_reports_before_it_exits() {
    let home = Home::new();
    let receiver = Receiver::start(&[200]);
    settings(&home, &rule(&home, "mine", "status = ['failed', 'aborted']", &receiver));
    let done = home.run(&["run", "-q", "--task", "alone", "--", "sh", "-c", "exit 4"]);
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    let received = receiver.received.try_recv().expect("delivered before the exit");
    assert_eq!((&received.body()["task"]["exit_code"], received.is_signed()), (&json!(4), true));
}

#[test]
fn config_check_reports_every_faulty_rule_with_its_line() {
    let home = Home::new();
    let good = "[[notify]]\nname = 'a'\nstatus = 'failed'\ncommand = 'true'\n";
    settings(&home, good);
    home.ok(&["config", "check"]);
    let shown = home.ok(&["config", "show"]);
    assert!(shown.lines().last().unwrap().starts_with("notify ") && shown.contains("config.toml:1"), "{shown}");
    let wrong = [
        "[[notify]]\nname = 'b'\nstatsu = 'failed'\ncommand = 'true'\n",
        "[[notify]]\nname = 'a'\nsilence = '1m'\ncommand = 'true'\n",
        "[[notify]]\nname = 'c'\nslower = 2\nwebhook = 'http://127.0.0.1:1/x'\nsecret_file = '/nonexistent'\n",
    ];
    settings(&home, &format!("worker_grace = '1m'\n{good}{}", wrong.concat()));
    let done = home.run(&["config", "check"]);
    assert_eq!(done.code, Some(1));
    for wanted in [
        "config.toml:6: `notify`: rule `b`: `statsu` is no key of a rule; did you mean `status`?",
        "config.toml:10: `notify`: rule `a`: `name`: another rule is called `a`",
        "config.toml:14: `notify`: rule `c`: cannot use /nonexistent: ",
    ] {
        assert!(done.stdout.contains(wanted), "{wanted}\n{}", done.stdout);
    }
    assert_eq!(done.stdout.lines().count(), 3, "{}", done.stdout);
    assert_eq!(home.run(&["serve"]).code, Some(1));
}
