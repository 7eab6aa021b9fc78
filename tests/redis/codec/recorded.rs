//! What redis-server 7.0.15 and valkey-server 9.1.2 answered to odd requests.

use tasktail::wire::resp::{Parser, ProtocolError, RequestLimits};

use super::parse;

fn ping() -> Vec<Vec<Vec<u8>>> {
    vec![vec![b"PING".to_vec()]]
}

/// Recorded from redis-server 7.0.15 and valkey-server 9.1.2: a PING is answered, nothing else.
#[test]
fn input_that_redis_skips_is_skipped() {
    let answered: [&[u8]; 16] = [
        b"*1\r\n$4\r\nPING\r\n",
        b"*0\r\nPING\r\n",
        b"*-1\r\nPING\r\n",
        b"*-5\r\nPING\r\n",
        b"*-2147483649\r\nPING\r\n",
        b"*-9223372036854775808\r\nPING\r\n",
        b"*0\r\n*0\r\nPING\r\n",
        b"\r\nPING\r\n",
        b"\nPING\n",
        b"   \r\nPING\r\n",
        b"\r\n\r\n\n\r\nPING\r\n",
        b"  PING  \r\n",
        b"\tPING\t\r\n",
        b"\x0bPING\r\n",
        b"PING\n*2\r\n$1\r\nx\r\n$4\r\nPI",
        b"PING\n*1048576\r\n",
    ];
    for bytes in answered {
        assert_eq!(parse(bytes), (ping(), None), "{}", bytes.escape_ascii());
    }
    let waited_for: [&[u8]; 7] =
        [b"*1", b"*1\r", b"*1\r\n$4\r", b"*1\r\nxxxxxxxxxx", b"*1\r\n$4\r\nPINGx", b"*1\r\n$4\r\nPING\n", b"PING\r"];
    for bytes in waited_for {
        assert_eq!(parse(bytes), (vec![], None), "{}", bytes.escape_ascii());
    }
}

/// Recorded from both, where they agree; `invalid CRLF` from Valkey alone.
#[test]
fn protocol_errors_are_those_of_redis() {
    let invalid_count: [&[u8]; 16] = [
        b"*abc\r\n",
        b"*\r\n",
        b"*-\r\n",
        b"*+1\r\n",
        b"* 1\r\n",
        b"*1 \r\n",
        b"*01\r\n",
        b"*00\r\n",
        b"*-0\r\n",
        b"*1x\r\n",
        b"*1\n$4\r\n",
        b"*1\n\r\n",
        b"*2147483648\r\n",
        b"*99999999999999999999\r\n",
        b"*-9223372036854775809\r\n",
        b"*1048577\r\n",
    ];
    let invalid_length: [&[u8]; 12] = [
        b"*1\r\n$-1\r\n",
        b"*1\r\n$-2\r\n",
        b"*1\r\n$\r\n",
        b"*1\r\n$abc\r\n",
        b"*1\r\n$+4\r\n",
        b"*1\r\n$04\r\n",
        b"*1\r\n$4 \r\n",
        b"*1\r\n$-0\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$9223372036854775807\r\n",
        b"*1\r\n$9223372036854775808\r\n",
        b"*1\r\n$8388609\r\n",
    ];
    let invalid_crlf: [&[u8]; 11] = [
        b"*1\r\r$4\r\nPING\r\n",
        b"*1\rx",
        b"*x\rx",
        b"*0\rx",
        b"*-1\rx",
        b"*1\r\n$4\rxPING\r\n",
        b"*1\r\n$abc\rx",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$4\r\nPING\rx",
        b"*1\r\n$4\r\nPING\n\n",
        b"*1\r\n$0\r\nxx",
    ];
    let expected: [(&[u8], &str); 6] = [
        (b"*1\r\nPING\r\n", "P"),
        (b"*1\r\n:4\r\n", ":"),
        (b"*1\r\n\r\n", " "),
        (b"*1\r\n\n\r\n", " "),
        (b"*1\r\n'\r\n", "'"),
        (b"*1\r\nx4\rx", "x"),
    ];
    let invalid_count = invalid_count.map(|bytes| (bytes, "invalid multibulk length".to_owned()));
    let invalid_length = invalid_length.map(|bytes| (bytes, "invalid bulk length".to_owned()));
    let invalid_crlf = invalid_crlf.map(|bytes| (bytes, "invalid CRLF in request".to_owned()));
    let expected = expected.map(|(bytes, got)| (bytes, format!("expected '$', got '{got}'")));
    let refused = [&invalid_count[..], &invalid_length, &invalid_crlf, &expected].concat();
    for (bytes, words) in refused {
        let said = parse(bytes).1.map(|error| String::from_utf8_lossy(&error.reply_text()).into_owned());
        assert_eq!(said, Some(format!("ERR Protocol error: {words}")), "{}", bytes.escape_ascii());
        let error = parse(bytes).1.map(|error| format!("ERR {error}"));
        assert_eq!(error, said, "Display and reply agree");
    }
    let odd = parse(b"*1\r\n\xff\r\n").1.map(ProtocolError::reply_text);
    assert_eq!(odd.as_deref(), Some(&b"ERR Protocol error: expected '$', got '\xff'"[..]), "the byte as it came");
}

