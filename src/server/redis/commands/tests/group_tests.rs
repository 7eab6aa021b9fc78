use super::*;

const NO_KEY: &str = "-ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
                      the MKSTREAM option to create an empty stream automatically.|";

/// Creates a stream `k` with entries `n-1`, and a group `g` that starts before them.
fn stream(entries: u32) -> TestJournal {
    let journal = TestJournal::new();
    for n in 1..=entries {
        journal.run(&format!("XADD k {n}-1 f {n}"));
    }
    check_replies(&journal, &[("XGROUP CREATE k g 0 MKSTREAM", "+OK|")]);
    journal
}

#[test]
fn groups_are_created_and_destroyed() {
    let journal = TestJournal::new();
    check_replies(
        &journal,
        &[
            ("XGROUP CREATE k g x", NO_KEY),
            ("XGROUP CREATE k g x MKSTREAM", INVALID_ID),
            ("XGROUP SETID k g x", NO_KEY),
            ("XGROUP DESTROY k g", NO_KEY),
            ("EXISTS k", ":0|"),
            ("XGROUP CREATE k g $ mkstream ENTRIESREAD -1", "+OK|"),
            ("XGROUP CREATE k g x", INVALID_ID),
            ("XGROUP CREATE k g 0", "-BUSYGROUP Consumer Group name already exists|"),
            (
                "XGROUP create k h 0 ENTRIESREAD",
                "-ERR unknown subcommand or wrong number of arguments for 'create'. Try XGROUP HELP.|",
            ),
            ("XGROUP CREATE k h x ENTRIESREAD -2", "-ERR value for ENTRIESREAD must be positive or -1|"),
            ("XGROUP SETID k h x", "-NOGROUP No such consumer group 'h' for key name 'k'|"),
            ("XGROUP SETID k g + ENTRIESREAD 3", "+OK|"),
            ("XGROUP CREATECONSUMER k g c", ":1|"),
            ("XGROUP CREATECONSUMER k g c", ":0|"),
            ("XGROUP DELCONSUMER k g c", ":0|"),
            ("XGROUP DESTROY k g", ":1|"),
            ("XGROUP DESTROY k g", ":0|"),
            ("XGROUP FOO", "-ERR unknown subcommand 'FOO'. Try XGROUP HELP.|"),
        ],
    );
    for (command, makes) in [
        ("XGROUP CREATE k g 0 MKSTREAM", true),
        ("XGROUP CREATE k g $ ENTRIESREAD 1 MKSTREAM", true),
        ("XGROUP CREATE k g 0", false),
        ("XGROUP CREATE k g x MKSTREAM", false),
        ("XGROUP CREATE k g 0 MKSTREAM FOO", false),
        ("XGROUP SETID k g 0", false),
        ("XGROUP CREATE k", false),
    ] {
        assert_eq!(group_key_to_create(&parse(command)).is_some(), makes, "{command}");
    }
}

#[test]
fn a_group_delivers_each_entry_once_and_pending_entries_again() {
    let mut journal = stream(3);
    let meaningless = "-ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
                       this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would \
                       just return an empty result set.|";
    let missing = "-NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option|";
    check_replies(
        &journal,
        &[
            ("XREADGROUP COUNT 1 BLOCK 0 STREAMS k >", "-ERR Missing GROUP option for XREADGROUP|"),
            ("XREADGROUP GROUP g c STREAMS none k x >", missing),
            ("XREADGROUP GROUP g c STREAMS k $", meaningless),
            (
                "XREADGROUP GROUP g c COUNT 2 STREAMS k >",
                "*1|*2|$1|k|*2|*2|$3|1-1|*2|$1|f|$1|1|*2|$3|2-1|*2|$1|f|$1|2|",
            ),
            ("XREADGROUP GROUP g d NOACK STREAMS k >", "*1|*2|$1|k|*1|*2|$3|3-1|*2|$1|f|$1|3|"),
            ("XREADGROUP GROUP g d BLOCK 0 STREAMS k >", "*-1|"),
            ("XREADGROUP GROUP g d BLOCK 0 STREAMS k 0", "*1|*2|$1|k|*0|"),
            ("XACK k g 1-1 1-1 9", ":1|"),
            ("XACK k g x", INVALID_ID),
            ("XACK k none x", ":0|"),
            ("XDEL k 2-1", ":1|"),
            ("XREADGROUP GROUP g c STREAMS k 0", "*1|*2|$1|k|*1|*2|$3|2-1|*-1|"),
            ("XPENDING k g", "*4|:1|$3|2-1|$3|2-1|*1|*2|$1|c|$1|1|"),
            ("XACK k g 2-1", ":1|"),
            ("XPENDING k g", "*4|:0|$-1|$-1|*-1|"),
        ],
    );
    journal.protocol = Protocol::Resp3;
    check_replies(
        &journal,
        &[
            ("XREADGROUP GROUP g d STREAMS k k 0 >", "%1|$1|k|*0|"),
            ("XREADGROUP GROUP g d STREAMS k >", "_|"),
            ("XPENDING k g", "*4|:0|_|_|_|"),
        ],
    );
}

