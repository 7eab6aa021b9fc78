//! Streams as keys: what a job does is there after the next opening, and what a task's log keeps.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tasktail::journal::{
    Claim, Database, GroupStart, IdRange, Journal, JournalOptions, KeyReader, LineBatch, NewId, PageLimits, SetIdArgs,
    StreamInfo, Transaction, Trim,
};
use tasktail::model::{ByteStr, Channel, EntryFields, EntryId, Timestamp};
use tokio::sync::oneshot;

const ALL: IdRange = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: usize::MAX, reverse: false };

fn open(folder: &Path) -> Journal {
    let kept: fn(&[u8]) -> bool = |name| name.starts_with(b"kept");
    Journal::open_with(folder, JournalOptions { archived: Some(kept), ..JournalOptions::default() }).unwrap()
}

/// Runs a job and waits until it is durable.
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

fn fields(text: &str) -> EntryFields<'_> {
    vec![(ByteStr::from("line"), ByteStr::from(text))]
}

fn id(ms: u64) -> EntryId {
    EntryId::new(ms, 1)
}

fn add(keys: &mut Transaction<'_>, name: &str, ms: std::ops::RangeInclusive<u64>) {
    for ms in ms {
        keys.add(name.as_bytes(), NewId::Exact(id(ms)), fields(&format!("line {ms}"))).unwrap();
    }
}

fn ids(keys: &mut impl KeyReader, name: &str, range: IdRange) -> Vec<u64> {
    let mut found = Vec::new();
    keys.range(name.as_bytes(), range, &mut |entry| found.push(entry.id.ms)).unwrap();
    found
}

/// Everything that a client can see of a key.
type Seen = (StreamInfo, Vec<u64>, Option<Timestamp>, Vec<String>);

async fn seen(journal: &Journal, name: &'static str) -> Option<Seen> {
    run(journal, move |keys| {
        let info = keys.info(name.as_bytes()).unwrap()?;
        let expires = keys.metadata(name.as_bytes()).unwrap()?.expires;
        let groups = keys.groups(name.as_bytes()).unwrap()?;
        let mut told: Vec<String> = groups.iter().map(|group| format!("{group:?}")).collect();
        for group in &groups {
            told.push(format!("{:?}", keys.consumers(name.as_bytes(), &group.name).unwrap()));
            for consumer in keys.consumers(name.as_bytes(), &group.name).unwrap().unwrap() {
                let pending =
                    keys.consumer_pending(name.as_bytes(), &group.name, &consumer.name, 100).unwrap().unwrap();
                told.extend(pending.iter().map(|it| format!("{} {} {}", it.id, it.delivered_ms, it.count)));
            }
        }
        Some((info, ids(keys, name, ALL), expires, told))
    })
    .await
}

/// The nodes are counted anew at an opening; all else stays.
fn without_nodes(seen: Option<Seen>) -> Option<Seen> {
    seen.map(|(info, ids, expires, groups)| (StreamInfo { nodes: 0, tree_nodes: 0, ..info }, ids, expires, groups))
}

