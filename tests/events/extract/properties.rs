//! Any message in any form comes out as it went in; any cutting gives the same; no bytes do harm.

use proptest::prelude::*;
use tasktail::model::Event;

use crate::extract::support::{Item, all, escaped, event, events, in_pieces, without_texts};

/// Lines that change what the lines behind them are part of, lines that go on, and events; most have
/// no host, and are of that of their result.
const LINES: &[&str] = &[
    "TASK [a] ***\n",
    "PLAY [b] ***\n",
    "RUNNING HANDLER [c] ***\n",
    "...ignoring\n",
    "\n",
    "ok: [h1] => {\n",
    "ok: [h2 -> other] => \n",
    "ok: [h3] => (item=x) => \n",
    "changed: [h4] => (item=a\n",
    "\u{1b}[0;32mok: [h5] => {\r\n",
    "failed: [h6] (item=x) => \n",
    "fatal: [h7]: FAILED! => {\n",
    "FAILED - RETRYING: [h8]: x\n",
    "[ERROR]: Task failed\n",
    "Origin: /p.yml:1:1\n",
    "3 - debug:\n",
    "any text\n",
    "    \"msg\": \"x\"\n",
    "    \"cmd\": \"x\",\n",
    "}\n",
    "    msg: 'open\n",
    "    cmd:\n",
    "    - |-\n",
    "    stdout: >-\n",
    "        closed'\n",
    "    \"open\n",
    "        LB_EVENT {\"workload\":\"w\",\"repetition\":1,\"status\":\"x\"}\n",
    "LB_EVENT {\"workload\":\"w\",\"repetition\":1,\"status\":\"x\"}\n",
    "LB_EVENT {\"host\":\"h\",\"workload\":\"w\",\"repetition\":1,\"status\":\"x\"}\n",
    "    \"msg\": \"LB_EVENT {\\\"workload\\\":\\\"w\\\",\\\"repetition\\\":1,\\\"status\\\":\\\"x\\\"}\"\n",
    "    msg: 'LB_EVENT {\"workload\":\"w\",\n",
    "        \"repetition\":1,\"status\":\"x\"}'\n",
    "ok: [h1] => (item=LB_EVENT {\"workload\":\"w\",\"repetition\":1,\"status\":\"x\"}) => {\n",
    "an LB_ of its own\n",
];

/// Texts of what hurts.
fn message() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z ]{1,12}",
        1 => Just("\"".to_owned()), 1 => Just("'".to_owned()), 1 => Just("\\".to_owned()), 1 => Just("{".to_owned()),
        1 => Just("}".to_owned()), 1 => Just("\n".to_owned()), 1 => Just("  ".to_owned()), 1 => Just("): => ".to_owned()),
        1 => Just("é日😀".to_owned()), 1 => Just("\u{1b}[0m".to_owned()), 1 => Just("LB_EVENT {\"".to_owned()),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// The text as a scalar of YAML in single quotes, folded as Ansible does it.
fn single_quoted(text: &str) -> String {
    let (mut out, mut column) = (String::from("    msg: '"), 10);
    let words: Vec<&str> = text.split(' ').collect();
    for (at, word) in words.iter().enumerate() {
        let lone = at > 0 && at + 1 < words.len() && !word.is_empty() && !words[at - 1].is_empty();
        if lone && column > 60 {
            out.push_str("\n        ");
            column = 8;
        } else if at > 0 {
            out.push(' ');
        }
        out.push_str(&word.replace('\'', "''"));
        column += word.len() + 1;
    }
    out + "'\n"
}

/// The same in double quotes, where a fold before a space is written with a backslash.
fn double_quoted(text: &str) -> String {
    let mut out = String::from("    - \"");
    for (at, c) in escaped(text, 1).chars().enumerate() {
        match c {
            ' ' if at % 7 == 3 => out.push_str("\\\n      \\ "),
            c if !c.is_ascii() => out.extend([format!("\\U{:08X}", u32::from(c))]),
            c => out.push(c),
        }
    }
    out + "\"\n"
}

