//! Redis' nodes: what `MAXLEN ~` and `MINID ~` cut by, and what XINFO counts.
//!
//! Redis packs entries into nodes of at most 100 entries or 4096 bytes (`stream-node-max-entries`,
//! `stream-node-max-bytes`) and trims approximately by whole nodes. How many entries a node takes
//! depends on the bytes they take in Redis, so these are counted here; the entries themselves lie
//! in blocks of our own. After an opening nodes are counted anew from the first entry.

use std::collections::VecDeque;

use crate::model::{EntryBody, EntryId};

/// Entries of a node, deleted ones included.
pub const NODE_ENTRIES_MAX: u32 = 100;
/// Bytes of a node.
const NODE_BYTES_MAX: usize = 4096;
/// What an empty node takes.
const NODE_BYTES_MIN: usize = 7;

/// One node: entries that follow one another, and what they take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The id of the entry it began with.
    pub(super) first: EntryId,
    /// The id of its last entry, deleted or not.
    pub(super) last: EntryId,
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    /// Entries that are neither trimmed nor deleted.
    pub(super) live: u32,
    /// Entries ever put in.
    total: u32,
    bytes: usize,
    /// A hash of the names of the first entry's fields: entries with the same names take less.
    names: u64,
}

/// All nodes of a stream, in order; none without a live entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes(VecDeque<Node>);

impl Nodes {
    /// Adds an entry behind all others.
    pub(super) fn push(&mut self, id: EntryId, line: u64, body: &EntryBody<'_>) {
        let weight = Weight::of(body);
        let room = |node: &Node| node.bytes + weight.text_bytes < NODE_BYTES_MAX && node.total < NODE_ENTRIES_MAX;
        if !self.0.back().is_some_and(room) {
            let bytes = NODE_BYTES_MIN + weight.master_bytes;
            let (first_line, names) = (line, weight.names);
            self.0.push_back(Node {
                first: id,
                last: id,
                first_line,
                last_line: line,
                live: 0,
                total: 0,
                bytes,
                names,
            });
        }
        let Some(node) = self.0.back_mut() else { return };
        let same = node.names == weight.names;
        let ms = id.ms.wrapping_sub(node.first.ms).cast_signed();
        let seq = id.seq.wrapping_sub(node.first.seq).cast_signed();
        // The number of elements, so that an entry can be read backwards.
        let elements = if same { weight.fields + 3 } else { 2 * weight.fields + 4 };
        node.bytes += element(int_bytes(i64::from(!same))) + element(int_bytes(ms)) + element(int_bytes(seq));
        node.bytes += weight.value_bytes + element(int_bytes(elements));
        if !same {
            node.bytes += element(int_bytes(weight.fields)) + weight.name_bytes;
        }
        (node.last, node.last_line) = (id, line);
        node.total += 1;
        node.live += 1;
    }

