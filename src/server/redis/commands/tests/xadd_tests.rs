use super::*;

const ARITY: &str = "-ERR wrong number of arguments for 'xadd' command|";
const NOT_ABOVE: &str = "-ERR The ID specified in XADD is equal or smaller than the target stream top item|";

#[test]
fn xadd_assigns_increasing_ids() {
    let journal = TestJournal::new();
    let exhausted = "-ERR The stream has exhausted the last possible ID, unable to add more items|";
    check_replies(
        &journal,
        &[
            ("XADD k 0-* f v", "$3|0-1|"),
            ("XADD k 5 f v", "$3|5-0|"),
            ("XADD k 5-* f v", "$3|5-1|"),
            ("XADD k 4-* f v", NOT_ABOVE),
            ("XADD k 5-1 f v", NOT_ABOVE),
            ("XADD k 6-18446744073709551615 f v", "$22|6-18446744073709551615|"),
            ("XADD k 6-* f v", NOT_ABOVE),
            ("XADD k 0-0 f v", "-ERR The ID specified in XADD must be greater than 0-0|"),
            ("XADD k 0-0 f", ARITY),
            ("XADD k UNKNOWN 7-1 f v", INVALID_ID),
            ("DEL k", ":1|"),
            ("XADD k 99999999999999-18446744073709551615 f v", "$35|99999999999999-18446744073709551615|"),
            ("XADD k * f v", "$17|100000000000000-0|"),
            ("XADD e 18446744073709551615-18446744073709551615 f v", "$41|18446744073709551615-18446744073709551615|"),
            ("XADD e * f v", exhausted),
            ("XADD e 1-1 f v", exhausted),
        ],
    );
}

#[test]
fn a_rejected_xadd_creates_no_key() {
    let journal = TestJournal::new();
    check_replies(
        &journal,
        &[
            ("XADD k NOMKSTREAM 1-1 f v", "$-1|"),
            ("XADD k NOMKSTREAM 0-0 f v", "-ERR The ID specified in XADD must be greater than 0-0|"),
            ("XADD k NOMKSTREAM 1-1 f", ARITY),
            ("EXISTS k", ":0|"),
            ("XADD k 1-1 f v", "$3|1-1|"),
            ("XADD k NOMKSTREAM 1-2 f v", "$3|1-2|"),
        ],
    );
    for (command, makes) in [
        ("XADD k 1-1 f v", true),
        ("XADD k MAXLEN ~ 5 * f v", true),
        ("XADD k NOMKSTREAM 1-1 f v", false),
        ("XADD k x f v", false),
        ("XADD k 1-1 f", false),
        ("XADD k MAXLEN x 1-1 f v", false),
        ("XADD k", false),
    ] {
        assert_eq!(key_to_create(&parse(command)).is_some(), makes, "{command}");
    }
}

#[test]
fn trim_options_are_checked_in_redis_order() {
    let journal = TestJournal::new();
    let both = "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible|";
    let no_about = "-ERR syntax error, LIMIT cannot be used without the special ~ option|";
    let no_strategy = "-ERR syntax error, LIMIT cannot be used without specifying a trimming strategy|";
    check_replies(
        &journal,
        &[
            ("XADD k MAXLEN -1 abc f v", "-ERR The MAXLEN argument must be >= 0.|"),
            ("XADD k MAXLEN 5 abc f v", INVALID_ID),
            ("XADD k MAXLEN 05 1-1 f v", NOT_AN_INTEGER),
            ("XADD k MINID ( 1-1 f v", INVALID_ID),
            ("XADD k MINID 1 MINID 1 1-1 f v", both),
            ("XADD k LIMIT 0 1-1 f v", no_about),
            ("XADD k LIMIT 5 1-1 f v", no_strategy),
            ("XADD k LIMIT 5 x f v", INVALID_ID),
            ("XADD k MAXLEN = 5 LIMIT 5 1-1 f", no_about),
            ("XADD k MAXLEN ~ 5 LIMIT", INVALID_ID),
            ("XADD k MAXLEN ~ 5 LIMIT 1", ARITY),
            ("XADD k LIMIT 5 MAXLEN ~ 5 LIMIT 6 1-1 f v", "$3|1-1|"),
            ("XTRIM k LIMIT 0", "-ERR syntax error, XTRIM must be called with a trimming strategy|"),
            ("XTRIM k LIMIT 1", no_strategy),
            ("XTRIM k MAXLEN =", NOT_AN_INTEGER),
            ("XTRIM k MAXLEN ~ 1 LIMIT -1", "-ERR The LIMIT argument must be >= 0.|"),
            ("XTRIM k MAXLEN ~ 1 LIMIT", SYNTAX),
            ("XTRIM k NOMKSTREAM MAXLEN 1", SYNTAX),
            ("XTRIM none MAXLEN 0", ":0|"),
        ],
    );
}

#[test]
fn trimming_removes_entries_or_whole_nodes() {
    let journal = TestJournal::new();
    for n in 1..=250 {
        journal.run(&format!("XADD k {n}-1 f v"));
    }
    check_replies(
        &journal,
        &[
            ("XTRIM k MAXLEN ~ 151", ":0|"),
            ("XTRIM k MAXLEN ~ 120 LIMIT 99", ":0|"),
            ("XTRIM k MAXLEN ~ 120", ":100|"),
            ("XTRIM k MINID ~ 200-1", ":0|"),
            ("XTRIM k MINID 120", ":19|"),
            ("XTRIM k MINID ~ 201", ":81|"),
            ("XADD k MAXLEN 2 300 f v", "$5|300-0|"),
            ("XRANGE k - +", "*2|*2|$5|250-1|*2|$1|f|$1|v|*2|$5|300-0|*2|$1|f|$1|v|"),
            ("XADD k MAXLEN 0 300-1 f v", "$5|300-1|"),
            ("XLEN k", ":0|"),
            ("EXISTS k", ":1|"),
        ],
    );
}

#[test]
fn xdel_and_xsetid_update_the_last_id() {
    let journal = TestJournal::new();
    let below_deleted = "-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id|";
    let below_given = "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id|";
    let below_len = "-ERR The entries_added specified in XSETID is smaller than the target stream length|";
    check_replies(
        &journal,
        &[
            ("XDEL none x", ":0|"),
            ("XSETID none x", INVALID_ID),
            ("XSETID none 5-5", "-ERR no such key|"),
            ("XSETID none 2-0 MAXDELETEDID 5-0", below_given),
            ("XADD k 3-3 f v", "$3|3-3|"),
            ("XADD k 5-5 f v", "$3|5-5|"),
            ("XDEL k 3-3 x", INVALID_ID),
            ("XDEL k 05-+5 5-5 9", ":1|"),
            ("XSETID k 2-0", below_deleted),
            ("XSETID k 4-0 MAXDELETEDID 1-0", below_deleted),
            ("XSETID k 9-0 ENTRIESADDED -1", "-ERR entries_added must be positive|"),
            ("XSETID k 9-0 ENTRIESADDED 0", below_len),
            ("XSETID k 9-0 FOO 1", SYNTAX),
            ("XSETID k 9-0 MAXDELETEDID", SYNTAX),
            ("XSETID k 9-0 ENTRIESADDED 7 MAXDELETEDID 0-0", "+OK|"),
            ("XADD k 9-0 f v", NOT_ABOVE),
        ],
    );
    let info = journal.run("XINFO STREAM k");
    assert!(info.contains("last-generated-id|$3|9-0|$20|max-deleted-entry-id|$3|5-5|$13|entries-added|:7|"), "{info}");
}
