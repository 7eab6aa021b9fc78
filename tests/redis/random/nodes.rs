//! What a node holds depends on the bytes its entries would take, and `~` cuts by nodes: many entries of
//! odd sizes, then approximate trims.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::select;

/// Where a packed number or a text of a length takes another number of bytes.
const NUMBERS: &[i64] = &[
    0,
    1,
    -1,
    63,
    64,
    127,
    128,
    -128,
    -129,
    4095,
    4096,
    -4096,
    -4097,
    32_767,
    32_768,
    -32_769,
    8_388_607,
    8_388_608,
    -8_388_609,
    2_147_483_647,
    2_147_483_648,
    -2_147_483_649,
    i64::MAX,
    i64::MIN,
];
const LENGTHS: &[usize] =
    &[0, 1, 2, 19, 20, 21, 62, 63, 64, 65, 126, 127, 128, 129, 500, 1365, 2047, 4080, 4095, 4096, 9000];

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => select(NUMBERS).prop_map(|number| number.to_string()),
        2 => any::<i64>().prop_map(|number| number.to_string()),
        2 => (0..300_u16).prop_map(|number| number.to_string()),
        1 => select(vec!["007", "-0", "+5", "\" 5\"", "1.0", "18446744073709551615", "9223372036854775808", "\"\"", "1e3"])
            .prop_map(str::to_owned),
        3 => select(LENGTHS).prop_map(|length| if length == 0 { "\"\"".to_owned() } else { format!("%{length}xv") }),
        3 => (1..400_usize).prop_map(|length| format!("%{length}xw")),
    ]
    .boxed()
}

/// The names of an entry's fields: mostly those of the one before.
fn names() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        8 => Just(vec!["line".to_owned()]),
        4 => Just(vec!["line".to_owned(), "timestamp".to_owned(), "stream".to_owned()]),
        1 => Just(vec!["timestamp".to_owned(), "line".to_owned(), "stream".to_owned()]),
        1 => Just(vec!["line".to_owned(), "line".to_owned()]),
        1 => Just(vec!["7".to_owned()]),
        2 => prop::collection::vec(text(), 1..5),
    ]
}

/// Runs of entries alike, so that nodes fill by count and by bytes.
fn entries() -> impl Strategy<Value = Vec<String>> {
    let entry = names().prop_flat_map(|names| {
        prop::collection::vec(text(), names.len()).prop_map(move |values| {
            let mut pairs = String::new();
            for (name, value) in names.iter().zip(&values) {
                write!(pairs, " {name} {value}").unwrap();
            }
            pairs
        })
    });
    prop::collection::vec((entry, prop_oneof![3 => 1..4_usize, 1 => 1..120_usize]), 1..40)
        .prop_map(|runs| runs.iter().flat_map(|(entry, times)| vec![entry.clone(); *times]).take(600).collect())
}

/// Entries, deletions among them, and trims that cut more and more.
pub(super) fn sequence() -> impl Strategy<Value = Vec<String>> {
    let deleted = prop::collection::vec(0..600_u16, 0..30);
    let limits = prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..5_u16), 1..6);
    (entries(), deleted, limits).prop_map(|(entries, deleted, limits)| {
        let mut lines = Vec::new();
        for (index, pairs) in entries.iter().enumerate() {
            lines.push(format!("XADD k {}-1{pairs}", index + 1));
        }
        lines.push("XINFO STREAM k".to_owned());
        lines.extend(deleted.iter().map(|id| format!("XDEL k {id}-1")));
        for (at, by_id, limit) in limits {
            let at = at.index(entries.len() + 1);
            let (strategy, bound) = if by_id { ("MINID", format!("{at}-1")) } else { ("MAXLEN", at.to_string()) };
            let limit = if limit == 0 { String::new() } else { format!(" LIMIT {}", limit * 60) };
            lines.push(format!("XTRIM k {strategy} ~ {bound}{limit}"));
            lines.extend(["XRANGE k - + COUNT 1", "XINFO STREAM k"].map(str::to_owned));
        }
        lines
    })
}