    pub(super) fn front(&self) -> Option<&Node> {
        self.0.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Node> {
        self.0.front_mut()
    }

    pub(super) fn pop_front(&mut self) {
        self.0.pop_front();
    }

    /// One entry of the node that holds this id was deleted; a node without a live one goes.
    pub(super) fn delete(&mut self, id: EntryId) {
        let Some(at) = self.0.partition_point(|node| node.first <= id).checked_sub(1) else { return };
        if let Some(node) = self.0.get_mut(at) {
            node.live = node.live.saturating_sub(1);
            if node.live == 0 {
                self.0.remove(at);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Nodes of the radix tree that Redis would keep them in (`radix-tree-nodes`).
    pub(super) fn tree_nodes(&self) -> usize {
        let keys: Vec<[u8; 16]> = self.0.iter().map(|node| node.first.to_be_bytes()).collect();
        if keys.is_empty() { 1 } else { tree_nodes(&keys, 0) }
    }
}

/// A radix tree has a node for each run of bytes that several keys share, one where they part, and
/// one at the end of each.
fn tree_nodes(keys: &[[u8; 16]], depth: usize) -> usize {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 0 };
    if keys.len() == 1 {
        return if depth == first.len() { 1 } else { 2 };
    }
    let shared = (depth..first.len()).take_while(|at| first[*at] == last[*at]).count();
    let fork = depth + shared;
    let branches = keys.chunk_by(|a, b| a[fork] == b[fork]).map(|branch| tree_nodes(branch, fork + 1));
    usize::from(shared > 0) + 1 + branches.sum::<usize>()
}

/// What an entry takes in a node.
struct Weight {
    /// Names and values as they came: what decides whether it still belongs into a node.
    text_bytes: usize,
    fields: i64,
    name_bytes: usize,
    value_bytes: usize,
    /// What a node takes that begins with it, besides the entry.
    master_bytes: usize,
    names: u64,
}

impl Weight {
    fn of(body: &EntryBody<'_>) -> Self {
        let mut weight =
            Self { text_bytes: 0, fields: 0, name_bytes: 0, value_bytes: 0, master_bytes: 0, names: HASH_START };
        let mut add = |name: &[u8], value: &[u8]| {
            weight.text_bytes += name.len() + value.len();
            weight.fields += 1;
            weight.name_bytes += text_bytes(name);
            weight.value_bytes += text_bytes(value);
            weight.names = name.iter().fold(weight.names ^ name.len() as u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(HASH_PRIME)
            });
        };
        match body {
            EntryBody::Fields(fields) => fields.iter().for_each(|(name, value)| add(name, value)),
            EntryBody::Line(line) => {
                add(b"line", line.text.as_bytes());
                add(b"timestamp", TIMESTAMP_FORM);
                add(b"stream", line.channel.as_str().as_bytes());
            }
        }
        // Its counts of live and deleted entries and of fields, the names, and an end.
        weight.master_bytes = 3 * element(1) + element(int_bytes(weight.fields)) + weight.name_bytes;
        weight
    }
}

/// FNV-1a, 64 bits: quick for a few short names.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0100_0000_01b3;

/// As long as every timestamp.
const TIMESTAMP_FORM: &[u8] = b"2026-05-09T14:23:01.000Z";

/// An element: what it holds, and its length again behind it.
const fn element(bytes: usize) -> usize {
    let back = match bytes {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    bytes + back
}

/// A number, with the byte that says how long it is.
const fn int_bytes(number: i64) -> usize {
    match number {
        0..=127 => 1,
        -4_096..=4_095 => 2,
        -32_768..=32_767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    }
}

/// A text as an element; one that is a number in its plain form is kept as a number.
fn text_bytes(text: &[u8]) -> usize {
    let bytes = match plain_number(text) {
        Some(number) => int_bytes(number),
        None => match text.len() {
            0..64 => 1 + text.len(),
            64..4_096 => 2 + text.len(),
            _ => 5 + text.len(),
        },
    };
    element(bytes)
}

/// The number that a text is, if it would be printed just so.
fn plain_number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [] => false,
        [b'0'] => text.len() == 1,
        [first, rest @ ..] => matches!(first, b'1'..=b'9') && rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
    };
    if plain { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_are_numbers() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("127", 127), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(plain_number(text.as_bytes()), Some(number), "{text}");
        }
        for text in
            ["", "-", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "9223372036854775808", "12345678901234567890123"]
        {
            assert_eq!(plain_number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_node_takes_a_hundred_small_entries() {
        let mut nodes = Nodes::default();
        let body = EntryBody::Fields(vec![(b"f".into(), b"v".into())]);
        for n in 1..=250 {
            nodes.push(EntryId::new(n, 0), n, &body);
        }
        assert_eq!(nodes.0.iter().map(|node| node.live).collect::<Vec<_>>(), [100, 100, 50]);
        for n in 1..=100 {
            nodes.delete(EntryId::new(n, 0));
        }
        assert_eq!((nodes.len(), nodes.0[0].first), (2, EntryId::new(101, 0)));
    }

    #[test]
    fn the_tree_parts_where_keys_part() {
        let key = |ms| EntryId::new(ms, 0).to_be_bytes();
        assert_eq!(tree_nodes(&[key(1)], 0), 2);
        assert_eq!(tree_nodes(&[key(1), key(2)], 0), 6);
        assert_eq!(tree_nodes(&[[0; 16], [1; 16]], 0), 5);
    }
}
