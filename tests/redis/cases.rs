//! The fixed sequences, one test a file.

use crate::differences;
use crate::oracle::{Which, servers};
use crate::play::Play;
use crate::script::sequences;
use crate::wire::Protocol;

/// Name and text of each file.
const FILES: &[(&str, &str)] = &[
    ("ids", include_str!("cases/ids.txt")),
    ("xadd", include_str!("cases/xadd.txt")),
    ("range", include_str!("cases/range.txt")),
    ("read", include_str!("cases/read.txt")),
    ("trim", include_str!("cases/trim.txt")),
    ("info", include_str!("cases/info.txt")),
    ("keys", include_str!("cases/keys.txt")),
    ("expiry", include_str!("cases/expiry.txt")),
    ("multi", include_str!("cases/multi.txt")),
    ("connection", include_str!("cases/connection.txt")),
    ("groups", include_str!("cases/groups.txt")),
    ("blocked", include_str!("cases/blocked.txt")),
    ("texts", include_str!("cases/texts.txt")),
    ("databases", include_str!("cases/databases.txt")),
    ("strings", include_str!("cases/strings.txt")),
    ("hashes", include_str!("cases/hashes.txt")),
    ("lists", include_str!("cases/lists.txt")),
    ("types", include_str!("cases/types.txt")),
];

/// All sequences of all files in both protocols: each that differs is told, not only the first.
#[test]
fn every_reply_is_the_oracles() {
    let only = std::env::var("TASKTAIL_CASES").unwrap_or_default();
    let mut play = Play::new();
    let (mut commands, mut failures) = (0, Vec::new());
    for (file, text) in FILES.iter().filter(|(file, _)| only.is_empty() || only.split(',').any(|name| name == *file)) {
        for sequence in sequences(text) {
            for protocol in [Protocol::Resp2, Protocol::Resp3] {
                commands += sequence.steps.len();
                if let Err(error) = play.run_all(protocol, &sequence.steps) {
                    failures.push(format!("== {file}: {}\n{error}", sequence.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} sequences differ\n\n{}", failures.len(), failures.join("\n\n"));
    if only.is_empty() {
        assert!(commands > 2_000, "only {commands} commands were compared");
        assert_eq!(differences::never_seen(), [""; 0], "listed differences that no sequence shows");
    }
}

/// A field of `key:value` or `key=value` text.
fn names(text: &str, between: char) -> Vec<&str> {
    text.split([' ', '\r', '\n']).filter_map(|field| field.split_once(between)).map(|(name, _)| name).collect()
}

/// What is not compared byte for byte: ours says nothing under a name that clients do not know.
#[test]
fn info_and_client_list_use_field_names_of_redis() {
    let told: Vec<[String; 2]> = servers()
        .iter()
        .map(|server| {
            let mut client = server.connect();
            let mut ask = |args: &[&str]| {
                let frame = client.ask(args).unwrap();
                String::from_utf8_lossy(frame.text().unwrap_or_default()).into_owned()
            };
            [ask(&["INFO", "everything"]), ask(&["CLIENT", "LIST"])]
        })
        .collect();
    let [ours @ .., redis, valkey] = told.as_slice() else { panic!("two oracles") };
    for (which, between) in [(0, ':'), (1, '=')] {
        let known = [names(&redis[which], between), names(&valkey[which], between)].concat();
        for name in ours.iter().flat_map(|ours| names(&ours[which], between)) {
            assert!(known.contains(&name) || name.starts_with("tasktail_"), "no oracle has {name}");
        }
    }
    for ours in ours {
        for name in ["redis_version", "redis_mode", "blocked_clients", "connected_clients", "tcp_port"] {
            assert!(names(&ours[0], ':').contains(&name), "INFO without {name}: {}", ours[0]);
        }
        for name in ["id", "addr", "name", "age", "idle", "flags", "db", "cmd", "resp"] {
            assert!(names(&ours[1], '=').contains(&name), "CLIENT LIST without {name}: {}", ours[1]);
        }
    }
}

/// Newer than both oracles: after XDEL of the newest entry `+` is the last one that is there (Redis 8).
#[test]
fn plus_is_the_last_entry_that_is_there() {
    for server in servers().iter().filter(|server| server.which == Which::Ours) {
        let mut client = server.connect();
        let mut ask = |line: &str| client.ask(&line.split(' ').collect::<Vec<_>>()).unwrap().to_string();
        for id in ["1-1", "2-1", "3-1"] {
            ask(&format!("XADD k {id} f v"));
        }
        let last = |id: &str| format!(r"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n{id}\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
        assert_eq!(ask("XREAD COUNT 5 STREAMS k +"), last("3-1"));
        ask("XDEL k 3-1");
        assert_eq!(ask("XREAD STREAMS k +"), last("2-1"));
        ask("XDEL k 1-1 2-1");
        assert_eq!(ask("XREAD STREAMS k +"), r"*-1\r\n");
    }
}
