//! What is written as a reply reads back as what it was.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use tasktail::model::EntryId;
use tasktail::wire::resp::{Protocol, Reply};

/// A reply, as a value.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Simple(String),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Verbatim(String),
    Double(f64),
    Boolean(bool),
    Null,
    NullArray,
    Array(Vec<Value>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Map(Vec<Value>),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[ -~]{0,20}".prop_map(Value::Simple),
        vec(any::<u8>(), 0..20).prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        vec(any::<u8>(), 0..200).prop_map(Value::Bulk),
        ".{0,20}".prop_map(Value::Verbatim),
        any::<f64>().prop_filter("NaN is not itself", |value| !value.is_nan()).prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        Just(Value::Null),
        Just(Value::NullArray),
    ];
    leaf.prop_recursive(4, 40, 6, |item| {
        let pairs = vec((item.clone(), item.clone()), 0..4);
        prop_oneof![
            vec(item.clone(), 0..6).prop_map(Value::Array),
            vec(item.clone(), 0..6).prop_map(Value::Set),
            vec(item, 0..6).prop_map(Value::Push),
            pairs.prop_map(|pairs| Value::Map(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect())),
        ]
    })
}

/// `late`: the header of an array goes in after its items.
fn write(reply: &mut Reply, value: &Value, late: bool) {
    match value {
        Value::Simple(text) => reply.simple(text),
        Value::Error(text) => reply.error(text),
        Value::Integer(value) => reply.integer(*value),
        Value::Bulk(bytes) => reply.bulk(bytes),
        Value::Verbatim(text) => reply.verbatim(text),
        Value::Double(value) => reply.double(*value),
        Value::Boolean(value) => reply.boolean(*value),
        Value::Null => reply.null(),
        Value::NullArray => reply.null_array(),
        Value::Array(items) if late => {
            let at = reply.len();
            items.iter().for_each(|item| write(reply, item, late));
            return reply.array_at(at, items.len());
        }
        Value::Array(items) => reply.array(items.len()),
        Value::Set(items) => reply.set(items.len()),
        Value::Push(items) => reply.push(items.len()),
        Value::Map(items) => reply.map(items.len() / 2),
    }
    if let Value::Array(items) | Value::Set(items) | Value::Push(items) | Value::Map(items) = value {
        items.iter().for_each(|item| write(reply, item, late));
    }
}

/// What a reader of `protocol` sees of `value`: RESP2 has fewer types.
fn seen(value: &Value, protocol: Protocol) -> Value {
    let third = protocol == Protocol::Resp3;
    let all = |items: &[Value]| items.iter().map(|item| seen(item, protocol)).collect::<Vec<_>>();
    match value {
        Value::Error(text) => {
            Value::Error(text.iter().map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte }).collect())
        }
        Value::Verbatim(text) if !third => Value::Bulk(text.clone().into_bytes()),
        Value::Double(value) if !third => Value::Bulk(printed(*value)),
        Value::Boolean(value) if !third => Value::Integer(i64::from(*value)),
        Value::NullArray if third => Value::Null,
        Value::Set(items) if third => Value::Set(all(items)),
        Value::Push(items) if third => Value::Push(all(items)),
        Value::Map(items) if third => Value::Map(all(items)),
        Value::Array(items) | Value::Set(items) | Value::Push(items) | Value::Map(items) => Value::Array(all(items)),
        other => other.clone(),
    }
}

fn printed(value: f64) -> Vec<u8> {
    let mut reply = Reply::new(Protocol::Resp3);
    reply.double(value);
    reply.bytes()[1..reply.len() - 2].to_vec()
}

/// A reader of replies, as plain as can be.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, range: Range<usize>) -> Vec<u8> {
        let taken = self.bytes[range.clone()].to_vec();
        assert_eq!(&self.bytes[range.end..range.end + 2], b"\r\n", "a line end");
        self.bytes = &self.bytes[range.end + 2..];
        taken
    }

    fn items(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.value()).collect()
    }

    fn value(&mut self) -> Value {
        let mark = self.bytes[0];
        let end = self.bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line end");
        let line = self.take(1..end);
        let text = || String::from_utf8(line.clone()).expect("ASCII");
        let count = || text().parse::<usize>().expect("a count");
        match (mark, &line[..]) {
            (b'$', b"-1") | (b'_', b"") => Value::Null,
            (b'*', b"-1") => Value::NullArray,
            (b'+', _) => Value::Simple(text()),
            (b'-', _) => Value::Error(line),
            (b':', _) => Value::Integer(text().parse().expect("an integer")),
            (b',', _) => Value::Double(text().parse().expect("a number")),
            (b'#', flag) => Value::Boolean(flag == b"t"),
            (b'$', _) => Value::Bulk(self.take(0..count())),
            (b'=', _) => {
                let body = String::from_utf8(self.take(0..count())).expect("UTF-8");
                Value::Verbatim(body.strip_prefix("txt:").expect("its kind").to_owned())
            }
            (b'*', _) => Value::Array(self.items(count())),
            (b'~', _) => Value::Set(self.items(count())),
            (b'>', _) => Value::Push(self.items(count())),
            (b'%', _) => Value::Map(self.items(count() * 2)),
            (mark, _) => panic!("a mark of no protocol: {mark}"),
        }
    }
}

proptest! {
    #[test]
    fn replies_read_back_as_they_were(values in vec(value(), 0..4), late in any::<bool>()) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut reply = Reply::new(protocol);
            values.iter().for_each(|value| write(&mut reply, value, late));
            let bytes = reply.drain();
            let mut reader = Reader { bytes: &bytes };
            for value in &values {
                prop_assert_eq!(reader.value(), seen(value, protocol));
            }
            prop_assert!(reader.bytes.is_empty());
        }
    }

    #[test]
    fn ids_read_back_as_they_were(ms in any::<u64>(), seq in any::<u64>()) {
        let id = EntryId::new(ms, seq);
        let mut reply = Reply::new(Protocol::Resp2);
        reply.id(id);
        reply.bulk_display(id);
        let expected = Value::Bulk(id.to_string().into_bytes());
        let mut reader = Reader { bytes: reply.bytes() };
        prop_assert_eq!(reader.items(2), [expected.clone(), expected]);
    }
}