#[tokio::test]
async fn changes_of_a_key_survive_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    run(&journal, |keys| {
        add(keys, "plain", 1..=250);
        assert_eq!(keys.trim(b"plain", Trim::AboutMaxLen(120, 0)).unwrap(), 100);
        assert_eq!(keys.trim(b"plain", Trim::MaxLen(145)).unwrap(), 5);
        assert_eq!(keys.delete(b"plain", &[id(7), id(150), id(151), id(250)]).unwrap(), 3);
        let tip = SetIdArgs { last_id: id(300), entries_added: Some(1_000), max_deleted_id: None };
        keys.set_id(b"plain", tip).unwrap().unwrap().unwrap();
        keys.expire(b"plain", Some(Timestamp::from_millis(4_000_000_000_000))).unwrap();
        keys.create_group(b"plain", b"g", GroupStart::After(id(110)), Some(3), false).unwrap().unwrap();
        keys.join_group(b"plain", b"g", b"c").unwrap().unwrap();
        assert_eq!(keys.read_new(b"plain", b"g", b"c", 5, true, &mut |_| {}).unwrap(), Ok(5));
        assert_eq!(keys.ack(b"plain", b"g", &[id(112)]).unwrap(), Ok(1));
        keys.claim(b"plain", b"g", b"d", &[id(113)], Claim::default(), &mut |_| {}).unwrap().unwrap();
        keys.create_group(b"plain", b"gone", GroupStart::Last, None, false).unwrap().unwrap();
        keys.destroy_group(b"plain", b"gone").unwrap().unwrap();
    })
    .await;
    run(&journal, |keys| {
        add(keys, "lowered", 1..=20);
        assert_eq!(keys.trim(b"lowered", Trim::MaxLen(0)).unwrap(), 20);
        let tip = SetIdArgs { last_id: id(5), entries_added: None, max_deleted_id: None };
        keys.set_id(b"lowered", tip).unwrap().unwrap().unwrap();
        add(keys, "lowered", 6..=8);
        add(keys, "removed", 1..=8);
        assert!(keys.remove(b"removed").unwrap() && !keys.remove(b"removed").unwrap());
        add(keys, "removed", 1..=2);
        keys.create(b"empty").unwrap();
    })
    .await;
    let mut before = Vec::new();
    for name in ["plain", "lowered", "removed", "empty"] {
        before.push(without_nodes(seen(&journal, name).await));
    }
    let Some((info, found, ..)) = &before[0] else { panic!("plain is gone") };
    assert_eq!((info.len, info.max_deleted_id, info.entries_added, info.first_id), (142, id(250), 1_000, id(106)));
    assert_eq!(*found, (106..250).filter(|ms| *ms != 150 && *ms != 151).collect::<Vec<_>>());
    assert_eq!(ids(&mut journal.snapshot(), "lowered", ALL), [6, 7, 8]);
    let backwards = IdRange { reverse: true, count: 3, ..ALL };
    assert_eq!(ids(&mut journal.snapshot(), "plain", backwards), [249, 248, 247]);
    journal.close().await;
    drop(journal);

    let journal = open(folder.path());
    for (name, before) in ["plain", "lowered", "removed", "empty"].into_iter().zip(before) {
        assert_eq!(without_nodes(seen(&journal, name).await), before, "{name}");
    }
    run(&journal, |keys| {
        assert!(keys.add(b"plain", NewId::Exact(id(300)), fields("again")).is_err());
        assert_eq!(keys.add(b"plain", NewId::AutoSeq(300), fields("next")).unwrap(), EntryId::new(300, 2));
        assert_eq!(keys.names().unwrap(), [&b"empty"[..], b"lowered", b"plain", b"removed"]);
    })
    .await;
    journal.close().await;
    drop(journal);
}

#[tokio::test]
async fn lines_trimmed_from_a_key_remain_readable_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    run(&journal, |keys| {
        add(keys, "kept", 1..=30);
        keys.delete(b"kept", &[id(2)]).unwrap();
        keys.trim(b"kept", Trim::MaxLen(10)).unwrap();
    })
    .await;
    let stream = journal.stream(b"kept").unwrap().unwrap();
    let page = journal.read(&stream, 1, PageLimits::default()).unwrap();
    assert_eq!(page.lines.iter().map(|line| line.n).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert_eq!((page.lines[1].channel, page.lines[2].line.as_ref()), (Channel::Internal, "line 3"));
    assert_eq!(ids(&mut journal.snapshot(), "kept", ALL), (21..=30).collect::<Vec<_>>());
    assert_eq!(journal.trim(&stream, Trim::ThroughLine(25)).await.unwrap(), 25);
    assert_eq!(ids(&mut journal.snapshot(), "kept", ALL), (26..=30).collect::<Vec<_>>());

    run(&journal, |keys| {
        assert!(keys.remove(b"kept").unwrap());
        assert!(keys.metadata(b"kept").unwrap().is_none());
    })
    .await;
    assert_eq!(journal.read(&stream, 1, PageLimits::default()).unwrap().lines.len(), 5, "the lines are still here");
    journal.close().await;
    drop(journal);
    let journal = open(folder.path());
    assert!(seen(&journal, "kept").await.is_none());
    let refused = run(&journal, |keys| keys.add(b"kept", NewId::Exact(id(9)), fields("back")).is_err()).await;
    assert!(refused, "ids of a kept stream do not go back");
    run(&journal, |keys| add(keys, "kept", 40..=41)).await;
    let stream = journal.stream(b"kept").unwrap().unwrap();
    let mut batch = LineBatch::new();
    batch.push_fields(fields("appended"));
    assert_eq!(journal.append(&stream, batch, None).await.unwrap().await.unwrap().last_line, 33);
    let info = seen(&journal, "kept").await.unwrap().0;
    assert_eq!((info.len, info.entries_added, info.first_id), (3, 3, id(40)));
    journal.close().await;
    drop(journal);
}

