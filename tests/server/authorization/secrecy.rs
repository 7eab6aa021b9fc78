//! A token is in no trace, no error and no output but the one that shows it, however it is used.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use crate::support::{Home, finish, signal, wait};

/// What one request gets, whatever it is.
fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(crate::common::DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: &str, path: &str, header: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{header}\r\n\r\n"))
}

#[test]
fn no_token_appears_in_any_output() {
    let home = Home::new();
    let create = |name: &str, scope: &str| {
        let token = home.ok(&["token", "create", "--name", name, "--scope", scope]);
        assert_eq!(token.lines().count(), 1, "alone on stdout");
        token.trim_end().to_owned()
    };
    let (admin, reader, revoked) = (create("admin", "admin"), create("reader", "read"), create("gone", "admin"));
    home.ok(&["token", "revoke", "gone"]);
    let wrong = "tt_0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjk".to_owned();
    let log = home.path("server.log");
    let mut server = home.command(&["serve", "--resp", "127.0.0.1:0"]);
    server.env("TASKTAIL_LOG", "trace").stderr(File::create(&log).unwrap());
    let mut server = server.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut said = |prefix: &str| lines.next().unwrap().unwrap().strip_prefix(prefix).unwrap().to_owned();
    let (http, redis) = (said("listening on http://"), said("redis on redis://"));

    let mut told = String::new();
    for token in [&admin, &reader, &revoked, &wrong] {
        for header in [
            format!("authorization: Bearer {token}"),
            format!("token: {token}"),
            format!("authorization: Basic {token}"),
        ] {
            told += &get(&http, "/api/v1/tasks", &header);
            told += &get(&http, "/tasks/x", &header);
        }
        told += &get(&http, &format!("/api/v1/tasks?token={token}"), "accept: text/html");
        told += &get(&http, &format!("/?access_token={token}"), "accept: text/html");
        told += &get(&http, &format!("/nowhere?x={token}"), &format!("token: {token}x"));
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x";
        told += &get(&http, "/ws/v1/worker", &format!("{upgrade}\r\ntoken: {token}"));
        told += &exchange(
            &redis,
            &format!("AUTH {token}\r\nPING\r\nCLIENT LIST\r\nHELLO 3 AUTH default {token}\r\nQUIT\r\n"),
        );
        told += &exchange(&redis, &format!("AUTH default {token}\r\nCONFIG GET *\r\nACL WHOAMI\r\nINFO\r\nQUIT\r\n"));
    }
    assert!(told.contains("200 OK") && told.contains("+PONG") && told.contains("-WRONGPASS"), "it was used");

    let url = format!("http://{http}");
    let mut seen = 0;
    for (token, commands) in [(&admin, 9), (&reader, 4), (&revoked, 2), (&wrong, 2)] {
        let all = [
            &["run", "--task", "t", "--", "true"][..],
            &["list"],
            &["show", "t"],
            &["follow", "t", "--no-follow"],
            &["append", "--task", "u", "x"],
            &["end", "--task", "u", "--exit-code", "0"],
            &["export", "t", "-o", "-"],
            &["events", "tail", "--run", "r"],
            &["rm", "u"],
        ];
        for args in all.into_iter().take(commands) {
            let mut command: Command = home.command(args);
            command.env("TASKTAIL_LOG", "trace").env("TASKTAIL_URL", &url).env("TASKTAIL_TOKEN", token);
            let done = finish(command.spawn().unwrap());
            seen += usize::from(done.code == Some(0));
            told += &done.stdout;
            told += &done.stderr;
        }
    }
    assert!(seen >= 8, "the admin's commands went through: {seen}");
    told += &home.ok(&["token", "list"]);
    told += &home.ok(&["token", "list", "--json"]);
    signal(&server, "TERM");
    assert_eq!(wait(&mut server), Some(0));
    let traced = std::fs::read_to_string(&log).unwrap();
    assert!(traced.contains("TRACE") || traced.contains("DEBUG"), "it traces");
    assert!(traced.contains("access token rejected"), "{traced}");
    for token in [&admin, &reader, &revoked, &wrong] {
        // Not even most of it.
        for part in [&token[3..20], &token[20..40]] {
            for (place, text) in [("the server's trace", &traced), ("an answer or a command's output", &told)] {
                let line = text.lines().find(|line| line.contains(part));
                assert!(line.is_none(), "in {place}: {}", line.unwrap_or_default());
            }
        }
    }
}
