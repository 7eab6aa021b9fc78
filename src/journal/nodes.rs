//! Redis' nodes: the unit in which `MAXLEN ~` and `MINID ~` trim, and which XINFO counts.
//!
//! Redis packs entries into nodes of at most 100 entries or 4096 bytes by default
//! (`stream-node-max-entries`, `stream-node-max-bytes`), and approximate trimming removes whole nodes. The number of entries in a
//! node depends on their size in Redis, which is therefore computed here; the entries themselves are
//! stored in blocks. After the store is reopened, nodes are counted again from the first entry.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::model::{EntryBody, EntryId};

/// Bytes above which Redis starts a node whatever the setting.
const NODE_BYTES_GREATEST: u64 = 1 << 30;
/// Bytes of an empty node.
const NODE_BYTES_MIN: usize = 7;

/// The size of a node, by Redis' settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Maximum number of entries in a node, including deleted ones (`stream-node-max-entries`); 0 is unlimited.
    pub entries: u64,
    /// Maximum bytes of a node (`stream-node-max-bytes`); 0 is unlimited.
    pub bytes: u64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self { entries: 100, bytes: 4096 }
    }
}

impl NodeLimits {
    /// Returns the maximum number of entries that `~` removes without a `LIMIT`: those of a hundred nodes.
    pub fn trim_limit(self) -> u64 {
        match self.entries {
            0 => 10_000,
            entries => entries.saturating_mul(100).min(1_000_000),
        }
    }

    /// Reports whether a node accepts an entry whose names and values have this many bytes.
    fn has_room(self, node: &StreamNode, bytes: usize) -> bool {
        let bytes_max = if self.bytes == 0 { NODE_BYTES_GREATEST } else { self.bytes.min(NODE_BYTES_GREATEST) };
        ((node.bytes + bytes) as u64) < bytes_max && (self.entries == 0 || u64::from(node.total) < self.entries)
    }
}

/// The limits in force, shared by the writer and CONFIG SET.
#[derive(Debug, Default)]
pub(super) struct SharedNodeLimits(Mutex<NodeLimits>);

impl SharedNodeLimits {
    pub(super) fn get(&self) -> NodeLimits {
        *self.0.lock()
    }

    pub(super) fn set(&self, limits: NodeLimits) {
        *self.0.lock() = limits;
    }
}

/// A node: consecutive entries and their size.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamNode {
    /// ID of its first entry ever.
    pub(super) first: EntryId,
    /// ID of its last entry, deleted or not.
    pub(super) last: EntryId,
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    /// Number of entries that are neither trimmed nor deleted.
    pub(super) live: u32,
    /// Number of entries ever added.
    total: u32,
    bytes: usize,
    /// Hash of the field names of its first entry. Entries with the same names are smaller.
    names: u64,
}

/// All nodes of a stream, in order, each with at least one live entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes(VecDeque<StreamNode>);