#[tokio::test]
async fn an_expired_key_is_absent_at_once_and_fails_watches() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let dirty = Arc::new(AtomicBool::new(false));
    let watched = dirty.clone();
    run(&journal, move |keys| {
        add(keys, "a", 1..=3);
        keys.watch(b"a", &watched);
        keys.watch(b"b", &watched);
    })
    .await;
    assert!(!dirty.load(Ordering::Acquire));
    run(&journal, |keys| {
        let soon = Timestamp::from_millis(keys.now().as_millis() + 1);
        keys.expire(b"a", Some(soon)).unwrap();
        while keys.now() < soon {
            keys.update_time();
        }
        assert!(keys.metadata(b"a").unwrap().is_none());
        assert!(ids(keys, "a", ALL).is_empty());
        add(keys, "a", 1..=1);
    })
    .await;
    assert!(dirty.load(Ordering::Acquire));
    assert_eq!(ids(&mut journal.snapshot(), "a", ALL), [1]);
    journal.close().await;
    drop(journal);
}

#[tokio::test]
async fn maintenance_frees_ended_streams_and_packs_small_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    for ms in 1..=50 {
        run(&journal, move |keys| add(keys, "trickle", ms..=ms)).await;
    }
    run(&journal, |keys| {
        add(keys, "over", 1..=3);
        add(keys, "stays", 1..=3);
        let soon = Timestamp::from_millis(keys.now().as_millis() + 1);
        keys.expire(b"over", Some(soon)).unwrap();
        keys.expire(b"stays", Some(Timestamp::from_millis(soon.as_millis() + 3_600_000))).unwrap();
        while keys.now() <= soon {
            keys.update_time();
        }
    })
    .await;
    assert_eq!(journal.expire_due().await.unwrap(), 1);
    assert_eq!(journal.compact_all().await.unwrap(), 49);
    let stored = journal.store().dump().unwrap().to_string();
    assert!(!stored.contains("stream over") && stored.contains("stream stays"), "{stored}");
    assert_eq!(ids(&mut journal.snapshot(), "trickle", ALL), (1..=50).collect::<Vec<_>>());
    journal.close().await;
}

/// A fault in a job ends writes, loudly; what was published is read on, and nothing of the job is there.
#[tokio::test]
async fn a_fault_in_a_job_ends_writes_and_not_reads() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    run(&journal, |keys| add(keys, "plain", 1..=3)).await;
    let room = journal.reserve(1).await.unwrap();
    let (reply, answer) = oneshot::channel::<()>();
    journal.submit(room, move |keys| {
        add(keys, "plain", 4..=4);
        let _held = reply;
        panic!("a fault of this test");
    });
    answer.await.unwrap_err();
    let stream = journal.stream(b"plain").unwrap().unwrap();
    let mut batch = LineBatch::new();
    batch.push_fields(fields("x"));
    let refused = journal.append(&stream, batch, None).await.unwrap().await.unwrap_err();
    assert!(refused.to_string().contains("a fault of this test"), "{refused}");
    assert!(journal.check_can_grow().is_err());
    assert_eq!(ids(&mut journal.snapshot(), "plain", ALL), [1, 2, 3]);
    journal.close().await;
    drop((stream, journal));
    let journal = open(folder.path());
    assert_eq!(run(&journal, |keys| ids(keys, "plain", ALL)).await, [1, 2, 3]);
    run(&journal, |keys| add(keys, "plain", 4..=4)).await;
    journal.close().await;
}

#[tokio::test]
async fn keys_of_every_database_are_there_after_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    run(&journal, |keys| {
        for database in Database::all() {
            keys.select(database);
            let last = u64::from(database.number()) + 1;
            add(keys, "k", 1..=last);
        }
    })
    .await;
    run(&journal, |keys| {
        keys.select(Database::new(3).unwrap());
        assert!(keys.remove(b"k").unwrap());
        keys.select(Database::new(4).unwrap());
        keys.expire(b"k", Some(Timestamp::from_millis(1))).unwrap();
    })
    .await;
    journal.close().await;
    drop(journal);
    let journal = open(folder.path());
    let mut keys = journal.snapshot();
    for database in Database::all() {
        keys.select(database);
        let len = keys.metadata(b"k").unwrap().map(|key| key.len);
        let expected = if [3, 4].contains(&database.number()) { None } else { Some(u64::from(database.number()) + 1) };
        assert_eq!(len, expected, "{database:?}");
        assert_eq!(keys.names().unwrap().len(), usize::from(expected.is_some()), "{database:?}");
    }
    journal.close().await;
}
