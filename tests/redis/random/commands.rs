//! The commands of random sequences: few keys, small ids, so that they meet.

use proptest::prelude::*;
use proptest::sample::select;

pub(super) type Line = BoxedStrategy<String>;

/// A command on the first or second connection, now and then a wrong one.
pub(super) fn line() -> Line {
    let command = prop_oneof![
        12 => add(),
        2 => many(),
        3 => trim(),
        3 => delete(),
        4 => range(),
        3 => read_now(),
        3 => look(),
        1 => set_id(),
        2 => keys(),
        3 => expiry(),
        3 => transaction(),
        8 => group(),
    ];
    let command = prop_oneof![15 => command.clone(), 1 => wrong(command.boxed())];
    (prop_oneof![3 => Just(""), 1 => Just("2> ")], command)
        .prop_map(
            |(connection, command)| if command.starts_with('@') { command } else { format!("{connection}{command}") },
        )
        .boxed()
}

/// A read that may block.
pub(super) fn read() -> Line {
    prop_oneof![
        (count(), key(), prop_oneof![Just("$".to_owned()), id()])
            .prop_map(|(count, key, id)| format!("XREAD {count}BLOCK 0 STREAMS {key} {id}")),
        (count(), prop_oneof![Just("$".to_owned()), id()])
            .prop_map(|(count, id)| format!("XREAD BLOCK 0 {count}STREAMS a b $ {id}")),
        (word(&["g", "h"]), count(), word(&["", "NOACK "]), key()).prop_map(|(group, count, noack, key)| format!(
            "XREADGROUP GROUP {group} c {count}BLOCK 0 {noack}STREAMS {key} >"
        )),
    ]
    .boxed()
}

pub(super) fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

pub(super) fn key() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just("a"), 2 => Just("b"), 1 => Just("c")].prop_map(str::to_owned)
}

/// An id: mostly one that is, or could be, in a stream.
fn id() -> Line {
    prop_oneof![
        10 => (0..12_u8, 0..4_u8).prop_map(|(ms, seq)| format!("{ms}-{seq}")),
        3 => (0..12_u8).prop_map(|ms| ms.to_string()),
        3 => (100..400_u16).prop_map(|ms| format!("{ms}-1")),
        1 => word(&["18446744073709551615", "18446744073709551615-18446744073709551615", "7-18446744073709551615"]),
        1 => word(&["01-1", "+3-2", "0-0", "0", "x", "-", "3-", "1-2-3", "1.5", "$", ">", "*", "3-*"]),
    ]
    .boxed()
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => word(&["v", "w", "\"\"", "1", "-7", "123456", "99999999999", "007", "\"a b\\r\\n\\x00\\xff\""]),
        1 => (1..5000_u16).prop_map(|size| format!("%{size}xv")),
    ]
}

fn fields() -> impl Strategy<Value = String> {
    let pair = (word(&["f", "g", "line", "a_longer_field_name"]), value());
    prop::collection::vec(pair.prop_map(|(field, value)| format!("{field} {value}")), 1..4)
        .prop_map(|all| all.join(" "))
}

/// A trimming strategy, with a space behind.
fn strategy() -> impl Strategy<Value = String> {
    let limit = prop_oneof![
        3 => Just(String::new()),
        1 => select(vec![0, 1, 50, 100, 150, 200]).prop_map(|limit| format!("LIMIT {limit} ")),
    ];
    let bound = prop_oneof![
        (0..6_u16).prop_map(|n| format!("MAXLEN {n} ")),
        (0..6_u16).prop_map(|n| format!("MAXLEN = {n} ")),
        id().prop_map(|id| format!("MINID {id} ")),
        (0..250_u16).prop_map(|n| format!("MAXLEN {n} ")),
        ((0..250_u16), limit.clone()).prop_map(|(n, limit)| format!("MAXLEN ~ {n} {limit}")),
        (id(), limit).prop_map(|(id, limit)| format!("MINID ~ {id} {limit}")),
    ];
    bound.boxed()
}

fn add() -> Line {
    let new_id = prop_oneof![
        12 => id(),
        6 => (0..12_u8).prop_map(|ms| format!("{ms}-*")),
        1 => Just("*".to_owned()),
    ];
    let options = prop_oneof![
        8 => Just(String::new()),
        1 => Just("NOMKSTREAM ".to_owned()),
        2 => strategy(),
        1 => strategy().prop_map(|strategy| format!("NOMKSTREAM {strategy}")),
    ];
    (key(), options, new_id, fields())
        .prop_map(|(key, options, id, fields)| format!("XADD {key} {options}{id} {fields}"))
        .boxed()
}

