//! Random commands on strings, hashes and lists, on the same few keys as those on streams.

use proptest::prelude::*;
use proptest::sample::select;

use super::commands::{Line, key, word};

/// A command on values, or on keys of any type.
pub(super) fn line() -> Line {
    prop_oneof![6 => string(), 5 => hash(), 6 => list(), 2 => any_key()].boxed()
}

/// A valid command on a stream, which a value at its key rejects. Of an invalid one Redis may report either error.
pub(super) fn stream() -> Line {
    prop_oneof![
        3 => (key(), (1..9_u8)).prop_map(|(key, id)| format!("XADD {key} {id}-0 f v")),
        3 => (word(&["XLEN", "DEL", "TYPE", "EXISTS", "TTL", "PERSIST"]), key())
            .prop_map(|(command, key)| format!("{command} {key}")),
        1 => key().prop_map(|key| format!("XRANGE {key} - +")),
        1 => key().prop_map(|key| format!("XDEL {key} 1-0")),
        1 => key().prop_map(|key| format!("XTRIM {key} MAXLEN 1")),
    ]
    .boxed()
}

/// A command that may block on a list.
pub(super) fn read() -> Line {
    prop_oneof![
        (word(&["BLPOP", "BRPOP"]), key()).prop_map(|(command, key)| format!("{command} {key} 0")),
        (word(&["BLPOP", "BRPOP"]), key()).prop_map(|(command, key)| format!("{command} {key} b 0")),
        (key(), key(), end(), end()).prop_map(|(from, to, one, other)| format!("BLMOVE {from} {to} {one} {other} 0")),
    ]
    .boxed()
}

fn end() -> impl Strategy<Value = String> {
    word(&["LEFT", "RIGHT"])
}

fn text() -> impl Strategy<Value = String> {
    text_of(80)
}

/// Text for the value of a field. Redis keeps the order of the fields only while every value has at most 64 bytes.
fn value() -> impl Strategy<Value = String> {
    text_of(64)
}

fn text_of(bytes_max: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        6 => word(&["v", "w", "1", "-7", "10", "x", "\"\"", "007", "9223372036854775807", "\"a\\x00\\xff\""]),
        1 => (1..=bytes_max).prop_map(|size| format!("%{size}xv")),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![6 => (-5..6_i8).prop_map(|number| number.to_string()), 1 => word(&["x", "9223372036854775807", "1.5"])]
}

/// An index of an element. Larger ones are truncated by one of the oracles.
fn index() -> impl Strategy<Value = String> {
    prop_oneof![6 => (-5..6_i8).prop_map(|number| number.to_string()), 1 => word(&["x", "1.5"])]
}

fn string() -> Line {
    let option = word(&["", "", " NX", " XX", " GET", " KEEPTTL", " PXAT 32000000000000", " NX GET", " EX 0"]);
    prop_oneof![
        5 => (key(), text(), option).prop_map(|(key, text, option)| format!("SET {key} {text}{option}")),
        3 => (word(&["GET", "STRLEN", "INCR", "DECR", "GETDEL"]), key())
            .prop_map(|(command, key)| format!("{command} {key}")),
        2 => (word(&["APPEND", "GETSET", "SETNX"]), key(), text())
            .prop_map(|(command, key, text)| format!("{command} {key} {text}")),
        2 => (word(&["INCRBY", "DECRBY"]), key(), number())
            .prop_map(|(command, key, number)| format!("{command} {key} {number}")),
        1 => (key(), number(), text()).prop_map(|(key, offset, text)| format!("SETRANGE {key} {offset} {text}")),
        1 => (key(), number(), number()).prop_map(|(key, from, to)| format!("GETRANGE {key} {from} {to}")),
        1 => (key(), key(), text()).prop_map(|(one, other, text)| format!("MSET {one} {text} {other} 1")),
        1 => (key(), key(), text()).prop_map(|(one, other, text)| format!("MSETNX {one} {text} {other} 1")),
        1 => Just("MGET a b c d".to_owned()),
        1 => (key(), word(&["", " PERSIST", " PXAT 32000000000000", " EX x"]))
            .prop_map(|(key, option)| format!("GETEX {key}{option}")),
    ]
    .boxed()
}

