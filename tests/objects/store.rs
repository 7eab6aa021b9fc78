//! The operations of a store, the same in a folder and on S3.

use std::collections::BTreeSet;

use bytes::Bytes;
use tasktail::home::objects::{ObjectErrorKind, ObjectName, ObjectOptions, ObjectPrefix, ObjectStore, PutOutcome};
use tasktail::model::TaskId;

use crate::moto::{Moto, folder_store};

pub(crate) fn task(id: &str) -> TaskId {
    id.parse().unwrap()
}

pub(crate) fn log(id: &str, fence: u64) -> ObjectName {
    ObjectName::Log { task: task(id), birth: 7, fence }
}

fn segment(id: &str, first: u64, last: u64) -> ObjectName {
    ObjectName::Segment { task: task(id), birth: 7, first, last, fence: 1 }
}

/// Returns bytes that differ everywhere.
pub(crate) fn content(length: usize) -> Bytes {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes = (0..length).map(|_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()[0]
    });
    bytes.collect()
}

/// Runs the same checks on any store.
async fn behaves(store: &ObjectStore) {
    assert!(store.check_writable().await.unwrap().conditional_put);
    assert_eq!(store.list(&ObjectPrefix::Probes, None, 10).await.unwrap(), [], "the probe is deleted");
    creates_once(store).await;
    reads_ranges(store).await;
    lists_in_order(store).await;
    moves_files(store).await;
}

async fn creates_once(store: &ObjectStore) {
    let name = log("once", 1);
    assert_eq!(store.put_new(&name, Bytes::from_static(b"first")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new(&name, Bytes::from_static(b"second")).await.unwrap(), PutOutcome::Exists);
    assert_eq!(store.get(&name).await.unwrap(), "first");
    assert_eq!(store.size(&name).await.unwrap(), 5);
    let race = log("race", 1);
    let writers = (0..8).map(|index| store.put_new(&race, Bytes::from(format!("writer {index}"))));
    let outcomes = futures::future::join_all(writers).await;
    let winners: Vec<_> = (0..8).filter(|index| matches!(outcomes[*index], Ok(PutOutcome::Created))).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(store.get(&race).await.unwrap(), format!("writer {}", winners[0]));
    store.delete(&name).await.unwrap();
    store.delete(&name).await.expect("a missing object can be deleted");
    let error = store.get(&name).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains(&name.to_string()) && error.to_string().contains(&store.to_string()), "{error}");
    assert!(store.size(&name).await.unwrap_err().is_not_found());
}

async fn reads_ranges(store: &ObjectStore) {
    let (name, content) = (log("ranges~a:b", 1), content(100_000));
    store.put_new(&name, content.clone()).await.unwrap();
    assert_eq!(store.get_range(&name, 0..1).await.unwrap(), content.slice(0..1));
    assert_eq!(store.get_range(&name, 40_000..99_999).await.unwrap(), content.slice(40_000..99_999));
    assert_eq!(store.get_range(&name, 99_999..100_000).await.unwrap(), content.slice(99_999..));
    assert_eq!(store.get_range(&name, 5..5).await.unwrap(), "");
    let error = store.get_range(&name, 99_000..100_001).await.unwrap_err();
    assert_ne!(error.kind(), ObjectErrorKind::NotFound, "{error}");
    assert!(store.get_range(&log("none", 1), 0..1).await.unwrap_err().is_not_found());
}

