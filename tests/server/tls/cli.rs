//! The commands against a server with TLS, end to end.

use crate::support::{Done, Home, Serve};
use crate::tls::certs::{Authority, Folder};

/// A server with TLS over the home's data folder.
fn serve(home: &Home, folder: &Folder) -> Serve {
    let args = folder.args();
    let mut all = vec!["serve"];
    all.extend(args.iter().map(String::as_str));
    Serve::start(home.command(&all))
}

fn ok(done: Done) -> Done {
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    done
}

#[test]
fn every_command_supports_https() {
    let (home, elsewhere, folder) = (Home::new(), Home::new(), Folder::usual());
    let server = serve(&home, &folder);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    let ca = folder.path("ca.pem");
    let ask = |args: &[&str]| {
        let mut all = vec!["--url", &server.url, "--ca-file", ca.to_str().unwrap()];
        all.extend(args);
        elsewhere.run(&all)
    };
    // The command's own `tasktail append` finds the way too.
    let script = format!("echo one; {} append two; echo three >&2", env!("CARGO_BIN_EXE_tasktail"));
    let done = ok(ask(&["run", "--task", "t", "--", "sh", "-c", &script]));
    assert!(done.stderr.contains(&format!("watch: {}/tasks/t", server.url)), "{}", done.stderr);
    assert!(!done.stderr.contains("connection"), "{}", done.stderr);
    let followed = ok(ask(&["follow", "t", "--stream", "stdout"]));
    let mut lines: Vec<&str> = followed.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "two"]);
    assert!(ok(ask(&["list"])).stdout.contains("completed"));
    ok(ask(&["export", "t", "-o", "-"]));
    ok(ask(&["doctor"]));
    // By the environment.
    let mut command = elsewhere.command(&["show", "t"]);
    command.env("TASKTAIL_URL", &server.url).env("TASKTAIL_CA_FILE", &ca);
    ok(crate::support::finish(command.spawn().unwrap()));
}

#[test]
fn commands_on_its_machine_find_it_and_believe_it() {
    let home = Home::new();
    // Neither an authority of this machine, nor a name under which it is reached.
    let folder = Folder::new(&Authority::new().sign(&["logs.example"]), "");
    let server = serve(&home, &folder);
    let script = format!("{0} append one; {0} append two", env!("CARGO_BIN_EXE_tasktail"));
    let done = ok(home.run(&["run", "--task", "t", "--", "sh", "-c", &script]));
    assert!(done.stderr.contains(&format!("watch: {}/tasks/t", server.url)), "{}", done.stderr);
    assert_eq!(ok(home.run(&["follow", "t", "--stream", "stdout"])).stdout, "one\ntwo\n");
    let data = home.path(".local/state/tasktail");
    assert!(data.join("server.pem").exists());
    drop(server);
    assert!(!data.join("server.pem").exists() && !data.join("server.json").exists());
}

#[test]
fn tls_mismatches_are_reported() {
    let (home, folder) = (Home::new(), Folder::usual());
    let server = serve(&home, &folder);
    let elsewhere = Home::new();
    let done = elsewhere.run(&["--url", &server.url, "list"]);
    assert!(done.code == Some(1) && done.stderr.contains("pass its certificate"), "{}", done.stderr);
    let plain = server.url.replace("https", "http");
    let done = elsewhere.run(&["--url", &plain, "list"]);
    assert!(done.code == Some(1) && done.stderr.contains("this port requires HTTPS"), "{}", done.stderr);
    let done = elsewhere.run(&["--url", &plain, "run", "--", "true"]);
    assert!(done.code == Some(0) && done.stderr.contains("this port requires HTTPS"), "{}", done.stderr);
    let cert = folder.path("cert.pem");
    let done = home.run(&["serve", "--tls-cert", cert.to_str().unwrap()]);
    assert!(done.code == Some(2) && done.stderr.contains("--tls-key FILE"), "{}", done.stderr);
    let done = home.run(&["serve", "--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"]);
    assert!(done.code == Some(1) && done.stderr.contains("cannot read /nowhere/cert.pem"), "{}", done.stderr);
}
