//! What is refused at the start, and what `--insecure` lets through. Nothing here listens on an
//! address that another machine could reach: that happens in a network of the test's own.

use std::process::{Command, Stdio};

use crate::support::{Done, Home, finish};

/// What `serve` says that does not start.
fn refused(home: &Home, args: &[&str]) -> String {
    let mut all = vec!["serve"];
    all.extend(args);
    let Done { code, stdout, stderr } = home.run(&all);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    last.to_owned()
}

#[test]
fn a_public_address_without_tokens_is_rejected_with_the_remedy() {
    let home = Home::new();
    let token = "create a token (`tasktail token create --scope admin --name NAME --data";
    let certificate = "provide a certificate (--tls-cert FILE --tls-key FILE)";
    for args in [&["--listen", "0.0.0.0:0"][..], &["--listen", "[::]:0"], &["--resp", "0.0.0.0:0"]] {
        let said = refused(&home, args);
        let start = format!("refusing to listen on {} without access tokens and without TLS: {token}", args[1]);
        assert!(said.contains(&start) && said.contains(certificate) && said.contains("--insecure"), "{said}");
    }
    // A token that nobody can use guards nothing.
    home.ok(&["token", "create", "--scope", "admin", "--name", "old"]);
    home.ok(&["token", "revoke", "old"]);
    assert!(refused(&home, &["--listen", "0.0.0.0:0"]).contains(token));
    home.ok(&["token", "create", "--scope", "admin", "--name", "new"]);
    let said = refused(&home, &["--listen", "0.0.0.0:0"]);
    assert!(said.contains("listen on 0.0.0.0:0 without TLS: provide a certificate") && !said.contains(token), "{said}");
    let other = Home::new();
    let said = refused(&other, &["--public-url", "https://logs.example"]);
    assert!(
        said.contains("refusing to be reached at https://logs.example (public_url) without access tokens"),
        "{said}"
    );
    let said = refused(&other, &["--listen", "no-such-host.invalid:0"]);
    assert!(said.contains("cannot listen on no-such-host.invalid:0"), "{said}");
}

/// Runs a script in a network that has nothing but its own loopback; `None` where the system allows none.
fn in_own_network(home: &Home, script: &str) -> Option<String> {
    let may = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
    if !may.is_ok_and(|done| done.status.success()) {
        return None;
    }
    let mut command = home.command(&[]);
    let variables: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    let folder = command.get_current_dir().unwrap().to_owned();
    command = Command::new("unshare");
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["-rn", "sh", "-eu", "-c", script]).current_dir(folder).env("BIN", env!("CARGO_BIN_EXE_tasktail"));
    let done = finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    Some(format!("{}\n{}", done.stdout, done.stderr))
}

#[test]
fn insecure_serves_without_tokens_and_warns_everywhere() {
    let script = r#"
        ip link set lo up
        $BIN serve --listen 0.0.0.0:7117 --insecure &
        server=$!
        curl -sS --retry 100 --retry-delay 1 --retry-max-time 50 --retry-connrefused http://127.0.0.1:7117/readyz
        curl -sS http://127.0.0.1:7117/api/v1/access
        curl -sS http://127.0.0.1:7117/metrics | grep '^tasktail_insecure'
        curl -sS -H 'Host: evil.example' http://127.0.0.1:7117/readyz
        curl -sS -H 'Host: 192.0.2.1:7117' http://127.0.0.1:7117/api/v1/tasks
        kill $server
        wait $server
    "#;
    let Some(said) = in_own_network(&Home::new(), script) else { return };
    let warning =
        "0.0.0.0:7117 is served without access tokens and without TLS (--insecure): anyone who can reach it can read";
    assert!(said.contains("listening on http://0.0.0.0:7117"), "{said}");
    assert!(said.contains(&format!(r#""insecure":["{warning}"#)), "/readyz: {said}");
    assert!(said.contains(&format!(r#""exposed":["{warning}"#)), "for the pages: {said}");
    assert!(said.contains("tasktail_insecure 1"), "/metrics: {said}");
    assert!(said.lines().any(|line| line.contains("WARN") && line.contains(warning)), "at the start: {said}");
    assert!(said.contains("bad_host") && said.contains(r#""tasks":[]"#), "{said}");
}