async fn lists_in_order(store: &ObjectStore) {
    let tasks = ObjectPrefix::Task(task("listed"));
    let mut names = vec![log("listed", 2), log("listed", 10), segment("listed", 1, 9), segment("listed", 10, 19)];
    names.push(ObjectName::Record { task: task("listed"), birth: 7 });
    names.push(ObjectName::Record { task: task("listed"), birth: 8 });
    // Names that begin like the prefix, and that sort between a folder and its files.
    let others = [log("listed.1", 1), log("listed-1", 1), log("listed0", 1)];
    for name in names.iter().chain(&others) {
        store.put_new(name, Bytes::from_static(b"x")).await.unwrap();
    }
    names.sort_by_key(ToString::to_string);
    let listed = store.list(&tasks, None, 100).await.unwrap();
    assert_eq!(listed.iter().map(|object| object.name.clone()).collect::<Vec<_>>(), names);
    assert!(listed.iter().all(|object| object.bytes == 1 && object.created_ms > 1_600_000_000_000));
    let mut paged = Vec::new();
    loop {
        let page = store.list(&ObjectPrefix::Tasks, paged.last(), 2).await.unwrap();
        paged.extend(page.iter().map(|object| object.name.clone()));
        if page.len() < 2 {
            break;
        }
    }
    assert!(paged.is_sorted_by_key(ToString::to_string), "{paged:?}");
    let unique: BTreeSet<_> = paged.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), paged.len(), "no name twice");
    assert!(names.iter().chain(&others).all(|name| paged.contains(name)));
    assert_eq!(store.delete_prefix(&ObjectPrefix::Birth(task("listed"), 7)).await.unwrap(), 5);
    assert_eq!(store.list(&tasks, None, 100).await.unwrap().len(), 1, "another use of the id remains");
    assert_eq!(store.delete_prefix(&tasks).await.unwrap(), 1);
    assert_eq!(store.list(&ObjectPrefix::Tasks, None, 100).await.unwrap().len(), paged.len() - 6);
}

async fn moves_files(store: &ObjectStore) {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    // More than two parts, a whole number of parts, less than one, and nothing.
    for (fence, length) in [(1, 11_000_000), (2, 10 * 1024 * 1024), (3, 1000), (4, 0)] {
        let (name, content) = (log("file", fence), content(length));
        std::fs::write(&source, &content).unwrap();
        assert_eq!(store.put_file_new(&name, &source).await.unwrap(), PutOutcome::Created);
        assert_eq!(store.put_file_new(&name, &source).await.unwrap(), PutOutcome::Exists);
        assert_eq!(store.get_to_file(&name, &target).await.unwrap(), length as u64);
        assert!(std::fs::read(&target).unwrap() == content, "{length} bytes");
    }
    let error = store.get_to_file(&log("none", 1), &target).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(std::fs::read(&target).unwrap(), b"", "the file of before remains");
    let missing = folder.path().join("missing");
    let error = store.put_file_new(&log("file", 5), &missing).await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Local);
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no temporary files: {left:?}");
}

#[tokio::test]
async fn a_folder_is_a_store() {
    let (folder, store) = folder_store();
    behaves(&store).await;
    let temporary = std::fs::read_dir(folder.path().join("store/.tmp")).unwrap().count();
    assert_eq!(temporary, 0, "no temporary files remain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_a_store() {
    let moto = Moto::start().await;
    behaves(&moto.store()).await;
    assert_eq!(moto.open_uploads().await, 0, "no uploads remain");
}

#[tokio::test]
async fn an_object_that_is_too_large_for_memory_is_read_in_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = crate::moto::options("http://127.0.0.1:1");
    options.limits.get_bytes_max = 10;
    let store = ObjectStore::open(&format!("file://{}", folder.path().display()), options).unwrap();
    let name = log("large", 1);
    store.put_new(&name, Bytes::from_static(b"01234567890")).await.unwrap();
    let error = store.get(&name).await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Unusable, "{error}");
    assert_eq!(store.get_range(&name, 1..11).await.unwrap(), "1234567890");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_needs_a_trusted_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let arguments = ["-s", "-c", cert.to_str().unwrap(), "-k", key.to_str().unwrap()];
    let moto = Moto::start_with(&arguments).await;
    let endpoint = moto.endpoint.replace("http://127.0.0.1", "https://localhost");
    let untrusted = ObjectStore::open("s3://logs", crate::moto::options(&endpoint)).unwrap();
    let error = untrusted.check_writable().await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Settings, "{error}");
    assert!(error.to_string().contains("archive_ca_file"), "{error}");
    let options = ObjectOptions { ca_file: Some(cert), ..crate::moto::options(&endpoint) };
    let trusted = ObjectStore::open("s3://logs", options).unwrap();
    let error = trusted.check_writable().await.unwrap_err();
    assert!(error.to_string().contains("create the bucket logs"), "the service is reached: {error}");
}
