use proptest::prelude::*;

use super::*;

fn split(chunks: &[&[u8]], bytes_max: usize) -> Vec<SplitLine> {
    let mut splitter = LineSplitter::new(bytes_max);
    let mut lines = Vec::new();
    for chunk in chunks {
        let mut input = *chunk;
        while let Some(line) = splitter.next_line(&mut input) {
            lines.push(line);
        }
    }
    lines.extend(std::iter::from_fn(|| splitter.finish()));
    lines
}

fn texts(input: &[u8], bytes_max: usize) -> Vec<String> {
    split(&[input], bytes_max).into_iter().map(|line| line.text).collect()
}

#[test]
fn lines_end_at_newlines_and_carriage_returns_stay() {
    assert_eq!(texts(b"a\n\nb\r\n10%\r20%", 64), ["a", "", "b\r", "10%\r20%"]);
    assert_eq!(texts(b"", 64), [""; 0]);
    assert_eq!(texts(b"\n", 64), [""]);
}

#[test]
fn formats_1_12_chunk_borders_do_not_split_lines() {
    let line = "k6 remote: running (0m05.0s), 10/10 VUs, 48 complete and 0 interrupted iterations";
    let text = format!("{line}\n{line}\n");
    for cut in 0..text.len() {
        let (one, two) = text.as_bytes().split_at(cut);
        let lines: Vec<String> = split(&[one, two], 256).into_iter().map(|line| line.text).collect();
        assert_eq!(lines, [line, line], "cut at {cut}");
    }
}

#[test]
fn a_long_line_is_cut_at_the_limit_and_marked() {
    let lines = split(&[b"abcdefghij\nk"], 4);
    let seen: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.partial)).collect();
    assert_eq!(seen, [("abcd", true), ("efgh", true), ("ij", false), ("k", false)]);
    assert_eq!(texts(b"abcd\n", 4), ["abcd"], "exactly the limit is not cut");
}

#[test]
fn a_cut_never_splits_a_code_point() {
    assert_eq!(texts("abcé".as_bytes(), 4), ["ab", "cé"], "it could belong to the character before it");
    assert_eq!(texts("a😀😀".as_bytes(), 4), ["a", "😀", "😀"]);
}

#[test]
fn invalid_utf8_is_replaced_and_marked() {
    let lines = split(&[b"a\xffb\nc\0d\n\xc3\xa9\n"], 64);
    let seen: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.lossy)).collect();
    assert_eq!(seen, [("a\u{fffd}b", true), ("c\u{fffd}d", true), ("é", false)]);
}

#[test]
fn a_few_nul_bytes_are_replaced_and_many_are_counted() {
    let seen = |input: &[u8]| split(&[input], 64).into_iter().map(|l| (l.text, l.lossy, l.nuls)).collect::<Vec<_>>();
    let line = |text: &str, lossy, nuls| (text.to_owned(), lossy, nuls);
    assert_eq!(seen(b"A=1\0B=2\0"), [line("A=1\u{fffd}B=2\u{fffd}", true, 0)], "names that end with a NUL");
    let many = vec![0; 100_000];
    assert_eq!(seen(&[&many, &b"one\ntwo\n"[..]].concat()), [line("one", true, 100_000), line("two", false, 0)]);
    assert_eq!(seen(&[b"a", &*many, b"b\n"].concat()), [line("ab", true, 100_000)]);
    assert_eq!(seen(&[b"a\n", &*many].concat()), [line("a", false, 0), line("", true, 100_000)]);
    let note = split(&[&many, b"x"], 64).remove(0).nul_note();
    assert_eq!(note.as_deref(), Some("[100000 NUL bytes of the next line were left out]"));
}

#[test]
fn nul_bytes_take_no_memory() {
    let mut splitter = LineSplitter::default();
    let hole = vec![0; 1024 * 1024];
    for _ in 0..40 {
        assert_eq!(splitter.next_line(&mut hole.as_slice()), None);
    }
    assert_eq!(splitter.pending.capacity(), 0);
    let line = splitter.next_line(&mut &b"one\n"[..]).unwrap();
    assert_eq!((line.text.as_str(), line.nuls), ("one", 40 * 1024 * 1024));
}

fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
    let bytes = |unit: u16| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() };
    format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
}

#[test]
fn utf16_with_a_mark_is_decoded_wherever_it_begins() {
    let lines = ["Hello, wörld 😀", "", "完了しました", "中上\r", "end"];
    let text = lines.map(|line| format!("{line}\n")).concat();
    for big_endian in [false, true] {
        let encoded = utf16(&text, big_endian);
        assert_eq!(texts(&encoded, 64), lines);
        for cut in 0..encoded.len() {
            let (one, two) = encoded.split_at(cut);
            assert_eq!(split(&[one, two], 64), split(&[&encoded], 64), "cut at {cut}");
        }
        let twice = [b"before\n", &*encoded, &encoded, b"done\nTwo more lines\n"].concat();
        let wanted = [&["before"], &lines[..], &lines, &["done", "Two more lines"]].concat();
        assert_eq!(texts(&twice, 64), wanted, "big endian: {big_endian}");
        assert!(split(&[&twice], 64).iter().all(|line| !line.lossy));
        assert_eq!(texts(&utf16("no newline", big_endian), 64), ["no newline"]);
        assert_eq!(texts(&[&*encoded, b"exit 3"].concat(), 64).last().unwrap(), "exit 3");
    }
}

#[test]
fn damaged_utf16_is_replaced_and_marked() {
    let lines = split(&[b"\xff\xfea\0\x00\xd8b\0\n\0c\0\n\0\xe9"], 64);
    let seen: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.lossy)).collect();
    assert_eq!(seen, [("a\u{fffd}b", true), ("c", false), ("\u{fffd}", true)]);
}