impl Nodes {
    /// Adds an entry after all others.
    pub(super) fn push(&mut self, limits: NodeLimits, id: EntryId, line: u64, body: &EntryBody<'_>) {
        let size = EntrySize::of(body);
        if !self.0.back().is_some_and(|node| limits.has_room(node, size.text_bytes)) {
            let bytes = NODE_BYTES_MIN + size.master_bytes;
            let (first_line, names) = (line, size.names);
            self.0.push_back(StreamNode {
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
        let same = node.names == size.names;
        let ms = id.ms.wrapping_sub(node.first.ms).cast_signed();
        let seq = id.seq.wrapping_sub(node.first.seq).cast_signed();
        // Includes the number of elements, with which Redis reads an entry backwards.
        let elements = if same { size.fields + 3 } else { 2 * size.fields + 4 };
        node.bytes += element(int_bytes(i64::from(!same))) + element(int_bytes(ms)) + element(int_bytes(seq));
        node.bytes += size.value_bytes + element(int_bytes(elements));
        if !same {
            node.bytes += element(int_bytes(size.fields)) + size.name_bytes;
        }
        (node.last, node.last_line) = (id, line);
        node.total += 1;
        node.live += 1;
    }

    pub(super) fn front(&self) -> Option<&StreamNode> {
        self.0.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut StreamNode> {
        self.0.front_mut()
    }

    pub(super) fn pop_front(&mut self) {
        self.0.pop_front();
    }

    /// Records the deletion of an entry. A node without live entries is removed.
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

    /// Returns the number of nodes of the radix tree in which Redis would store them
    /// (`radix-tree-nodes`).
    pub(super) fn tree_nodes(&self) -> usize {
        let keys: Vec<[u8; 16]> = self.0.iter().map(|node| node.first.to_be_bytes()).collect();
        if keys.is_empty() { 1 } else { tree_nodes(&keys, 0) }
    }
}

/// Returns the number of radix tree nodes for sorted keys: one for each run of bytes that several keys
/// share, one for each fork, and one for the end of each key.
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

/// The size of an entry in a node.
struct EntrySize {
    /// Bytes of names and values, which decide whether the entry fits in a node.
    text_bytes: usize,
    fields: i64,
    name_bytes: usize,
    value_bytes: usize,
    /// Bytes of the node header if the entry starts a node.
    master_bytes: usize,
    names: u64,
}

impl EntrySize {
    fn of(body: &EntryBody<'_>) -> Self {
        let mut size =
            Self { text_bytes: 0, fields: 0, name_bytes: 0, value_bytes: 0, master_bytes: 0, names: HASH_START };
        let mut add = |name: &[u8], value: &[u8]| {
            size.text_bytes += name.len() + value.len();
            size.fields += 1;
            size.name_bytes += text_bytes(name);
            size.value_bytes += text_bytes(value);
            size.names = name
                .iter()
                .fold(size.names ^ name.len() as u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(HASH_PRIME));
        };
        match body {
            EntryBody::Fields(fields) => fields.iter().for_each(|(name, value)| add(name, value)),
            EntryBody::Line(line) => {
                add(b"line", line.text.as_bytes());
                add(b"timestamp", TIMESTAMP_SAMPLE);
                add(b"stream", line.channel.as_str().as_bytes());
            }
        }
        // The counts of live and deleted entries and of fields, the names, and a terminator.
        size.master_bytes = 3 * element(1) + element(int_bytes(size.fields)) + size.name_bytes;
        size
    }
}

/// Constants of FNV-1a with 64 bits, which is fast for a few short names.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0100_0000_01b3;

/// A timestamp; every timestamp has this length.
const TIMESTAMP_SAMPLE: &[u8] = b"2026-05-09T14:23:01.000Z";

/// Returns the bytes of a listpack element: its contents, followed by their length.
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

/// Returns the bytes of an encoded integer, including the byte for its length.
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

/// Returns the bytes of a string as an element. A canonical decimal integer is stored as an integer.
fn text_bytes(text: &[u8]) -> usize {
    let bytes = match canonical_integer(text) {
        Some(number) => int_bytes(number),
        None => match text.len() {
            0..64 => 1 + text.len(),
            64..4_096 => 2 + text.len(),
            _ => 5 + text.len(),
        },
    };
    element(bytes)
}

/// Returns the integer whose canonical decimal form is `text`.
fn canonical_integer(text: &[u8]) -> Option<i64> {
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
    fn only_canonical_integers_are_parsed() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("127", 127), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(canonical_integer(text.as_bytes()), Some(number), "{text}");
        }
        for text in
            ["", "-", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "9223372036854775808", "12345678901234567890123"]
        {
            assert_eq!(canonical_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn node_holds_100_small_entries() {
        let mut nodes = Nodes::default();
        let body = EntryBody::Fields(vec![(b"f".into(), b"v".into())]);
        for n in 1..=250 {
            nodes.push(NodeLimits::default(), EntryId::new(n, 0), n, &body);
        }
        assert_eq!(nodes.0.iter().map(|node| node.live).collect::<Vec<_>>(), [100, 100, 50]);
        for n in 1..=100 {
            nodes.delete(EntryId::new(n, 0));
        }
        assert_eq!((nodes.len(), nodes.0[0].first), (2, EntryId::new(101, 0)));
    }

    #[test]
    fn radix_tree_forks_at_first_difference() {
        let key = |ms| EntryId::new(ms, 0).to_be_bytes();
        assert_eq!(tree_nodes(&[key(1)], 0), 2);
        assert_eq!(tree_nodes(&[key(1), key(2)], 0), 6);
        assert_eq!(tree_nodes(&[[0; 16], [1; 16]], 0), 5);
    }
}
