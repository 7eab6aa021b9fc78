use proptest::prelude::*;

use super::*;
use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{LineText, Timestamp};
use crate::wire::worker::BadMessage;

const NOW: u64 = 1_778_336_581_000;

fn line(ms: u64, channel: Channel, text: &str) -> LineText<'static> {
    LineText { timestamp: Timestamp::from_millis(ms), channel, text: text.to_owned().into(), ..LineText::default() }
}

fn encode(encoding: BlockEncoding, lines: &[LineText<'_>]) -> Vec<u8> {
    let mut encoder = BlockEncoder::new(encoding);
    for line in lines {
        encoder.push(line.channel, line.timestamp, &line.text, line.partial, line.lossy);
    }
    encoder.finish(&"42".parse().unwrap(), 17)
}

/// Returns a block with this header and body.
fn raw(header: &str, body: &[u8]) -> Vec<u8> {
    let mut message = MAGIC.to_vec();
    push_varint(&mut message, header.len() as u64);
    message.extend_from_slice(header.as_bytes());
    message.extend_from_slice(body);
    message
}

fn header(count: u64, text_bytes: usize) -> String {
    format!(r#"{{"work_request_id":42,"first_seq":17,"count":{count},"encoding":"raw","text_bytes":{text_bytes}}}"#)
}

#[test]
fn block_has_the_documented_bytes() {
    let lines = [line(1_000, Channel::Stdout, "one"), line(999, Channel::Stderr, "zwö")];
    let header = r#"{"work_request_id":"42","first_seq":17,"count":2,"encoding":"raw","text_bytes":7}"#;
    // 1000 ms is zigzag 2000, in two bytes; one millisecond back is zigzag 1.
    let wanted = raw(header, b"\x03\x00\xd0\x0f\x04\x01\x01onezw\xc3\xb6");
    assert_eq!(encode(BlockEncoding::Raw, &lines), wanted);
    let block = LogBlock::decode(&wanted).unwrap();
    assert_eq!((block.task.id.as_str(), block.task.numeric), ("42", false));
    assert_eq!((block.first_seq, block.len(), block.text_bytes(), block.repaired()), (17, 2, 7, 0));
    assert_eq!(block.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn encoder_is_cleared_by_finish() {
    let mut encoder = BlockEncoder::new(BlockEncoding::Zstd);
    let text = "all work and no play ".repeat(50);
    let task = "t".parse().unwrap();
    for _ in 0..2 {
        encoder.push(Channel::Stdout, Timestamp::from_millis(NOW), &text, false, false);
        assert_eq!(encoder.lines(), 1);
        let message = encoder.finish(&task, 1);
        assert!(message.len() < text.len(), "compressed");
        let block = LogBlock::decode(&message).unwrap();
        assert_eq!(block.lines().collect::<Vec<_>>(), [line(NOW, Channel::Stdout, &text)]);
        assert_eq!((encoder.lines(), encoder.bytes()), (0, 0));
    }
}

#[test]
fn block_of_long_lines_fits_a_message() {
    let (mut encoder, text) = (BlockEncoder::default(), "x".repeat(LINE_BYTES_MAX));
    while encoder.has_room(text.len()) {
        encoder.push(Channel::Stdout, Timestamp::from_millis(NOW), &text, false, false);
    }
    assert!(encoder.lines() >= 15, "{}", encoder.lines());
    let longest = "i".repeat(128).parse().unwrap();
    assert!(encoder.finish(&longest, u64::MAX / 2).len() <= MESSAGE_BYTES_MAX);
}

#[test]
fn wrong_blocks_are_rejected_with_their_task() {
    let meta = |line: &[u8]| [line, b"abc"].concat();
    let good = meta(b"\x03\x00\x00");
    let cases: [(Vec<u8>, &str); 15] = [
        (raw(&header(0, 0), b""), "at least 1"),
        (raw(&header(1, 3).replace("17", "0"), &good), "at least 1"),
        (raw(&header(2, 3), &good), "has 1 lines"),
        (raw(&header(u64::MAX, 3), &good), "too large"),
        (raw(&header(1, 2), &good), "cut off"),
        (raw(&header(1, 4), &meta(b"\x04\x00\x00")), "cut off"),
        (raw(&header(1, 99), &good), "shorter"),
        (raw(&header(1, usize::MAX), &good), "shorter"),
        (raw(&header(1, 3), &meta(b"\x03\x03\x00")), "flags"),
        (raw(&header(1, 3), &meta(b"\x03\x10\x00")), "flags"),
        (raw(&header(1, 3), &meta(b"\x03\x00\x01")), "1970"),
        (raw(&header(1, 3), &meta(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00\x00")), "cut off"),
        (raw(&header(1, 3), &meta(b"\x81\x80\x04\x00\x00")), "65536"),
        (raw(&header(1, 3).replace("raw", "lz4"), &good), "encoding"),
        (raw(&header(1, 3).replace("raw", "zstd"), &good), "zstd"),
    ];
    for (message, part) in cases {
        let error = LogBlock::decode(&message).expect_err(part);
        assert_eq!((error.code, error.task.map(|task| task.numeric)), ("bad_block", Some(true)), "{}", error.message);
        assert!(error.message.contains(part), "{part}: {}", error.message);
    }
    for message in [&b"\xb1\x01"[..], b"\xb1\x02\x02{}", b"\xb1\x01\x7f{}", b"\xb1\x01\x02{}", b"{}"] {
        let BadMessage { code, task, .. } = LogBlock::decode(message).unwrap_err();
        assert_eq!((code, task), ("bad_block", None));
    }
}

#[test]
fn compressed_body_cannot_exceed_its_bound() {
    // 64 MiB of zeros in a few kilobytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    for text_bytes in [1, 64 << 20] {
        let header = header(1_000_000, text_bytes).replace("raw", "zstd");
        let error = LogBlock::decode(&raw(&header, &bomb)).unwrap_err();
        assert!(error.message.contains("zstd"), "{}", error.message);
    }
}

#[test]
fn only_the_bad_line_of_a_block_is_replaced() {
    let texts: [&[u8]; 5] = [b"good \xc3\xbc", b"caf\xe9.c", b"nul \0", b"two\nlines", b"end"];
    let mut body = Vec::new();
    for text in texts {
        push_varint(&mut body, text.len() as u64);
        body.extend_from_slice(b"\x01\x00");
    }
    body.extend(texts.concat());
    let message = raw(&header(5, texts.concat().len()), &body);
    let block = LogBlock::decode(&message).unwrap();
    let lines: Vec<(String, bool)> = block.lines().map(|line| (line.text.into_owned(), line.lossy)).collect();
    let wanted = [
        ("good ü", false),
        ("caf\u{fffd}.c", true),
        ("nul \u{fffd}", true),
        ("two\u{fffd}lines", true),
        ("end", false),
    ];
    assert_eq!(lines, wanted.map(|(text, lossy)| (text.to_owned(), lossy)));
    assert_eq!((block.len(), block.repaired()), (5, 3));
    assert!(block.lines().all(|line| line.channel == Channel::Stderr));
}

#[test]
fn line_that_ends_within_a_character_is_replaced() {
    let message = raw(&header(2, 2), b"\x01\x00\x00\x01\x00\x00\xc3\xbc");
    let block = LogBlock::decode(&message).unwrap();
    assert_eq!(block.lines().map(|line| line.text.into_owned()).collect::<Vec<_>>(), ["\u{fffd}", "\u{fffd}"]);
}

fn lines() -> impl Strategy<Value = Vec<LineText<'static>>> {
    let channel = prop::sample::select(Channel::ALL.to_vec());
    let one = (0..=TIME_MS_MAX, channel, any::<bool>(), any::<bool>(), "[^\n\u{0}]{0,40}");
    let one =
        one.prop_map(|(ms, channel, partial, lossy, text)| LineText { partial, lossy, ..line(ms, channel, &text) });
    prop::collection::vec(one, 1..50)
}

proptest! {
    #[test]
    fn blocks_round_trip(lines in lines(), compressed in any::<bool>()) {
        let encoding = if compressed { BlockEncoding::Zstd } else { BlockEncoding::Raw };
        let message = encode(encoding, &lines);
        let block = LogBlock::decode(&message).unwrap();
        prop_assert_eq!(block.lines().collect::<Vec<_>>(), lines);
        prop_assert_eq!(block.repaired(), 0);
    }

    #[test]
    fn damaged_blocks_are_rejected_or_can_be_stored(lines in lines(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut message = encode(BlockEncoding::Raw, &lines);
        let place = at.index(message.len());
        message[place] = byte;
        message.truncate(cut.index(message.len() + 1));
        if let Ok(block) = LogBlock::decode(&message) {
            prop_assert_eq!(block.lines().count() as u64, block.len());
            prop_assert!(block.lines().all(|line| !line.text.contains(['\n', '\0'])));
        }
    }

    #[test]
    fn varints_round_trip(n in any::<u64>(), signed in any::<i64>()) {
        let mut bytes = Vec::new();
        push_varint(&mut bytes, n);
        let mut rest = bytes.as_slice();
        prop_assert_eq!((take_varint(&mut rest), rest.len()), (Some(n), 0));
        prop_assert_eq!(unzigzag(zigzag(signed)), signed);
    }
}
