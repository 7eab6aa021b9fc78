//! Verifies a store: every stream's record against its blocks, every block against its entries.
//!
//! Meant for a copy that has no writer. Only reads, and continues after a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use super::block_rows::parse_block_key;
use super::folder::copy_folder;
use super::open::is_partial_snapshot;
use super::tree_id::TreeId;
use super::{BlockRef, OpenError, Store, StoreError, StoreOptions, StreamRecord, block};
use crate::model::EntryId;

/// Maximum number of faults listed per stream.
const FAULTS_MAX: usize = 10;

/// Result of verifying a store.
#[derive(Clone, Debug, Default)]
pub struct StoreCheck {
    /// Number of streams.
    pub streams: u64,
    /// Number of entries in all blocks.
    pub entries: u64,
    /// Faults: the name of the stream, empty if it concerns none, and a description.
    pub faults: Vec<(Vec<u8>, String)>,
}

impl Store {
    /// Copies the store in `folder` to `copy` and opens the copy: opening writes, and `folder` must not
    /// change. No server can open it while it is copied.
    ///
    /// # Errors
    /// A server has it open, it cannot be read or copied, or the copy cannot be opened.
    pub fn open_copy(folder: &Path, copy: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::NotReadable { folder: folder.to_owned(), source };
        let lock = File::open(folder.join("db")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(OpenError::InUse { folder: folder.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        copy_folder(folder, copy, &is_partial_snapshot).map_err(failed)?;
        drop(lock);
        let options = StoreOptions { disk_free_min: None, ..StoreOptions::default() };
        Ok(Self::try_open(copy, options)?)
    }

    /// Verifies everything. `dense` selects the streams in which no line may be missing after the first
    /// line of the record.
    pub fn check_all(&self, dense: impl Fn(&[u8]) -> bool) -> StoreCheck {
        let mut found = StoreCheck::default();
        let mut numbers = BTreeSet::new();
        for row in self.scan(TreeId::Streams, &[]) {
            let (name, bytes) = match row {
                Ok(row) => row,
                Err(error) => {
                    found.faults.push((Vec::new(), format!("cannot read the streams: {error}")));
                    break;
                }
            };
            found.streams += 1;
            match StreamRecord::decode(&bytes) {
                Ok(record) => {
                    if !numbers.insert(record.number) {
                        let what = format!("its number {} is also used by another stream", record.number);
                        found.faults.push((name.to_vec(), what));
                    }
                    let mut stream = StreamCheck::new(&record, dense(&name) && record.key.deleted == 0);
                    self.check_stream(&record, &mut stream);
                    found.entries += stream.entries;
                    found.faults.extend(stream.faults.into_iter().map(|fault| (name.to_vec(), fault)));
                }
                Err(error) => found.faults.push((name.to_vec(), error.to_string())),
            }
        }
        match self.orphans(&numbers) {
            Ok(orphans) => found.faults.extend(orphans.into_iter().map(|(number, blocks)| {
                (Vec::new(), format!("{blocks} blocks belong to stream number {number}, which has no record"))
            })),
            Err(error) => found.faults.push((Vec::new(), format!("cannot read the blocks: {error}"))),
        }
        found
    }

    /// Returns the number of blocks for each stream number without a record.
    fn orphans(&self, known: &BTreeSet<u64>) -> Result<BTreeMap<u64, u64>, StoreError> {
        let mut orphans = BTreeMap::new();
        for row in self.scan_rows(TreeId::Blocks, &[]) {
            let key = row?.0;
            if let (Some(number), Some((_, 0))) = (key.first_chunk(), parse_block_key(&key)) {
                let number = u64::from_be_bytes(*number);
                if !known.contains(&number) {
                    *orphans.entry(number).or_default() += 1;
                }
            }
        }
        Ok(orphans)
    }

    fn check_stream(&self, record: &StreamRecord, stream: &mut StreamCheck) {
        for row in self.blocks_of(record.number) {
            match row {
                Ok((first, bytes)) => stream.block(first, &bytes),
                Err(error) => stream.fault(format!("cannot read its blocks: {error}")),
            }
        }
        match self.wrong_index_entries(record, &stream.blocks) {
            Ok(wrong) => wrong.into_iter().for_each(|first| {
                stream.fault(format!("the block index has a block {first} that is not stored like that"));
            }),
            Err(error) => stream.fault(format!("cannot read its block index: {error}")),
        }
        stream.end(record);
    }
}

/// State of verifying one stream.
struct StreamCheck {
    dense: bool,
    first_line: u64,
    entries: u64,
    faults: Vec<String>,
    /// The blocks so far.
    blocks: Vec<BlockRef>,
    /// The line expected at the start of the next block.
    next: Option<u64>,
    last_id: EntryId,
    total_bytes: Option<u64>,
}

impl StreamCheck {
    fn new(record: &StreamRecord, dense: bool) -> Self {
        Self {
            dense,
            first_line: record.first_line,
            entries: 0,
            faults: Vec::new(),
            blocks: Vec::new(),
            next: None,
            last_id: EntryId::MIN,
            total_bytes: None,
        }
    }

    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }

    fn block(&mut self, first: EntryId, bytes: &[u8]) {
        let header = match block::decode_header(bytes) {
            Ok(header) => header,
            Err(error) => return self.fault(format!("block {first}: {error}")),
        };
        let last_line = header.first_line.saturating_add(u64::from(header.count)).saturating_sub(1);
        // Trimmed, or packed into the block before: a kill prevented its removal.
        if last_line < self.first_line || (self.next.is_some() && header.last_id <= self.last_id) {
            return;
        }
        if header.bytes as usize != bytes.len() || header.count == 0 {
            return self.fault(format!("block {first} is incomplete: {} of {} bytes", bytes.len(), header.bytes));
        }
        self.blocks.push(BlockRef::new(first, &header));
        let expected = self.next.unwrap_or(self.first_line);
        let gap = if self.next.is_some() { header.first_line != expected } else { header.first_line > expected };
        if self.dense && gap {
            self.fault(format!("block {first} begins with line {}, not {expected}", header.first_line));
        }
        let (mut text_bytes, mut deleted, mut count, mut ids) = (0u64, false, 0u64, self.last_id);
        let mut disorder = None;
        let read = block::decode(first, bytes, |entry| {
            count += 1;
            text_bytes = text_bytes.saturating_add(entry.body.text_bytes());
            deleted |= entry.body.is_deleted();
            if entry.id <= ids {
                disorder.get_or_insert(entry.id);
            }
            ids = entry.id;
            true
        });
        self.entries += count;
        match read {
            Err(error) => self.fault(format!("block {first}, entry {}: {error}", count + 1)),
            Ok(()) if ids != header.last_id => {
                self.fault(format!("block {first} ends with {ids}, but its header has {}", header.last_id));
            }
            Ok(()) => {}
        }
        if let Some(id) = disorder {
            self.fault(format!("block {first}: id {id} is out of order"));
        }
        let origins: u64 = header.runs.iter().map(|run| u64::from(run.lines)).sum();
        if !header.runs.is_empty() && origins != u64::from(header.count) {
            self.fault(format!("block {first} has the origin of {origins} of its {} entries", header.count));
        }
        if let Some(before) = self.total_bytes.filter(|_| self.dense && !deleted)
            && before.saturating_add(text_bytes) != header.total_bytes
        {
            let actual = before.saturating_add(text_bytes);
            self.fault(format!("block {first} has a total of {} bytes, actual {actual}", header.total_bytes));
        }
        self.total_bytes = Some(header.total_bytes);
        self.next = Some(last_line.saturating_add(1));
        self.last_id = header.last_id;
    }

    fn end(&mut self, record: &StreamRecord) {
        let last = self.next.map_or(record.first_line.saturating_sub(1), |next| next - 1);
        if self.dense && record.last_line > last {
            self.fault(format!("its record ends with line {}, its blocks with line {last}", record.last_line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryBody, LineText, Origin};
    use crate::store::block::BlockBuilder;

    /// Stores ten lines in blocks of five. Returns the stream's record.
    fn filled(store: &Store) -> StreamRecord {
        let record = StreamRecord { number: 7, first_line: 1, last_line: 10, ..StreamRecord::default() };
        store.put_stream(b"a", &record).unwrap();
        let mut total = 0;
        for from in [1u64, 6] {
            let mut builder = BlockBuilder::new(EntryId::new(from, 0), from);
            for n in from..from + 5 {
                let body = EntryBody::Line(LineText { text: "x".repeat(10).into(), ..LineText::default() });
                let mut bytes = Vec::new();
                block::encode_body(&mut bytes, &body).unwrap();
                builder
                    .push_with_origin(EntryId::new(n, 0), &bytes, Origin::Numbered { session: "s", seq: n, piece: 0 })
                    .unwrap();
                total += body.text_bytes();
            }
            let first = builder.first();
            let (_, bytes) = builder.finish(total, 0).unwrap();
            store.put_block(7, first, &bytes).unwrap();
        }
        record
    }

    fn faults(store: &Store) -> String {
        let found = store.check_all(|_| true);
        found.faults.into_iter().map(|(_, what)| what + "\n").collect()
    }

    #[test]
    fn damaged_blocks_and_records_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let record = filled(&store);
        assert_eq!(faults(&store), "");
        let second = EntryId::new(6, 0);
        let (_, whole) = store.blocks_of(7).nth(1).unwrap().unwrap();
        for (change, wanted) in [
            (vec![b'X', 2], "it begins with"),
            (whole[..whole.len() - 3].to_vec(), "is incomplete"),
            (Vec::new(), "too short"),
        ] {
            store.put_block(7, second, &change).unwrap();
            assert!(faults(&store).contains(wanted), "{wanted}: {}", faults(&store));
        }
        store.put_block(7, second, &whole).unwrap();
        let right = BlockRef::new(second, &block::decode_header(&whole).unwrap());
        for (indexed, wanted) in [(BlockRef { count: 4, ..right }, "block index has a block 6-0"), (right, "")] {
            store.put_index_page(7, &[indexed]).unwrap();
            assert!(faults(&store).contains(wanted) && faults(&store).is_empty() == wanted.is_empty(), "{wanted}");
        }
        store.remove_index_page(7, second).unwrap();
        store.remove_block(7, second, whole.len()).unwrap();
        assert_eq!(faults(&store), "its record ends with line 10, its blocks with line 5\n");
        store.put_block(7, second, &whole).unwrap();
        store.put_stream(b"a", &StreamRecord { first_line: 2, ..record.clone() }).unwrap();
        assert_eq!(faults(&store), "");
        store.remove_block(7, EntryId::new(1, 0), 200).unwrap();
        assert_eq!(faults(&store), "block 6-0 begins with line 6, not 2\n");
        store.put_stream(b"b", &StreamRecord { number: 7, ..record }).unwrap();
        assert!(faults(&store).contains("also used by another stream"));
        store.put_block(8, second, &whole).unwrap();
        assert!(faults(&store).contains("1 blocks belong to stream number 8, which has no record"));
    }

    #[test]
    fn check_never_panics_on_flipped_bits() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        filled(&store);
        let (first, whole) = store.blocks_of(7).next().unwrap().unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            store.put_block(7, first, &flipped).unwrap();
            faults(&store);
        }
    }

    #[test]
    fn open_copy_leaves_the_folder_unchanged() {
        let (folder, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        filled(&store);
        store.commit().unwrap();
        let in_use = Store::open_copy(folder.path(), &copies.path().join("1"));
        assert!(matches!(in_use, Err(OpenError::InUse { .. })), "{in_use:?}");
        drop(store);
        let files = || {
            let mut files: Vec<_> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file())
                .map(|path| (fs::read(&path).unwrap(), path))
                .collect();
            files.sort();
            files
        };
        // sled's threads may hold the lock, and write, a little longer.
        let copy = loop {
            match Store::open_copy(folder.path(), &copies.path().join("2")) {
                Err(OpenError::InUse { .. }) => std::thread::yield_now(),
                done => break done.unwrap(),
            }
        };
        let before = files();
        assert_eq!(faults(&copy), "");
        assert_eq!(copy.check_all(|_| true).entries, 10);
        assert!(files() == before, "the folder has changed");
    }
}