/// Enough entries for several nodes.
fn many() -> Line {
    (20..160_u16, key(), prop_oneof![Just("#".to_owned()), value()], word(&["f", "f#"]))
        .prop_map(|(count, key, value, field)| format!("@100..{} XADD {key} #-1 {field} {value}", 100 + count))
        .boxed()
}

fn trim() -> Line {
    (key(), strategy()).prop_map(|(key, strategy)| format!("XTRIM {key} {}", strategy.trim_end())).boxed()
}

fn delete() -> Line {
    prop_oneof![
        4 => (key(), prop::collection::vec(id(), 1..4)).prop_map(|(key, ids)| format!("XDEL {key} {}", ids.join(" "))),
        1 => (100..200_u16, 1..90_u16, key())
            .prop_map(|(from, count, key)| format!("@{from}..{} XDEL {key} #-1", from + count)),
        1 => (word(&["DEL", "UNLINK"]), key()).prop_map(|(command, key)| format!("{command} {key}")),
        1 => Just("DEL a b".to_owned()),
    ]
    .boxed()
}

fn end() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => word(&["-", "+"]),
        3 => id(),
        1 => id().prop_map(|id| format!("({id}")),
        1 => word(&["(-", "(+"]),
    ]
}

fn count() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        1 => (-1..6_i8).prop_map(|count| format!("COUNT {count} ")),
    ]
}

fn range() -> Line {
    (word(&["XRANGE", "XREVRANGE"]), key(), end(), end(), count())
        .prop_map(|(command, key, from, to, count)| {
            format!("{command} {key} {from} {to} {count}").trim_end().to_owned()
        })
        .boxed()
}

fn read_now() -> Line {
    prop_oneof![
        (count(), key(), id()).prop_map(|(count, key, id)| format!("XREAD {count}STREAMS {key} {id}")),
        (count(), id(), id()).prop_map(|(count, one, other)| format!("XREAD {count}STREAMS a b {one} {other}")),
    ]
    .boxed()
}

fn look() -> Line {
    prop_oneof![
        3 => key().prop_map(|key| format!("XINFO STREAM {key}")),
        2 => (key(), count()).prop_map(|(key, count)| format!("XINFO STREAM {key} FULL {count}").trim_end().to_owned()),
        1 => key().prop_map(|key| format!("XLEN {key}")),
        1 => key().prop_map(|key| format!("XINFO GROUPS {key}")),
    ]
    .boxed()
}

fn set_id() -> Line {
    prop_oneof![
        (key(), id()).prop_map(|(key, id)| format!("XSETID {key} {id}")),
        (key(), id(), 0..20_u8, id()).prop_map(|(key, id, added, deleted)| format!(
            "XSETID {key} {id} ENTRIESADDED {added} MAXDELETEDID {deleted}"
        )),
    ]
    .boxed()
}

fn keys() -> Line {
    prop_oneof![
        2 => key().prop_map(|key| format!("TYPE {key}")),
        2 => key().prop_map(|key| format!("EXISTS a b {key}")),
        1 => word(&["[sort] KEYS *", "[sort] KEYS [ab]", "[sort] SCAN 0 COUNT 1000", "DBSIZE", "PING", "FLUSHALL"]),
    ]
    .boxed()
}

fn expiry() -> Line {
    let when = prop_oneof![
        (31..35_u8).prop_map(|year| format!("PEXPIREAT # {year}000000000000")),
        (31..35_u8).prop_map(|year| format!("EXPIREAT # {year}000000000")),
        word(&["EXPIRE # 0", "PEXPIREAT # 1", "EXPIRE # -1", "EXPIRE # 10a"]),
    ];
    let from_now = word(&["EXPIRE # 100000", "PEXPIRE # 200000000"]);
    // No GT: whether the same time from now is later, the clock tells.
    let from_now_flags = prop_oneof![2 => Just(""), 3 => select(vec![" NX", " XX", " LT", " XX LT", " NX GT"])];
    let flags = prop_oneof![2 => Just(""), 3 => select(vec![" NX", " XX", " GT", " LT", " XX LT", " NX GT"])];
    prop_oneof![
        3 => (when, flags, key()).prop_map(|(when, flags, key)| when.replace('#', &key) + flags),
        1 => (from_now, from_now_flags, key()).prop_map(|(when, flags, key)| when.replace('#', &key) + flags),
        2 => key().prop_map(|key| format!("PERSIST {key}")),
        1 => key().prop_map(|key| format!("PEXPIRETIME {key}")),
        1 => (word(&["TTL", "PTTL", "EXPIRETIME"]), key()).prop_map(|(command, key)| format!("[near] {command} {key}")),
    ]
    .boxed()
}