#[test]
fn a_long_utf16_line_is_cut_at_the_limit() {
    for big_endian in [false, true] {
        let encoded = utf16(&"ab".repeat(300), big_endian);
        let lines = split(&[&encoded], 64);
        assert!(lines.iter().all(|line| line.text.len() <= 64 && !line.lossy));
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<String>(), "ab".repeat(300));
        let bytes: Vec<&[u8]> = encoded.chunks(1).collect();
        assert_eq!(split(&bytes, 64), lines, "big endian: {big_endian}");
    }
}

#[test]
fn the_mark_of_utf8_is_dropped_at_the_start_only() {
    assert_eq!(texts("\u{feff}a\n\u{feff}b\n".as_bytes(), 64), ["a", "\u{feff}b"]);
    assert_eq!(texts("\u{feff}".as_bytes(), 64), [""]);
}

#[test]
fn a_cut_never_splits_an_escape_sequence_or_a_composed_character() {
    let link = format!("\x1b]8;;https://ci.example/{}\x1b\\", "p".repeat(400));
    let whole = [
        "\x1b[31m",
        "\x1b[38:2::255:128:0m",
        "\x1b(B",
        "\x1b7",
        "\x1b]0;title\x07",
        "\x1bP1$r0m\x1b\\",
        "\x1b_Gi=1;AAAA\x1b\\",
        "\u{9b}1;31m",
        "\u{9d}0;title\u{9c}",
        &link,
        "é",
        "😀",
        "e\u{301}",
        "👩\u{200d}👩\u{200d}👧",
        "👍🏽",
        "🇩🇪",
    ];
    for sequence in whole {
        for before in 1_000..=1_024 {
            let text = format!("{}{sequence}tail", "x".repeat(before));
            let pieces = texts(text.as_bytes(), 1_024);
            assert_eq!(pieces.concat(), text);
            let complete = pieces.iter().filter(|piece| piece.contains(sequence)).count();
            assert_eq!(complete, 1, "{sequence:?} after {before} bytes: {pieces:?}");
        }
    }
}

#[test]
fn an_escape_sequence_without_an_end_is_cut() {
    for start in ["\x1b]8;;", "\x1bP", "\x1b[", "\u{9d}"] {
        let text = format!("{start}{}", "1".repeat(10_000));
        let pieces = texts(text.as_bytes(), 1_024);
        assert_eq!((pieces.concat(), pieces.len()), (text, 10));
    }
}

#[test]
fn the_line_in_progress_is_known_before_its_newline() {
    let mut splitter = LineSplitter::new(64);
    let mut seen = |input: &[u8]| {
        while splitter.next_line(&mut &*input).is_some() {}
        splitter.pending_text()
    };
    assert_eq!(seen(b""), None);
    assert_eq!(seen(b" 10%|#"), Some(" 10%|#".into()));
    assert_eq!(seen(b"\r 20%|\xe2"), Some(" 10%|#\r 20%|".into()), "half a character is not shown");
    assert_eq!(seen(b"\x96\x88\x1b[3"), Some(" 10%|#\r 20%|█".into()), "nor half an escape sequence");
    assert_eq!(seen(b"\xff"), Some(" 10%|#\r 20%|█\x1b[3\u{fffd}".into()));
    let mut splitter = LineSplitter::new(64);
    for byte in utf16("Größe", false) {
        assert_eq!(splitter.next_line(&mut &[byte][..]), None);
    }
    assert_eq!(splitter.pending_text(), Some("Größe".into()));
}

#[test]
fn memory_of_a_100_mb_line_is_bounded() {
    let mut splitter = LineSplitter::default();
    let chunk = vec![b'x'; 256 * 1024];
    let mut bytes = 0;
    for _ in 0..400 {
        let mut input = chunk.as_slice();
        while let Some(line) = splitter.next_line(&mut input) {
            assert!(line.partial && line.text.len() == LINE_BYTES_MAX);
            bytes += line.text.len();
        }
        assert!(splitter.pending.capacity() <= 2 * LINE_BYTES_MAX);
    }
    let rest = splitter.finish().map_or(0, |line| line.text.len());
    assert_eq!(bytes + rest, 400 * chunk.len());
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'\n'),
        Just(b'a'),
        Just(0u8),
        Just(0xc3),
        Just(0xa9),
        Just(0xf0),
        Just(0xff),
        Just(0xfe),
        Just(0x1b),
        Just(b'['),
        any::<u8>()
    ];
    prop::collection::vec(byte, 0..200)
}

proptest! {
    #[test]
    fn chunking_does_not_change_lines(input in bytes(), cuts in prop::collection::vec(0usize..200, 0..8), max in 4usize..24) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts {
            chunks.push(&input[from..cut]);
            from = cut;
        }
        chunks.push(&input[from..]);
        let whole = split(&[&input], max);
        prop_assert!(whole.iter().all(|line| line.text.len() <= max && !line.text.contains(['\n', '\0'])));
        prop_assert_eq!(split(&chunks, max), whole);
    }

    #[test]
    fn text_round_trips(input in "[a-c\né😀\r]{0,80}", max in 4usize..24) {
        let lines = split(&[input.as_bytes()], max);
        let mut joined = String::new();
        for line in &lines {
            prop_assert!(!line.lossy);
            joined.push_str(&line.text);
            if !line.partial {
                joined.push('\n');
            }
        }
        let mut wanted = input.clone();
        if !wanted.is_empty() && !wanted.ends_with('\n') {
            wanted.push('\n');
        }
        prop_assert_eq!(joined, wanted);
    }
}
