use super::*;

#[test]
fn xrange_supports_inclusive_and_exclusive_ends() {
    let journal = TestJournal::new();
    for n in 1..=3 {
        journal.run(&format!("XADD k {n}-1 f {n}"));
    }
    let entry = |n: &u32| format!("*2|$3|{n}-1|*2|$1|f|$1|{n}|");
    let entries = |ns: &[u32]| format!("*{}|{}", ns.len(), ns.iter().map(entry).collect::<String>());
    let start = "-ERR invalid start ID for the interval|";
    for (command, reply) in [
        ("XRANGE k - +", entries(&[1, 2, 3])),
        ("XREVRANGE k + -", entries(&[3, 2, 1])),
        ("XRANGE k 2 2", entries(&[2])),
        ("XRANGE k (1-1 (3-1", entries(&[2])),
        ("XRANGE k (1 (2", entries(&[1, 2])),
        ("XRANGE k + -", entries(&[])),
        ("XREVRANGE k + - COUNT 2", entries(&[3, 2])),
        ("XRANGE k - + COUNT 1 COUNT 2", entries(&[1, 2])),
        ("XRANGE k - + COUNT 0", "*-1|".into()),
        ("XRANGE k - + COUNT -9", "*-1|".into()),
        ("XRANGE none - + COUNT 0", "*0|".into()),
        ("XRANGE none - + COUNT x", NOT_AN_INTEGER.into()),
        ("XRANGE k x + COUNT x", INVALID_ID.into()),
        ("XRANGE k - + COUNT", SYNTAX.into()),
        ("XRANGE k (- +", INVALID_ID.into()),
        ("XRANGE k ( +", INVALID_ID.into()),
        ("XRANGE k (18446744073709551615-18446744073709551615 x", start.into()),
        ("XREVRANGE k x (18446744073709551615-18446744073709551615", start.into()),
        ("XRANGE k - (0-0", "-ERR invalid end ID for the interval|".into()),
    ] {
        assert_eq!(journal.run(command), reply, "{command}");
        assert_eq!(journal.run_on_snapshot(command), reply, "{command}");
    }
}

#[test]
fn xread_returns_entries_after_an_id() {
    let mut journal = TestJournal::new();
    check_replies(
        &journal,
        &[("XADD a 1-1 f v", "$3|1-1|"), ("XADD a 2-1 f w", "$3|2-1|"), ("XADD b 5-1 f x", "$3|5-1|")],
    );
    let unbalanced =
        "-ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.|";
    let no_ack = "-ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.|";
    let lines = [
        ("XREAD STREAMS a b 1-1 0", "*2|*2|$1|a|*1|*2|$3|2-1|*2|$1|f|$1|w|*2|$1|b|*1|*2|$3|5-1|*2|$1|f|$1|x|"),
        ("XREAD COUNT 0 STREAMS a none 2 0", "*1|*2|$1|a|*1|*2|$3|2-1|*2|$1|f|$1|w|"),
        ("XREAD COUNT 9 STREAMS a b + $", "*1|*2|$1|a|*1|*2|$3|2-1|*2|$1|f|$1|w|"),
        ("XREAD STREAMS a 18446744073709551615-18446744073709551615", "*-1|"),
        ("XREAD BLOCK 0 STREAMS a $", "*-1|"),
        ("XREAD BLOCK -1 STREAMS a b 0", "-ERR timeout is negative|"),
        ("XREAD BLOCK -0 STREAMS a 0", "-ERR timeout is not an integer or out of range|"),
        ("XREAD BLOCK 9223372036854775807 STREAMS a 0", "-ERR timeout is out of range|"),
        ("XREAD STREAMS a b 0", unbalanced),
        ("XREAD COUNT 1 a 0", SYNTAX),
        ("XREAD COUNT 1 STREAMS", SYNTAX),
        ("XREAD STREAMS a b x 0", INVALID_ID),
        ("XREAD NOACK STREAMS a 0", no_ack),
    ];
    check_replies(&journal, &lines);
    for (command, reply) in lines {
        assert_eq!(journal.run_on_snapshot(command), reply, "{command}");
    }
    check_replies(
        &journal,
        &[("XDEL a 2-1", ":1|"), ("XREAD STREAMS a +", "*1|*2|$1|a|*1|*2|$3|1-1|*2|$1|f|$1|v|"), ("XDEL a 1-1", ":1|")],
    );
    journal.protocol = Protocol::Resp3;
    check_replies(
        &journal,
        &[("XREAD STREAMS b a 0 9", "%1|$1|b|*1|*2|$3|5-1|*2|$1|f|$1|x|"), ("XREAD STREAMS a +", "_|")],
    );
}

#[test]
fn a_blocked_reader_is_served_once_entries_remain() {
    let journal = TestJournal::new();
    let reader = journal.block(7, "XREAD BLOCK 0 COUNT 1 STREAMS a b $ 2");
    journal.run("XADD b 1-1 f v");
    journal.run_together(&["XADD a 1-1 f v", "XDEL a 1-1"]);
    assert!(reader.is_silent(), "no entry remained at the retry");
    assert_eq!(journal.blocked_count(), 1);
    journal.run_together(&["XADD b 3-1 f v", "XADD a 2-1 f v", "XADD a 2-2 f v"]);
    assert_eq!(
        reader.reply(),
        "*2|*2|$1|a|*1|*2|$3|2-1|*2|$1|f|$1|v|*2|$1|b|*1|*2|$3|3-1|*2|$1|f|$1|v|",
        "all keys with something new, in the order of the command"
    );
    assert_eq!(journal.blocked_count(), 0);
}

#[test]
fn a_recreated_key_wakes_only_with_ids_above_the_old_cursor() {
    let journal = TestJournal::new();
    journal.run("XADD k 5-5 f v");
    let reader = journal.block(7, "XREAD BLOCK 0 STREAMS k k $ $");
    let later = journal.block(8, "XREAD BLOCK 0 STREAMS k 9-9");
    for command in ["DEL k", "XADD k 5-4 f v", "XADD k 5-5 f v"] {
        journal.run(command);
    }
    assert!(reader.is_silent());
    journal.run("XADD k 5-6 f v");
    let stream = "*2|$1|k|*1|*2|$3|5-6|*2|$1|f|$1|v|";
    assert_eq!(reader.reply(), format!("*2|{stream}{stream}"));
    assert!(later.is_silent());
}

#[test]
fn a_blocked_plus_id_returns_the_newest_entry_at_wakeup() {
    let journal = TestJournal::new();
    check_replies(&journal, &[("XADD k 5-5 f v", "$3|5-5|"), ("XDEL k 5-5", ":1|")]);
    let reader = journal.block(7, "XREAD BLOCK 0 STREAMS k +");
    journal.run("DEL k");
    journal.run_together(&["XADD k 1-1 f v", "XADD k 1-2 f v"]);
    assert_eq!(reader.reply(), "*1|*2|$1|k|*1|*2|$3|1-2|*2|$1|f|$1|v|");
}

#[test]
fn an_unblocked_reader_gets_a_reply() {
    let mut journal = TestJournal::new();
    for (protocol, command, reply) in [
        (Protocol::Resp2, "UNBLOCK", "*-1|"),
        (Protocol::Resp3, "UNBLOCK", "_|"),
        (Protocol::Resp2, "UNBLOCK ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK|"),
    ] {
        journal.protocol = protocol;
        let reader = journal.block(7, "XREAD BLOCK 0 STREAMS k $");
        assert_eq!(journal.run(command), ":1|");
        assert_eq!(reader.reply(), reply);
        assert_eq!(journal.run(command), ":0|");
    }
}
