//! A listing of the store's contents that does not depend on the clock, for tests and for debugging.

use std::collections::BTreeMap;
use std::fmt;

use super::block_rows::parse_block_key;
use super::tree_id::TreeId;
use super::{GARBAGE, Store, StoreError, VALUE_BYTES_MAX, block};

/// All streams of a store, and counts of what belongs to none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreDump {
    /// Every stream that has a record, sorted by name.
    pub streams: Vec<StreamDump>,
    /// Blocks of streams without a record.
    pub orphans: usize,
    /// Removals interrupted by a kill; the next start finishes them.
    pub unfinished: usize,
}

/// One stream as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamDump {
    /// Name of the stream.
    pub name: String,
    /// First line according to its record.
    pub first_line: u64,
    /// Last line according to its record; the blocks may have later ones.
    pub last_line: u64,
    /// Sessions in its record.
    pub sessions: Vec<(String, u64)>,
    /// True if its record has an expiry time.
    pub expires: bool,
    /// Blocks, in order.
    pub blocks: Vec<BlockDump>,
}

/// One block as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDump {
    /// First line in the block.
    pub first_line: u64,
    /// Entries in the block.
    pub count: u32,
    /// Length of the block.
    pub bytes: usize,
    /// Bytes of all lines of the stream up to the end of the block.
    pub total_bytes: u64,
    /// Last number per session in its header.
    pub sessions: Vec<(String, u64)>,
}

impl Store {
    /// Returns a listing of the whole store. Reads everything, so it is slow.
    pub fn dump(&self) -> Result<StoreDump, StoreError> {
        let mut dump = StoreDump { unfinished: self.scan(TreeId::Meta, GARBAGE).count(), ..StoreDump::default() };
        let mut blocks: BTreeMap<u64, usize> = BTreeMap::new();
        for row in self.scan_rows(TreeId::Blocks, &[]) {
            let key = row?.0;
            if let (Some(number), Some((_, 0))) = (key.first_chunk(), parse_block_key(&key)) {
                *blocks.entry(u64::from_be_bytes(*number)).or_default() += 1;
            }
        }
        for row in self.streams() {
            let (name, record) = row?;
            blocks.remove(&record.number);
            dump.streams.push(StreamDump {
                name: String::from_utf8_lossy(&name).into_owned(),
                first_line: record.first_line,
                last_line: record.last_line,
                sessions: record.sessions,
                expires: record.expires_ms.is_some(),
                blocks: self.blocks_of(record.number).map(|row| dump_block(&row?.1)).collect::<Result<_, _>>()?,
            });
        }
        dump.orphans = blocks.values().sum();
        Ok(dump)
    }
}

fn dump_block(bytes: &[u8]) -> Result<BlockDump, StoreError> {
    let header = block::decode_header(bytes)?;
    Ok(BlockDump {
        first_line: header.first_line,
        count: header.count,
        bytes: bytes.len(),
        total_bytes: header.total_bytes,
        sessions: header.sessions,
    })
}

/// Prints the length only as a class: ids need more or fewer bytes depending on the clock.
impl fmt::Display for BlockDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.first_line + u64::from(self.count) - 1;
        let class = match self.bytes {
            0..1_024 => "under 1 KiB",
            1_024..4_096 => "1 to 4 KiB",
            4_096..=VALUE_BYTES_MAX => "4 to 7 KiB",
            _ => "over 7 KiB",
        };
        write!(f, "block {}..{last}, {} of all bytes, {class}", self.first_line, self.total_bytes)?;
        write_sessions(f, &self.sessions)
    }
}

impl fmt::Display for StreamDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}: record of {}..{}", self.name, self.first_line, self.last_line)?;
        write_sessions(f, &self.sessions)?;
        writeln!(f, "{}", if self.expires { ", expires" } else { "" })?;
        self.blocks.iter().try_for_each(|block| writeln!(f, "  {block}"))
    }
}

impl fmt::Display for StoreDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.streams.iter().try_for_each(|stream| stream.fmt(f))?;
        if self.orphans > 0 || self.unfinished > 0 {
            writeln!(f, "{} blocks of no stream, {} removals unfinished", self.orphans, self.unfinished)?;
        }
        Ok(())
    }
}

fn write_sessions(f: &mut fmt::Formatter<'_>, sessions: &[(String, u64)]) -> fmt::Result {
    sessions.iter().try_for_each(|(name, seq)| write!(f, ", session {name} to {seq}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryBody, EntryId, LineText};
    use crate::store::block::BlockBuilder;
    use crate::store::{StoreOptions, StreamRecord};

    fn put_block(store: &Store, number: u64, first_line: u64, text_bytes: usize) {
        let id = EntryId::new(1_000 + first_line, 0);
        let mut body = Vec::new();
        let line = LineText { text: "x".repeat(text_bytes).into(), ..LineText::default() };
        block::encode_body(&mut body, &EntryBody::Line(line)).unwrap();
        let mut builder = BlockBuilder::new(id, first_line);
        builder.push(id, &body).unwrap();
        builder.record_session("s", first_line);
        let (_, bytes) = builder.finish(9, 0).unwrap();
        store.put_block(number, id, &bytes).unwrap();
    }

    #[test]
    fn interrupted_removal_is_listed_and_finished_on_open() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(folder.path(), StoreOptions::default()).unwrap();
        let store = open();
        for (name, number) in [(b"a", 7), (b"b", 8)] {
            store.put_stream(name, &StreamRecord { number, first_line: 1, ..StreamRecord::default() }).unwrap();
            put_block(&store, number, 1, 10);
            put_block(&store, number, 2, 20_000);
        }
        // An older version did this before it removed the blocks.
        store.put(TreeId::Meta, &[GARBAGE, &7u64.to_be_bytes()].concat(), &[]);
        store.delete(TreeId::Streams, b"a");
        let whole = "stream b: record of 1..0\n  block 1..1, 9 of all bytes, under 1 KiB, session s to 1\n  \
                     block 2..2, 9 of all bytes, over 7 KiB, session s to 2\n";
        let cut = store.dump().unwrap();
        assert_eq!(cut.to_string(), format!("{whole}2 blocks of no stream, 1 removals unfinished\n"));
        store.commit().unwrap();
        drop(store);
        assert_eq!(open().dump().unwrap().to_string(), whole);
    }
}