fn field() -> impl Strategy<Value = String> {
    word(&["f", "g", "h", "\"\""])
}

fn hash() -> Line {
    prop_oneof![
        4 => (word(&["HSET", "HMSET"]), key(), field(), value())
            .prop_map(|(command, key, field, text)| format!("{command} {key} {field} {text}")),
        1 => (key(), field(), value(), field(), value())
            .prop_map(|(key, f, one, g, other)| format!("HSET {key} {f} {one} {g} {other}")),
        1 => (key(), field(), value()).prop_map(|(key, field, text)| format!("HSETNX {key} {field} {text}")),
        3 => (word(&["HGET", "HEXISTS", "HSTRLEN", "HDEL"]), key(), field())
            .prop_map(|(command, key, field)| format!("{command} {key} {field}")),
        2 => (word(&["HGETALL", "HKEYS", "HVALS", "HLEN"]), key()).prop_map(|(command, key)| format!("{command} {key}")),
        1 => (word(&["HMGET", "HDEL"]), key(), field(), field())
            .prop_map(|(command, key, one, other)| format!("{command} {key} {one} {other}")),
        2 => (key(), field(), number()).prop_map(|(key, field, number)| format!("HINCRBY {key} {field} {number}")),
        1 => (key(), word(&["", " MATCH [fg]", " COUNT 1"])).prop_map(|(key, option)| format!("HSCAN {key} 0{option}")),
    ]
    .boxed()
}

fn list() -> Line {
    prop_oneof![
        5 => (word(&["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]), key(), prop::collection::vec(text(), 1..4))
            .prop_map(|(command, key, items)| format!("{command} {key} {}", items.join(" "))),
        2 => (word(&["LPOP", "RPOP"]), key(), word(&["", "", " 0", " 2", " -1"]))
            .prop_map(|(command, key, count)| format!("{command} {key}{count}")),
        3 => (word(&["LRANGE", "LTRIM"]), key(), index(), index())
            .prop_map(|(command, key, from, to)| format!("{command} {key} {from} {to}")),
        1 => key().prop_map(|key| format!("LLEN {key}")),
        1 => (key(), index()).prop_map(|(key, index)| format!("LINDEX {key} {index}")),
        1 => (word(&["LSET", "LREM"]), key(), index(), text())
            .prop_map(|(command, key, number, text)| format!("{command} {key} {number} {text}")),
        1 => (key(), word(&["BEFORE", "AFTER"]), text(), text())
            .prop_map(|(key, place, pivot, item)| format!("LINSERT {key} {place} {pivot} {item}")),
        1 => (key(), text(), word(&["", " RANK -1", " COUNT 0", " RANK 2 COUNT 1", " MAXLEN 2"]))
            .prop_map(|(key, item, option)| format!("LPOS {key} {item}{option}")),
        2 => (key(), key(), end(), end()).prop_map(|(from, to, one, other)| format!("LMOVE {from} {to} {one} {other}")),
        1 => (key(), key()).prop_map(|(from, to)| format!("RPOPLPUSH {from} {to}")),
    ]
    .boxed()
}

fn any_key() -> Line {
    let database = select(vec!["0", "1"]).prop_map(str::to_owned);
    prop_oneof![
        2 => word(&["[sort] SCAN 0 COUNT 1000 TYPE list", "[sort] SCAN 0 COUNT 1000 TYPE stream", "FLUSHDB"]),
        2 => database.prop_map(|number| format!("SELECT {number}")),
        1 => word(&["[sort] KEYS *", "DBSIZE"]),
    ]
    .boxed()
}
