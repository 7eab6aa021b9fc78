use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::Timestamp;
use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{Channel, TaskId};
use crate::worker::Exit;
use crate::worker::shared::SharedBuffer;

const PEM: &str =
    "-----BEGIN PRIVATE KEY-----\nMIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0w\nawIBAQQg\n-----END PRIVATE KEY-----";

fn masks(secrets: &[&str]) -> Masks {
    let mut builder = MasksBuilder::default();
    for secret in secrets {
        builder.secret("a test", secret.as_bytes()).unwrap();
    }
    builder.build()
}

/// Returns the input masked, pushed in these pieces.
fn masked(masks: &Masks, pieces: &[&[u8]]) -> String {
    let mut masker = masks.masker().unwrap();
    let mut out = Vec::new();
    pieces.iter().for_each(|piece| masker.push(piece, &mut out));
    masker.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn masking_cases() {
    let cases: &[(&str, &[&str], &str, &str)] = &[
        ("plain", &["hunter22"], "pw=hunter22;", "pw=***;"),
        ("at the end without a newline", &["hunter22"], "pw hunter22", "pw ***"),
        ("twice in a row", &["hunter22"], "hunter22hunter22", "******"),
        ("begins like one", &["hunter22"], "hunter2\nhunter\n", "hunter2\nhunter\n"),
        ("begins like one, then is one", &["aab-aac"], "aab-aab-aac", "aab-***"),
        ("prefix of another", &["hunter22", "hunter22-prod"], "hunter22 hunter22-prod hunter22-pro", "*** *** ***-pro"),
        ("suffix of another", &["hunter22", "my-hunter22"], "my-hunter22 x-hunter22", "*** x-***"),
        ("inside another", &["bcde", "abcdefg"], "abcdefg abcdef", "*** a***f"),
        ("overlapping", &["abcdef", "defghi"], "abcdefghi", "***"),
        ("overlapping itself", &["abab"], "xabababx", "x***x"),
        ("several lines", &[PEM], &format!("key:\n{PEM}\nend"), "key:\n***\n***\n***\n***\nend"),
        ("CRLF", &[PEM], &format!("key:\r\n{}\r\nend", PEM.replace('\n', "\r\n")), "key:\r\n***\n***\n***\n***\r\nend"),
        ("given with CRLF", &["first line\r\nsecond"], "first line\nsecond", "***\n***"),
        ("a line end after it does not count", &["hunter22\n"], "hunter22.", "***."),
        ("its long line alone", &[PEM], "  MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0w  ", "  ***  "),
        ("its first line is ordinary", &[PEM], "-----BEGIN PRIVATE KEY-----\nx", "-----BEGIN PRIVATE KEY-----\nx"),
        ("percent-encoded", &["p@ss w/rd"], "p%40ss%20w%2Frd p%40ss+w%2frd p%40ss%20w/rd", "*** *** ***"),
        ("JSON", &["a\"b\\c\nd/é"], r#"{"k":"a\"b\\c\nd/é","l":"a\"b\\c\nd\/\u00e9"}"#, r#"{"k":"***","l":"***"}"#),
        ("base64 alone", &["hunter22"], "aHVudGVyMjI= aHVudGVyMjIK", "*** ***"),
        // `user:hunter22`, `me:hunter22`, `you:hunter22` and a following word.
        (
            "base64 at each place",
            &["hunter22"],
            "dXNlcjpodW50ZXIyMjo= bWU6aHVudGVyMjI6 eW91Omh1bnRlcjIyOg==",
            "dXNlcjp***jo= bWU6***I6 eW91Om***Og==",
        ),
        ("not UTF-8 around", &["hunter22"], "é\u{fffd}hunter22é", "é\u{fffd}***é"),
    ];
    for (name, secrets, input, wanted) in cases {
        let masks = masks(secrets);
        assert_eq!(masked(&masks, &[input.as_bytes()]), *wanted, "{name}");
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(masked(&masks, &bytes), *wanted, "{name}, byte by byte");
        for cut in 0..input.len() {
            let (head, tail) = input.as_bytes().split_at(cut);
            assert_eq!(masked(&masks, &[head, tail]), *wanted, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn only_possible_secrets_are_held_back() {
    let masks = masks(&["hunter22", PEM]);
    let mut masker = masks.masker().unwrap();
    let mut given = |input: &str| {
        let mut out = Vec::new();
        masker.push(input.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(given("50 % done, go on? "), "50 % done, go on? ");
    assert_eq!(given("oh hunt"), "oh ");
    assert_eq!(given("\n"), "hunt\n");
    assert_eq!(given("hunter22"), "***", "nothing goes on from it");
    assert_eq!(given("-----BEGIN PRIVATE KEY-----\n"), "", "its next line decides");
    assert_eq!(given("abc\n"), "-----BEGIN PRIVATE KEY-----\nabc\n");
}

#[test]
fn invalid_secrets_are_rejected_by_source() {
    let mut builder = MasksBuilder::default();
    let error = builder.secret("the environment variable PIN", b"\n12\n").unwrap_err().to_string();
    assert!(error.contains("PIN") && error.contains("4 bytes") && !error.contains("12"), "{error}");
    let error = builder.env("TASKTAIL_NO_SUCH_VARIABLE").unwrap_err().to_string();
    assert!(error.contains("TASKTAIL_NO_SUCH_VARIABLE") && error.contains("not set"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    let error = builder.file(&path).unwrap_err().to_string();
    assert!(error.contains("secrets"), "{error}");
    std::fs::write(&path, "first-one\n\nabc\n").unwrap();
    let error = builder.file(&path).unwrap_err().to_string();
    assert!(error.contains("line 3") && !error.contains("abc"), "{error}");
    let long = vec![b'x'; SECRETS_BYTES_MAX + 1];
    assert!(builder.secret("it", &long).unwrap_err().to_string().contains("exceed"));
    let shown = format!("{:?} {:?} {:?}", masks(&["hunter22"]), masks(&["hunter22"]).masker(), builder);
    assert!(!shown.contains("hunter") && !shown.contains("first"), "{shown}");
}

#[test]
fn a_file_has_one_secret_per_line_or_pem_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    std::fs::write(&path, format!("alpha one\r\n\n{PEM}\nbravo two")).unwrap();
    let mut builder = MasksBuilder::default();
    builder.file(&path).unwrap();
    let masks = builder.build();
    assert_eq!(masks.text("alpha one, bravo two, alpha"), "***, ***, alpha");
    assert_eq!(masks.text(PEM), "***\n***\n***\n***");
    assert_eq!(masks.text("awIBAQQg"), "awIBAQQg", "a short line of a key is not looked for alone");
}

/// Returns everything that leaves the worker, as lines of its messages.
fn sent(shared: &SharedBuffer) -> Vec<(Channel, String)> {
    let task: TaskId = "t".parse().unwrap();
    let mut lines = Vec::new();
    let mut seq = 0;
    while let Some(message) = shared.next_message(&task).unwrap() {
        let message: serde_json::Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        for line in message["lines"].as_array().into_iter().flatten() {
            seq += 1;
            lines.push((line["stream"].as_str().unwrap().parse().unwrap(), line["line"].as_str().unwrap().to_owned()));
        }
        shared.ack(seq);
    }
    lines
}

#[test]
fn a_secret_at_the_line_limit_is_masked() {
    for before in LINE_BYTES_MAX - 12..=LINE_BYTES_MAX + 1 {
        let shared = SharedBuffer::for_test(masks(&["correct-horse"]), 1 << 20);
        let text = format!("{}correct-horse{}\n", "x".repeat(before), "y".repeat(LINE_BYTES_MAX));
        shared.push_bytes(Channel::Stdout, text.as_bytes(), Timestamp::now());
        shared.finish(Exit::code(0), None);
        let all: String = sent(&shared).into_iter().map(|(_, text)| text).collect();
        assert_eq!(all, format!("{}***{}", "x".repeat(before), "y".repeat(LINE_BYTES_MAX)));
    }
}

#[test]
fn skipped_output_leaks_no_part_of_a_secret() {
    // Longer than the surviving tail: its end would appear there without its beginning.
    let secret: String = (0..9_000).map(|n| format!("{n:08x}")).collect();
    let shared = SharedBuffer::for_test(masks(&[&secret]), 1 << 20);
    let lines: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    let text = format!("{lines}{secret}{secret}\nlast");
    for piece in text.as_bytes().chunks(50_000) {
        shared.push_bytes(Channel::Stdout, piece, Timestamp::now());
    }
    assert!(shared.skipped_lines() > 0, "the log has overflowed");
    shared.finish(Exit::code(0), None);
    let lines = sent(&shared);
    assert!(lines.iter().all(|(_, text)| !text.contains("00001000")), "a part of the secret");
    let last: Vec<&str> = lines.iter().rev().take(2).map(|(_, text)| text.as_str()).collect();
    assert_eq!(last, ["last", "******"]);
}

#[test]
fn held_back_bytes_are_flushed_at_the_end() {
    let shared = SharedBuffer::for_test(masks(&["hunter22"]), 1 << 20);
    shared.push_bytes(Channel::Stdout, b"all but hunter2", Timestamp::now());
    shared.finish(Exit::code(0), Some("ended, hunter22".to_owned()));
    let wanted = [(Channel::Stdout, "all but hunter2".to_owned()), (Channel::Internal, "ended, ***".to_owned())];
    assert_eq!(sent(&shared), wanted);
}

/// Reference implementation of [`Masker`]: tries every form at every position and merges overlaps.
fn mask_naively(secrets: &[String], input: &[u8]) -> Vec<u8> {
    let all: BTreeSet<Vec<u8>> =
        secrets.iter().flat_map(|secret| forms::variants(forms::without_line_ends(secret.as_bytes()))).collect();
    let mut found: Vec<(usize, usize)> = Vec::new();
    for from in 0..input.len() {
        let longest = all.iter().filter(|form| input[from..].starts_with(form)).map(Vec::len).max();
        let Some(to) = longest.map(|length| from + length) else { continue };
        match found.last_mut() {
            Some(last) if last.1 > from => last.1 = last.1.max(to),
            _ => found.push((from, to)),
        }
    }
    let mut out = Vec::new();
    let mut at = 0;
    for (from, to) in found {
        out.extend_from_slice(&input[at..from]);
        out.extend_from_slice(b"***");
        input[from..to].iter().filter(|byte| **byte == b'\n').for_each(|_| out.extend_from_slice(b"\n***"));
        at = to;
    }
    out.extend_from_slice(&input[at..]);
    out
}

fn secret() -> impl Strategy<Value = String> {
    // A small alphabet: prefixes, overlaps and near misses are frequent.
    prop_oneof!["[ab]{4,9}", "[ab\n/ ]{6,12}", "[a-zA-Z0-9+]{8,20}", "[ab]{17,20}\n[ab]{17,20}"]
        .prop_filter("a secret of its own", |secret| forms::without_line_ends(secret.as_bytes()).len() >= 4)
}

proptest! {
    #[test]
    fn no_secret_is_stored_and_all_else_is_unchanged(
        secrets in prop::collection::vec(secret(), 1..4),
        pieces in prop::collection::vec((any::<bool>(), prop_oneof!["[ab\n]{0,6}", "[a-z \n]{0,30}"], any::<prop::sample::Index>(), any::<bool>()), 0..30),
        cuts in prop::collection::vec(1usize..9, 1..40),
    ) {
        let masks = masks(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        // Complete texts of both channels, with secrets among ordinary words.
        let mut whole = [Vec::new(), Vec::new()];
        for (stderr, text, which, with_secret) in &pieces {
            let text_and_secret = if *with_secret { format!("{text}{}", which.get(&secrets)) } else { text.clone() };
            whole[usize::from(*stderr)].extend_from_slice(text_and_secret.as_bytes());
        }
        let shared = SharedBuffer::for_test(masks, 1 << 20);
        let mut rest = [whole[0].as_slice(), whole[1].as_slice()];
        let mut cuts = cuts.iter().cycle();
        while !rest.iter().all(|rest| rest.is_empty()) {
            for (channel, rest) in [Channel::Stdout, Channel::Stderr].into_iter().zip(&mut rest) {
                let (piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                shared.push_bytes(channel, piece, Timestamp::now());
                *rest = later;
            }
        }
        shared.finish(Exit::code(0), None);
        let sent = sent(&shared);
        for (channel, whole) in [Channel::Stdout, Channel::Stderr].into_iter().zip(&whole) {
            let lines: Vec<&str> = sent.iter().filter(|(of, _)| *of == channel).map(|(_, text)| text.as_str()).collect();
            let joined = lines.join("\n");
            let wanted = String::from_utf8(mask_naively(&secrets, whole)).unwrap();
            prop_assert_eq!(joined.as_str(), wanted.strip_suffix('\n').unwrap_or(&wanted));
            for secret in &secrets {
                let secret = std::str::from_utf8(forms::without_line_ends(secret.as_bytes())).unwrap();
                prop_assert!(!joined.contains(secret));
            }
        }
    }
}