fn wrapped(line: &str) -> [String; 9] {
    let item = format!("ok: [h1] => (item={line}) => ");
    [
        format!("{line}\n"),
        format!("noise {line} noise\r\n"),
        format!("    \"msg\": \"{}\"\n", escaped(line, 1)),
        format!("x: \"{}\", \"y\"\n", escaped(line, 2)),
        format!("\"{}\"\n", escaped(line, 3)),
        format!("{item}{{\n    \"msg\": \"{}\"\n}}\n", escaped(line, 1)),
        format!("{item}\n{}", single_quoted(line)),
        format!("ok: [h1] => \n    k:\n{}", double_quoted(line)),
        format!(
            "ok: [h1] => {{\"stdout\": \"{0}\", \"stdout_lines\": [\"{0}\"], \"msg\": \"{0}\"}}\n",
            escaped(line, 1)
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_in_any_form_is_the_same(message in message(), compact in any::<bool>()) {
        let mut text = event(&message);
        if compact {
            text = Event::parse(&text).unwrap().to_string();
        }
        for wrapped in wrapped(&format!("LB_EVENT {text}")) {
            let found = events(&wrapped);
            prop_assert_eq!(found.len(), 1, "{}: {:?}", &wrapped, &found);
            prop_assert_eq!(&found[0].event, &Event::parse(&text).unwrap(), "{}", &wrapped);
        }
    }

    #[test]
    fn any_cutting_gives_the_same(
        messages in prop::collection::vec((message(), 0..9usize, any::<bool>()), 1..6),
        cuts in prop::collection::vec(1..200usize, 1..20),
    ) {
        let mut text = Vec::new();
        for (message, form, whole) in messages {
            let wrapped = &wrapped(&format!("LB_EVENT {}", event(&message)))[form];
            let length = if whole { wrapped.len() } else { wrapped.len() * 2 / 3 };
            text.extend_from_slice(&wrapped.as_bytes()[..length]);
        }
        let mut rest = &text[..];
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        prop_assert_eq!(in_pieces(pieces, Some("h")), in_pieces([&text[..]], Some("h")));
    }

    #[test]
    fn what_is_found_does_not_depend_on_whether_lines_are_asked_for(
        // Few different ones, so that they meet.
        lines in prop::collection::vec(prop::sample::select(LINES), 1..8)
            .prop_flat_map(|few| prop::collection::vec(prop::sample::select(few), 0..60)),
        size in prop_oneof![1..100usize, Just(1 << 16)],
    ) {
        let text = lines.concat().into_bytes();
        let mut found = in_pieces(text.chunks(size), None);
        found.retain(|item| !matches!(item, Item::Text(..)));
        prop_assert_eq!(without_texts(text.chunks(size), None), found, "{}", lines.concat());
    }

    #[test]
    fn no_bytes_do_harm_and_no_line_is_lost(
        pieces in prop::collection::vec(prop_oneof![
            Just(b"LB_EVENT {".to_vec()), Just(b"\n".to_vec()), Just(b"\n    msg: '".to_vec()), Just(b"ok: [h] => ".to_vec()),
            Just(b"(item=".to_vec()), Just(b"\\\"".to_vec()), Just(b"    - |-\n".to_vec()), Just(b"\x1b[".to_vec()),
            Just(b"[ERROR]: x\nOrigin: y\n1 ".to_vec()), Just(b"    ".to_vec()),
            prop::collection::vec(any::<u8>(), 0..20),
        ], 0..40),
        size in 1..50usize,
    ) {
        let text = pieces.concat();
        let items = in_pieces(text.chunks(size), None);
        prop_assert_eq!(&items, &in_pieces([&text[..]], None));
        let lines = text.split(|byte| *byte == b'\n').count() as u64;
        let quiet = !text.windows(3).any(|part| part == b"LB_");
        if quiet {
            let ends = u64::from(text.is_empty() || text.ends_with(b"\n"));
            prop_assert_eq!(items.len() as u64, lines - ends);
        }
    }
}

#[test]
fn lines_that_are_passed_over_end_a_failures_report() {
    let event = "LB_EVENT {\"host\":\"h\",\"workload\":\"w\",\"repetition\":1,\"status\":\"x\"}\n";
    for (between, again) in [("", true), ("TASK [a] ***\n", false), ("ok: [h1] => \n", false)] {
        let text = format!("[ERROR]: Task failed\n{event}{between}failed: [h] => \n    msg: x\n    {event}");
        for items in [without_texts([text.as_bytes()], None), in_pieces([text.as_bytes()], None)] {
            assert_eq!(items.iter().any(|item| matches!(item, Item::Echo(..))), again, "{text}: {items:?}");
        }
    }
}

#[test]
fn the_helper_folds_as_a_dump_does() {
    let text = format!("LB_EVENT {}", event("it's a text of many words that is long enough to be folded here"));
    let folded = single_quoted(&text);
    assert!(folded.lines().count() > 1 && folded.contains("''"), "{folded}");
    assert!(matches!(&all(&format!("ok: [h] => \n{folded}"))[..], [Item::Text(1, _), Item::Event(_)]));
}

#[test]
fn the_fuzzers_corpus_is_the_same_in_any_pieces() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/extract");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let whole = in_pieces([&text[..]], None);
        for size in 1..text.len() {
            assert_eq!(in_pieces(text.chunks(size), None), whole, "{} in pieces of {size}", path.display());
        }
        found += usize::from(whole.iter().any(|item| matches!(item, Item::Event(_))));
    }
    assert!(found >= 6, "events in {found} files");
}