#[test]
fn pending_entries_are_listed_and_claimed() {
    let journal = stream(4);
    let entry = |n: u32| format!("*2|$3|{n}-1|*2|$1|f|$1|{n}|");
    journal.run("XREADGROUP GROUP g a COUNT 3 STREAMS k >");
    check_replies(
        &journal,
        &[
            ("XPENDING k g - +", SYNTAX),
            ("XPENDING k g IDLE 0 - + 5 a b", SYNTAX),
            ("XPENDING k g x + y", NOT_AN_INTEGER),
            ("XPENDING k g - (0-0 1", "-ERR invalid end ID for the interval|"),
            ("XPENDING k h", "-NOGROUP No such key 'k' or consumer group 'h'|"),
            ("XPENDING k g - + -1", "*0|"),
            ("XPENDING k g IDLE 100000 - + 5", "*0|"),
            ("XPENDING k g - + 5 nobody", "*0|"),
            ("XCLAIM k h b x y", "-NOGROUP No such key 'k' or consumer group 'h'|"),
            ("XCLAIM k g b x y", "-ERR Invalid min-idle-time argument for XCLAIM|"),
            ("XCLAIM k g b 0 1-1 y", "-ERR Unrecognized XCLAIM option 'y'|"),
            ("XCLAIM k g b 0 1-1 IDLE y", "-ERR Invalid IDLE option argument for XCLAIM|"),
            ("XCLAIM k g b 0 1-1 9-9", &format!("*1|{}", entry(1))),
            ("XCLAIM k g b 100000 2-1", "*0|"),
            ("XCLAIM k g b 0 4-1 FORCE JUSTID", "*1|$3|4-1|"),
            ("XCLAIM k g b 0 2-1 RETRYCOUNT 7 IDLE 60000", &format!("*1|{}", entry(2))),
            ("XPENDING k g IDLE 3600000 - + 5", "*0|"),
            ("XAUTOCLAIM k g c x y", "-ERR Invalid min-idle-time argument for XAUTOCLAIM|"),
            ("XAUTOCLAIM k h c 0 0 COUNT 0", "-ERR COUNT must be > 0|"),
            ("XAUTOCLAIM k h c 0 0 FOO", SYNTAX),
            ("XDEL k 3-1", ":1|"),
            ("XAUTOCLAIM k g c 0 (1-1 COUNT 2", &format!("*3|$3|4-1|*1|{}*1|$3|3-1|", entry(2))),
            ("XAUTOCLAIM k g c 0 - JUSTID", "*3|$3|0-0|*3|$3|1-1|$3|2-1|$3|4-1|*0|"),
        ],
    );
    let pending = journal.run("XPENDING k g - + 5");
    for row in ["$3|1-1|$1|c|", "$3|2-1|$1|c|", "$3|4-1|$1|c|"] {
        assert!(pending.contains(row), "{pending}");
    }
    assert!(pending.starts_with("*3|*4|") && pending.ends_with(":1|"), "FORCE counts as one delivery: {pending}");
}

#[test]
fn xinfo_reports_groups_and_consumers() {
    let journal = stream(2);
    journal.run("XREADGROUP GROUP g c COUNT 1 STREAMS k >");
    journal.run("XGROUP CREATECONSUMER k g d");
    let group =
        "$4|name|$1|g|$9|consumers|:2|$7|pending|:1|$17|last-delivered-id|$3|1-1|$12|entries-read|:1|$3|lag|:1|";
    check_replies(
        &journal,
        &[
            ("XINFO GROUPS k", &format!("*1|*12|{group}")),
            ("XINFO GROUPS none", "-ERR no such key|"),
            ("XINFO CONSUMERS k h", "-NOGROUP No such consumer group 'h' for key name 'k'|"),
        ],
    );
    let consumers = journal.run("XINFO CONSUMERS k g");
    assert!(consumers.starts_with("*2|*8|$4|name|$1|c|$7|pending|:1|$4|idle|:"), "{consumers}");
    assert!(consumers.contains("*8|$4|name|$1|d|$7|pending|:0|$4|idle|:"), "{consumers}");
    assert!(consumers.ends_with("$8|inactive|:-1|"), "{consumers}");
    let full = journal.run("XINFO STREAM k FULL COUNT 1");
    let head = "$6|groups|*1|*14|$4|name|$1|g|$17|last-delivered-id|$3|1-1|$12|entries-read|:1|$3|lag|:1|$9|pel-count|:1|\
                $7|pending|*1|*4|$3|1-1|$1|c|:";
    assert!(full.contains(head), "{full}");
    assert!(full.ends_with("$11|active-time|:-1|$9|pel-count|:0|$7|pending|*0|"), "{full}");
}

#[test]
fn blocked_consumers_are_served_in_order_of_arrival() {
    let journal = stream(0);
    let first = journal.block(1, "XREADGROUP GROUP g a BLOCK 0 COUNT 1 STREAMS k >");
    let second = journal.block(2, "XREADGROUP GROUP g b BLOCK 0 STREAMS k >");
    let third = journal.block(3, "XREADGROUP GROUP g c BLOCK 0 STREAMS k >");
    let reader = journal.block(4, "XREAD BLOCK 0 STREAMS k $");
    journal.run_together(&["XADD k 1-1 f v", "XADD k 1-2 f v", "XADD k 1-3 f v"]);
    let entry = |id: &str| format!("*2|$3|{id}|*2|$1|f|$1|v|");
    let (one, two, three) = (entry("1-1"), entry("1-2"), entry("1-3"));
    assert_eq!(first.reply(), format!("*1|*2|$1|k|*1|{one}"));
    assert_eq!(second.reply(), format!("*1|*2|$1|k|*2|{two}{three}"));
    assert_eq!(reader.reply(), format!("*1|*2|$1|k|*3|{one}{two}{three}"));
    assert!(third.is_silent());
    journal.run("XGROUP SETID k g 0");
    assert!(third.is_silent(), "moving a group back wakes no client");
    journal.run_together(&["DEL k", "XGROUP CREATE k g 0 MKSTREAM"]);
    assert!(third.is_silent(), "the group existed again at the retry");
    journal.run("XGROUP DESTROY k g");
    let destroyed = "-NOGROUP No such key 'k' or consumer group 'g' in XREADGROUP with GROUP option|";
    assert_eq!(third.reply(), destroyed);
}
