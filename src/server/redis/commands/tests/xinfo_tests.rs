use super::*;

#[test]
fn xinfo_stream_replies_like_redis() {
    let mut journal = TestJournal::new();
    check_replies(&journal, &[("XADD k 1-1 a 1", "$3|1-1|"), ("XADD k 1-2 b 2", "$3|1-2|")]);
    let numbers = "$6|length|:2|$15|radix-tree-keys|:1|$16|radix-tree-nodes|:2|$17|last-generated-id|$3|1-2|\
                   $20|max-deleted-entry-id|$3|0-0|$13|entries-added|:2|$23|recorded-first-entry-id|$3|1-1|";
    let (first, last) = ("*2|$3|1-1|*2|$1|a|$1|1|", "*2|$3|1-2|*2|$1|b|$1|2|");
    let wrong = "-ERR unknown subcommand or wrong number of arguments for 'stream'. Try XINFO HELP.|";
    check_replies(
        &journal,
        &[
            ("XINFO STREAM k", &format!("*20|{numbers}$6|groups|:0|$11|first-entry|{first}$10|last-entry|{last}")),
            ("XINFO STREAM k FULL COUNT 1", &format!("*18|{numbers}$7|entries|*1|{first}$6|groups|*0|")),
            ("XINFO STREAM k full", &format!("*18|{numbers}$7|entries|*2|{first}{last}$6|groups|*0|")),
            ("XINFO stream k FOO", wrong),
            ("XINFO stream k FULL COUNT", wrong),
            ("XINFO stream none FOO", "-ERR no such key|"),
            ("XINFO STREAM k FULL COUNT x", NOT_AN_INTEGER),
            ("XINFO FOO k", "-ERR unknown subcommand 'FOO'. Try XINFO HELP.|"),
            ("XTRIM k MAXLEN 0", ":2|"),
        ],
    );
    journal.protocol = Protocol::Resp3;
    let info = journal.run("XINFO STREAM k");
    assert!(info.starts_with("%10|$6|length|:0|$15|radix-tree-keys|:0|$16|radix-tree-nodes|:1|"), "{info}");
    assert!(info.ends_with("$11|first-entry|_|$10|last-entry|_|"), "{info}");
}
