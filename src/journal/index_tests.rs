use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::*;
use crate::journal::{Durability, Journal, LineBatch, PageLimits, SetIdArgs, Tip, Transaction, Trim};
use crate::store::StoreOptions;

const NAME: &[u8] = b"long";
/// Entries of a full block.
const BLOCK: u64 = 100;
/// Entries of the blocks of a page.
const PAGE: u64 = BLOCK * INDEX_PAGE_BLOCKS as u64;

fn open(folder: &Path) -> Journal {
    Journal::open(folder, Durability::Commit).unwrap()
}

fn stream(journal: &Journal) -> Arc<Stream> {
    journal.stream_or_new(NAME).unwrap()
}

/// Appends these entries, up to `at_once` of them in each batch.
async fn append(journal: &Journal, entries: RangeInclusive<u64>, at_once: u64) {
    let mut from = *entries.start();
    while from <= *entries.end() {
        let to = entries.end().min(&(from + at_once - 1)).to_owned();
        let mut batch = LineBatch::new();
        for n in from..=to {
            let text = n.to_string();
            batch.push_fields(vec![("n".into(), text.as_str().into())]);
        }
        journal.append(&stream(journal), batch, None).await.unwrap().await.unwrap();
        from = to + 1;
    }
}

async fn run<T: Send + 'static>(journal: &Journal, job: impl FnOnce(&mut Transaction<'_>) -> T + Send + 'static) -> T {
    let room = journal.reserve(1).await.unwrap();
    let (reply, answer) = oneshot::channel();
    journal.submit(room, move |keys| {
        let done = job(keys);
        Box::new(move |failed| {
            assert!(failed.is_none());
            reply.send(done).ok();
        })
    });
    answer.await.unwrap()
}

/// All that readers see of the stream: its end, and the id and the body of each entry.
fn seen(journal: &Journal) -> (Tip, Vec<String>) {
    let (stream, mut found) = (stream(journal), Vec::new());
    let mut next = stream.tip().first_line;
    loop {
        let page = journal.read_entries(&stream, next, PageLimits::default()).unwrap();
        let Some(last) = page.entries.last() else { return (stream.tip(), found) };
        next = last.n + 1;
        found.extend(page.entries.iter().map(|entry| format!("{} {} {:?}", entry.n, entry.id, entry.body)));
    }
}

/// Overwrites the indexed blocks of a closed journal, so that they cannot be read. Returns their number.
fn spoil_indexed_blocks(folder: &Path) -> usize {
    let store = Store::open(folder, StoreOptions::default()).unwrap();
    let number = store.stream(NAME).unwrap().unwrap().number;
    let blocks = store.index_pages(number).collect::<Result<Vec<_>, _>>().unwrap().concat();
    for block in &blocks {
        store.put_block(number, block.first, b"spoiled").unwrap();
    }
    store.commit().unwrap();
    blocks.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn long_stream_is_loaded_without_reading_its_indexed_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    append(&journal, 1..=10 * PAGE, 1_000).await;
    let (tip, blocks) = (stream(&journal).tip(), stream(&journal).blocks.read().clone());
    journal.close().await;
    drop(journal);
    let spoiled = spoil_indexed_blocks(folder.path());
    assert!(spoiled >= blocks.len() - 3 * INDEX_PAGE_BLOCKS, "only {spoiled} of {} are indexed", blocks.len());

    let journal = open(folder.path());
    let loaded = stream(&journal);
    assert_eq!((loaded.tip(), &*loaded.blocks.read()), (tip, &blocks));
    append(&journal, tip.last_line + 1..=tip.last_line + 10, 10).await;
    assert_eq!(loaded.tip().last_line, tip.last_line + 10);
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_removed_with_their_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    append(&journal, 1..=6 * PAGE, 1_000).await;
    append(&journal, 6 * PAGE + 1..=6 * PAGE + 1, 1).await;
    let pages = |journal: &Journal| journal.store().index_pages(stream(journal).number).count();
    let before = pages(&journal);
    assert!(before >= 4, "{before} pages");
    // One page describes both trimmed and remaining blocks.
    journal.trim(&stream(&journal), Trim::ThroughLine(PAGE + PAGE / 2 + 50)).await.unwrap();
    append(&journal, 6 * PAGE + 2..=6 * PAGE + 2, 1).await;
    assert_eq!(pages(&journal), before - 1);
    // A changed block removes its page only.
    let changed = stream(&journal).index.lock()[1].first;
    assert_eq!(run(&journal, move |keys| keys.delete(NAME, &[changed])).await.unwrap(), 1);
    assert_eq!(pages(&journal), before - 2);
    journal.trim(&stream(&journal), Trim::MaxLen(5)).await.unwrap();
    append(&journal, 6 * PAGE + 3..=6 * PAGE + 3, 1).await;
    assert_eq!(pages(&journal), 0);
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_is_the_same_after_it_was_loaded_again_whatever_was_changed() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        let mut dice = seed;
        let mut roll = |sides: u64| {
            dice = u64::wrapping_add(6_364_136_223_846_793_005_u64.wrapping_mul(dice), 1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        for step in 0..60 {
            let tip = stream(&journal).tip();
            match roll(10) {
                0..4 => {
                    let (count, at_once) = (1 + roll(PAGE), if roll(3) == 0 { 20 } else { 400 });
                    append(&journal, tip.last_line + 1..=tip.last_line + count, at_once).await;
                }
                4 => drop(journal.compact(&stream(&journal)).await.unwrap()),
                5 => {
                    let line = tip.first_line + roll(PAGE);
                    journal.trim(&stream(&journal), Trim::ThroughLine(line)).await.unwrap();
                }
                6 => drop(journal.trim(&stream(&journal), Trim::MaxLen(roll(3 * PAGE))).await.unwrap()),
                7 if !tip.is_empty() => {
                    let line = tip.first_line + roll(tip.len());
                    let page = journal.read_entries(&stream(&journal), line, PageLimits::default()).unwrap();
                    let ids: Vec<EntryId> = page.entries.first().map(|entry| entry.id).into_iter().collect();
                    run(&journal, move |keys| keys.delete(NAME, &ids)).await.unwrap();
                }
                8 if tip.shown_len == 0 && tip.exists => {
                    // The last id may decrease once no entry is left.
                    let args = SetIdArgs { last_id: EntryId::new(1, 1), entries_added: None, max_deleted_id: None };
                    run(&journal, move |keys| keys.set_id(NAME, args)).await.unwrap().unwrap().ok();
                }
                _ => {
                    journal.close().await;
                    drop(journal);
                    journal = open(folder.path());
                }
            }
            let before = seen(&journal);
            journal.inner.streams.forget(&stream(&journal));
            assert_eq!(seen(&journal), before, "seed {seed}, step {step}");
        }
        journal.close().await;
    }
}
