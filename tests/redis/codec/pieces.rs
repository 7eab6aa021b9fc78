//! However the bytes are cut, the requests are the same; whatever the bytes are, they are bounded.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use tasktail::wire::resp::{Parser, RequestLimits};

use super::{Args, parse, parse_pieces};

/// So little that arbitrary bytes reach every one of them.
const SMALL: RequestLimits =
    RequestLimits { args_max: 12, bulk_bytes_max: 40, request_bytes_max: 60, inline_bytes_max: 30 };

fn encoded(request: &Args) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    for arg in request {
        bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
        bytes.extend(arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Arguments that could be taken for the protocol itself, and any others.
fn arg() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), "[*$0-3\r\n]{0,12}".prop_map(String::into_bytes)]
}

/// Bytes that often begin as a request does.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => "[*$]-?[0-9]{1,2}\r\n".prop_map(String::into_bytes),
        2 => vec(arg(), 1..4).prop_map(|request| encoded(&request)),
        2 => "[*$\\-0-9\r\n\"'\\\\xa \t]{0,40}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..40),
        1 => Just(b"\r\n".to_vec()),
    ];
    vec(part, 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_pipeline_is_the_same_in_any_pieces(requests in vec(vec(arg(), 1..24), 0..5)) {
        let wire = requests.iter().map(encoded).collect::<Vec<_>>().concat();
        let expected = (requests, None);
        prop_assert_eq!(&parse(&wire), &expected);
        prop_assert_eq!(&parse_pieces(RequestLimits::default(), wire.chunks(1)), &expected);
        for cut in 1..wire.len() {
            prop_assert_eq!(&parse_pieces(RequestLimits::default(), [&wire[..cut], &wire[cut..]]), &expected);
        }
    }

    #[test]
    fn any_bytes_have_one_outcome_and_never_fill_the_buffer(
        bytes in nearly_requests(),
        cuts in vec(1..20usize, 1..20),
    ) {
        let expected = parse_pieces(SMALL, [&bytes[..]]);
        prop_assert_eq!(&parse_pieces(SMALL, bytes.chunks(1)), &expected, "byte by byte");
        let mut rest = &bytes[..];
        let pieces = cuts.iter().cycle().map_while(|cut| {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(&parse_pieces(SMALL, pieces), &expected, "in pieces");

        let mut parser = Parser::new(SMALL);
        // An argument of two digits costs `$40`, two line ends; the count `*12` and one line in the making.
        let most = SMALL.request_bytes_max + 8 * SMALL.args_max + 5 + SMALL.inline_bytes_max;
        for byte in &bytes {
            parser.buffer().extend_from_slice(&[*byte]);
            while let Ok(Some(request)) = parser.next() {
                prop_assert!(request.len() <= SMALL.args_max.max(SMALL.inline_bytes_max));
            }
            prop_assert!(parser.buffered() <= most, "{} bytes", parser.buffered());
            prop_assert!(parser.buffer().capacity() <= 64 * 1024);
        }
    }

    /// Arguments in double quotes, every byte as `\xHH`, are what was put in.
    #[test]
    fn an_inline_request_can_carry_any_bytes(request in vec(vec(any::<u8>(), 0..20), 1..6)) {
        let escaped = |byte: &u8| format!("\\x{byte:02x}");
        let quoted = |arg: &Vec<u8>| format!("\"{}\"", arg.iter().map(escaped).collect::<String>());
        let line = request.iter().map(quoted).collect::<Vec<_>>().join(" ") + "\r\n";
        prop_assert_eq!(parse(line.as_bytes()), (vec![request], None));
    }
}

/// Each file the fuzzer starts from, at every cut, under the limits the fuzz target has.
#[test]
fn the_corpus_is_the_same_in_any_pieces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/resp_request");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("a file");
        for limits in [RequestLimits::default(), SMALL] {
            let expected = parse_pieces(limits, [&bytes[..]]);
            assert_eq!(parse_pieces(limits, bytes.chunks(1)), expected, "{} byte by byte", path.display());
            for cut in 0..bytes.len() {
                let halves = parse_pieces(limits, [&bytes[..cut], &bytes[cut..]]);
                assert_eq!(halves, expected, "{} cut at {cut}", path.display());
            }
        }
        files += 1;
    }
    assert!(files >= 12, "{files} files");
}