#[test]
fn requests_before_an_error_are_executed_and_none_after() {
    let (requests, error) = parse(b"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n");
    assert_eq!((requests.len(), error), (2, Some(ProtocolError::InvalidMultibulkLength)));
    let mut parser = Parser::new(RequestLimits::default());
    parser.buffer().extend_from_slice(b"*x\r\n");
    for _ in 0..3 {
        assert_eq!(parser.next(), Err(ProtocolError::InvalidMultibulkLength));
        assert_eq!(parser.buffered(), 0, "what comes after an error is not kept");
        parser.buffer().extend_from_slice(b"PING\r\n");
    }
}

#[test]
fn arguments_are_any_bytes() {
    let (requests, error) = parse(b"*3\r\n$4\r\nECHO\r\n$7\r\n*1\r\n\x00\xff\n\r\n$0\r\n\r\n");
    assert_eq!((requests, error), (vec![vec![b"ECHO".to_vec(), b"*1\r\n\x00\xff\n".to_vec(), vec![]]], None));
    let (requests, _) = parse(b"ECHO \"\\xff\\x00\" 'it\\'s'\r\n$4\r\n+x\n%1\n");
    assert_eq!(requests[0], [b"ECHO".to_vec(), b"\xff\x00".to_vec(), b"it's".to_vec()]);
    assert_eq!(requests[1..], [[b"$4"], [b"+x"], [b"%1"]].map(|words| words.map(|word| word.to_vec()).to_vec()));
}

/// At 64 KiB each; Redis has the same bound but for what a single read of its socket may add.
#[test]
fn lines_have_a_bound_wherever_they_are_cut() {
    let bound = RequestLimits::INLINE_BYTES_MAX;
    let cases: [(&[u8], u8, ProtocolError, Option<ProtocolError>); 4] = [
        (b"", b'a', ProtocolError::InlineTooLong, None),
        (b"*", b'1', ProtocolError::CountLineTooLong, Some(ProtocolError::InvalidMultibulkLength)),
        (b"*1\r\n$", b'1', ProtocolError::BulkLineTooLong, Some(ProtocolError::InvalidBulkLength)),
        (b"*1\r\n", b'x', ProtocolError::BulkLineTooLong, Some(ProtocolError::ExpectedDollar(b'x'))),
    ];
    for (start, fill, too_long, within) in cases {
        let marks = usize::from(start.ends_with(b"*") || start.ends_with(b"$"));
        let line = |bytes: usize, end: &str| [start, &vec![fill; bytes - marks], end.as_bytes()].concat();
        assert_eq!(parse(&line(bound, "")).1, None, "as long as can be, not ended");
        assert_eq!(parse(&line(bound + 1, "")).1, Some(too_long));
        assert_eq!(parse(&line(bound + 1, "\r\n")).1, Some(too_long), "the end is there but too late");
        assert_eq!(parse(&line(bound - 1, "\r\n")).1, within, "as long as can be, ended");
    }
}

#[test]
fn arguments_together_have_a_bound() {
    let limits = RequestLimits { args_max: 3, bulk_bytes_max: 4, request_bytes_max: 6, inline_bytes_max: 100 };
    let outcome = |bytes: &[u8]| {
        let mut parser = Parser::new(limits);
        parser.buffer().extend_from_slice(bytes);
        parser.next().map(|request| request.map(|request| request.len()))
    };
    assert_eq!(outcome(b"*2\r\n$4\r\nPING\r\n$2\r\nab\r\n"), Ok(Some(2)));
    assert_eq!(outcome(b"*2\r\n$4\r\nPING\r\n$3\r\n"), Err(ProtocolError::RequestTooLong), "before its bytes come");
    assert_eq!(outcome(b"*2\r\n$5\r\n"), Err(ProtocolError::InvalidBulkLength));
    assert_eq!(outcome(b"*4\r\n"), Err(ProtocolError::InvalidMultibulkLength));
}