fn transaction() -> Line {
    prop_oneof![
        4 => Just("MULTI".to_owned()),
        5 => Just("EXEC".to_owned()),
        1 => Just("DISCARD".to_owned()),
        3 => key().prop_map(|key| format!("WATCH {key}")),
        1 => Just("UNWATCH".to_owned()),
    ]
    .boxed()
}

fn group() -> Line {
    let group = || word(&["g", "g", "g", "h"]);
    let consumer = || word(&["c", "d"]);
    let ids = || prop::collection::vec(id(), 1..3).prop_map(|ids| ids.join(" "));
    let read = prop_oneof![2 => Just(">".to_owned()), 1 => id()];
    let create = (key(), group(), prop_oneof![id(), Just("$".to_owned())], word(&["", " MKSTREAM", " ENTRIESREAD 3"]));
    let options = word(&[
        "",
        "",
        " JUSTID",
        " FORCE",
        " IDLE 500000",
        " TIME 1000",
        " RETRYCOUNT 5",
        " LASTID 5-1",
        " FORCE JUSTID",
        " IDLE 500000 JUSTID RETRYCOUNT 2",
        " BAD",
    ]);
    prop_oneof![
        4 => create.prop_map(|(key, group, id, options)| format!("XGROUP CREATE {key} {group} {id}{options}")),
        6 => (group(), consumer(), count(), word(&["", "", "NOACK "]), key(), read)
            .prop_map(|(group, consumer, count, noack, key, id)| {
                format!("XREADGROUP GROUP {group} {consumer} {count}{noack}STREAMS {key} {id}")
            }),
        3 => (key(), group(), ids()).prop_map(|(key, group, ids)| format!("XACK {key} {group} {ids}")),
        1 => (key(), group()).prop_map(|(key, group)| format!("XPENDING {key} {group}")),
        2 => (key(), group(), word(&["", "IDLE 0 ", "IDLE 100000 "]), end(), end(), word(&["", " c", " d"]))
            .prop_map(|(key, group, idle, from, to, who)| format!("XPENDING {key} {group} {idle}{from} {to} 10{who}")),
        2 => (key(), group(), consumer(), word(&["0", "100000"]), ids(), options)
            .prop_map(|(key, group, consumer, idle, ids, options)| {
                format!("XCLAIM {key} {group} {consumer} {idle} {ids}{options}")
            }),
        2 => (key(), group(), consumer(), word(&["0", "100000"]), end(), word(&["", " JUSTID"]), 1..4_u8)
            .prop_map(|(key, group, consumer, idle, from, justid, count)| {
                format!("XAUTOCLAIM {key} {group} {consumer} {idle} {from} COUNT {count}{justid}")
            }),
        1 => (key(), group(), id()).prop_map(|(key, group, id)| format!("XGROUP SETID {key} {group} {id}")),
        1 => (key(), group(), consumer(), word(&["CREATECONSUMER", "DELCONSUMER"]))
            .prop_map(|(key, group, consumer, what)| format!("XGROUP {what} {key} {group} {consumer}")),
        1 => (key(), group()).prop_map(|(key, group)| format!("XGROUP DESTROY {key} {group}")),
        2 => key().prop_map(|key| format!("XINFO GROUPS {key}")),
        1 => (key(), group()).prop_map(|(key, group)| format!("XINFO CONSUMERS {key} {group}")),
    ]
    .boxed()
}

/// A command with one word too few, or a wrong one.
fn wrong(command: Line) -> Line {
    let odd =
        word(&["x", "\"\"", "-1", "0", "COUNT", "MAXLEN", "~", "LIMIT", "9223372036854775808", "\"\\x00\"", "1.5"]);
    (command, any::<prop::sample::Index>(), prop::option::of(odd))
        .prop_map(|(command, at, odd)| {
            if command.starts_with('@') || command.starts_with('[') {
                return command;
            }
            let mut words: Vec<&str> = command.split(' ').collect();
            let at = at.index(words.len());
            match &odd {
                Some(odd) => words[at] = odd,
                None => drop(words.remove(at)),
            }
            if words.is_empty() { "PING".to_owned() } else { words.join(" ") }
        })
        .boxed()
}
