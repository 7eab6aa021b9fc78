use super::*;

#[test]
fn ranges_have_open_and_closed_ends() {
    let port = Port::new();
    for n in 1..=3 {
        port.ask(&format!("XADD k {n}-1 f {n}"));
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
        assert_eq!(port.ask(command), reply, "{command}");
        assert_eq!(port.published(command), reply, "{command}");
    }
}

#[test]
fn xread_gives_what_comes_after() {
    let mut port = Port::new();
    script(&port, &[("XADD a 1-1 f v", "$3|1-1|"), ("XADD a 2-1 f w", "$3|2-1|"), ("XADD b 5-1 f x", "$3|5-1|")]);
    let unbalanced = "-ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.|";
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
    script(&port, &lines);
    for (command, reply) in lines {
        assert_eq!(port.published(command), reply, "{command}");
    }
    script(&port, &[("XDEL a 2-1", ":1|"), ("XREAD STREAMS a +", "*-1|")]);
    port.protocol = Protocol::Resp3;
    script(&port, &[("XREAD STREAMS b a 0 9", "%1|$1|b|*1|*2|$3|5-1|*2|$1|f|$1|x|"), ("XREAD STREAMS a +", "_|")]);
}

#[test]
fn a_blocked_reader_is_served_by_the_command_that_gives_it_something() {
    let port = Port::new();
    let reader = port.block(7, "XREAD BLOCK 0 COUNT 1 STREAMS a b $ 2");
    port.ask("XADD b 1-1 f v");
    port.together(&["XADD a 1-1 f v", "XDEL a 1-1"]);
    assert!(reader.is_silent(), "nothing was left when it looked");
    assert_eq!(port.waiting(), 1);
    port.together(&["XADD b 3-1 f v", "XADD a 2-1 f v", "XADD a 2-2 f v"]);
    assert_eq!(
        reader.answer(),
        "*2|*2|$1|a|*1|*2|$3|2-1|*2|$1|f|$1|v|*2|$1|b|*1|*2|$3|3-1|*2|$1|f|$1|v|",
        "all keys with something new, in the order of the command"
    );
    assert_eq!(port.waiting(), 0);
}

#[test]
fn a_new_key_of_the_same_name_wakes_only_above_the_old_cursor() {
    let port = Port::new();
    port.ask("XADD k 5-5 f v");
    let reader = port.block(7, "XREAD BLOCK 0 STREAMS k k $ $");
    let later = port.block(8, "XREAD BLOCK 0 STREAMS k 9-9");
    for command in ["DEL k", "XADD k 5-4 f v", "XADD k 5-5 f v"] {
        port.ask(command);
    }
    assert!(reader.is_silent());
    port.ask("XADD k 5-6 f v");
    let stream = "*2|$1|k|*1|*2|$3|5-6|*2|$1|f|$1|v|";
    assert_eq!(reader.answer(), format!("*2|{stream}{stream}"));
    assert!(later.is_silent());
}

#[test]
fn a_reader_of_the_last_entry_takes_the_last_there_is_by_then() {
    let port = Port::new();
    script(&port, &[("XADD k 5-5 f v", "$3|5-5|"), ("XDEL k 5-5", ":1|")]);
    let reader = port.block(7, "XREAD BLOCK 0 STREAMS k +");
    port.ask("DEL k");
    port.together(&["XADD k 1-1 f v", "XADD k 1-2 f v"]);
    assert_eq!(reader.answer(), "*1|*2|$1|k|*1|*2|$3|1-2|*2|$1|f|$1|v|");
}

#[test]
fn a_reader_that_gives_up_is_answered() {
    let mut port = Port::new();
    for (protocol, command, reply) in [
        (Protocol::Resp2, "UNBLOCK", "*-1|"),
        (Protocol::Resp3, "UNBLOCK", "_|"),
        (Protocol::Resp2, "UNBLOCK ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK|"),
    ] {
        port.protocol = protocol;
        let reader = port.block(7, "XREAD BLOCK 0 STREAMS k $");
        assert_eq!(port.ask(command), ":1|");
        assert_eq!(reader.answer(), reply);
        assert_eq!(port.ask(command), ":0|");
    }
}
