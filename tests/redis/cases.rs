//! The fixed sequences, one test a file.

use crate::differences;
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
