//! Tests of the encoding of replies.

use super::*;

/// Returns the bytes in each protocol version.
fn both(write: impl Fn(&mut Reply)) -> (String, String) {
    let [two, three] = [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
        let mut reply = Reply::new(protocol);
        write(&mut reply);
        assert_eq!(reply.len(), reply.bytes().len());
        String::from_utf8_lossy(&reply.into_bytes()).into_owned()
    });
    (two, three)
}

fn pair(two: &str, three: &str) -> (String, String) {
    (two.to_owned(), three.to_owned())
}

fn same(bytes: &str) -> (String, String) {
    pair(bytes, bytes)
}

#[test]
fn common_types_are_encoded_the_same() {
    assert_eq!(both(|r| r.simple("OK")), same("+OK\r\n"));
    assert_eq!(both(|r| r.error("ERR a\r\nb")), same("-ERR a  b\r\n"));
    assert_eq!(both(|r| r.integer(i64::MIN)), same(":-9223372036854775808\r\n"));
    assert_eq!(both(|r| r.unsigned(u64::MAX)), same(":-1\r\n"));
    assert_eq!(both(|r| r.bulk(b"")), same("$0\r\n\r\n"));
    assert_eq!(both(|r| r.bulk(b"a\r\nb")), same("$4\r\na\r\nb\r\n"));
    assert_eq!(both(|r| r.array(0)), same("*0\r\n"));
    assert_eq!(both(|r| r.raw(b"+QUEUED\r\n")), same("+QUEUED\r\n"));
    assert_eq!(both(|r| r.id(EntryId::MIN)), same("$3\r\n0-0\r\n"));
    let largest = "$41\r\n18446744073709551615-18446744073709551615\r\n";
    assert_eq!(both(|r| r.id(EntryId::MAX)), same(largest));
    assert_eq!(both(|r| r.bulk_display(EntryId::MAX)), same(largest));
    assert_eq!(both(|r| r.bulk_display("")), same("$0\r\n\r\n"));
}

#[test]
fn resp3_types_fall_back_in_resp2() {
    assert_eq!(both(Reply::null), pair("$-1\r\n", "_\r\n"));
    assert_eq!(both(Reply::null_array), pair("*-1\r\n", "_\r\n"));
    assert_eq!(both(|r| r.map(2)), pair("*4\r\n", "%2\r\n"));
    assert_eq!(both(|r| r.set(2)), pair("*2\r\n", "~2\r\n"));
    assert_eq!(both(|r| r.push(2)), pair("*2\r\n", ">2\r\n"));
    assert_eq!(both(|r| r.boolean(true)), pair(":1\r\n", "#t\r\n"));
    assert_eq!(both(|r| r.boolean(false)), pair(":0\r\n", "#f\r\n"));
    assert_eq!(both(|r| r.verbatim("hi")), pair("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"));
    assert_eq!(both(|r| r.double(1.5)), pair("$3\r\n1.5\r\n", ",1.5\r\n"));
}

/// Recorded from valkey-server 9.1.2, `ZSCORE`.
#[test]
fn doubles_are_printed_like_valkey() {
    let printed = [
        (0.1, "0.1"),
        (3.0, "3"),
        (1e300, "1e+300"),
        (1e20, "1e+20"),
        (1e17, "100000000000000000"),
        (123_456_789_012_345_678.0, "123456789012345680"),
        (1e-5, "0.00001"),
        (1e-7, "1e-7"),
        (-2.5, "-2.5"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
    ];
    for (value, text) in printed {
        assert_eq!(Double(value).to_string(), text);
    }
}

#[test]
fn headers_can_be_inserted_before_items() {
    let mut reply = Reply::new(Protocol::Resp2);
    reply.simple("OK");
    let at = reply.len();
    reply.integer(1);
    reply.bulk_display(format_args!("{:>12}", 7));
    reply.array_at(at, 2);
    assert_eq!(reply.bytes(), b"+OK\r\n*2\r\n:1\r\n$12\r\n           7\r\n");
    let map = |reply: &mut Reply| {
        reply.simple("a");
        reply.integer(1);
        reply.map_at(0, 1);
    };
    assert_eq!(both(map), pair("*2\r\n+a\r\n:1\r\n", "%1\r\n+a\r\n:1\r\n"));
}

#[test]
fn partial_reply_is_undone_and_drained_bytes_are_removed() {
    let mut reply = Reply::new(Protocol::Resp3);
    reply.simple("OK");
    let at = reply.len();
    reply.array(2);
    reply.truncate(at);
    assert_eq!(&reply.drain()[..], b"+OK\r\n");
    assert!(reply.is_empty());
    assert_eq!(reply.protocol(), Protocol::Resp3);
    reply.set_protocol(Protocol::Resp2);
    reply.null();
    assert_eq!(reply.bytes(), b"$-1\r\n");
}

#[test]
fn versions_match_hello() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        assert_eq!(Protocol::from_version(protocol.version()), Some(protocol));
    }
    assert_eq!([1, 4, -3].map(Protocol::from_version), [None; 3]);
}
