//! Faults between a store and its bucket: one object, with the right content, or none.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tasktail::home::objects::{ObjectErrorKind, ObjectLimits, ObjectPrefix, ObjectStore, PutOutcome};

use crate::moto::{Moto, options};
use crate::proxy::{Fault, Proxy};
use crate::store::{content, log};

async fn start() -> (Moto, Proxy, ObjectStore) {
    let moto = Moto::start().await;
    let proxy = Proxy::start(&moto.endpoint).await;
    let store = Moto::store_at(&proxy.endpoint);
    (moto, proxy, store)
}

/// Opens the store with short timeouts.
fn impatient(proxy: &Proxy) -> ObjectStore {
    let mut options = options(&proxy.endpoint);
    options.limits = ObjectLimits { response_timeout: Duration::from_millis(300), attempts_max: 3, ..options.limits };
    ObjectStore::open("s3://logs/some/prefix", options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_survives_passing_faults() {
    let (_moto, proxy, store) = start().await;
    for fault in
        [Fault::Status(503, "SlowDown"), Fault::Closed, Fault::AnswerLost, Fault::Status(409, "OperationAborted")]
    {
        let name = log("write", 1);
        proxy.next(Method::PUT, "log.1", fault.clone());
        let outcome = store.put_new(&name, Bytes::from_static(b"content")).await.unwrap();
        assert_eq!(outcome, PutOutcome::Created, "{fault:?}");
        assert!(proxy.is_done(), "{fault:?}");
        assert_eq!(store.get(&name).await.unwrap(), "content");
        assert_eq!(
            store.put_new(&name, Bytes::from_static(b"content")).await.unwrap(),
            PutOutcome::Exists,
            "another write"
        );
        store.delete(&name).await.unwrap();
    }
    assert!(store.counts().retries >= 4, "{:?}", store.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_is_given_up_in_bounded_time() {
    let (_moto, proxy, _) = start().await;
    let store = impatient(&proxy);
    let name = log("silent", 1);
    proxy.next(Method::PUT, "log.1", Fault::Silent);
    assert_eq!(store.put_new(&name, Bytes::from_static(b"x")).await.unwrap(), PutOutcome::Created);
    for _ in 0..3 {
        proxy.next(Method::GET, "log.1", Fault::Silent);
    }
    let error = store.get(&name).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&name.to_string()) && text.contains("s3://logs/some/prefix") && text.contains("reachable"),
        "{text}"
    );
    assert_eq!(store.get(&name).await.unwrap(), "x", "later it responds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_of_a_write_leaves_one_object() {
    let (_moto, proxy, _) = start().await;
    let store = impatient(&proxy);
    let name = log("late", 1);
    // The first attempt is processed after the timeout, during or after the second.
    proxy.next(Method::PUT, "log.1", Fault::Slow(Duration::from_millis(400)));
    assert_eq!(store.put_new(&name, Bytes::from_static(b"x")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.get(&name).await.unwrap(), "x");
    assert_eq!(store.list(&ObjectPrefix::Tasks, None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_is_read_again() {
    let (_moto, proxy, store) = start().await;
    let (name, content) = (log("cut", 1), content(300_000));
    store.put_new(&name, content.clone()).await.unwrap();
    proxy.next(Method::GET, "log.1", Fault::Cut(100_000));
    assert!(store.get(&name).await.unwrap() == content);
    proxy.next(Method::GET, "log.1", Fault::Cut(1));
    assert!(store.get_range(&name, 1000..200_000).await.unwrap() == content.slice(1000..200_000));
    proxy.next(Method::GET, "list-type", Fault::Cut(20));
    assert_eq!(store.list(&ObjectPrefix::Tasks, None, 10).await.unwrap().len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    proxy.next(Method::GET, "log.1", Fault::Cut(299_999));
    proxy.next(Method::GET, "log.1", Fault::Status(500, "InternalError"));
    assert_eq!(store.get_to_file(&name, &target).await.unwrap(), 300_000);
    assert!(std::fs::read(&target).unwrap() == content);
    assert!(proxy.is_done());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_survives_passing_faults() {
    let (moto, proxy, store) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let content = content(12_000_000);
    std::fs::write(&source, &content).unwrap();
    for (fence, method, target, fault) in [
        (1, Method::POST, "uploads", Fault::Status(503, "SlowDown")),
        (2, Method::PUT, "partNumber=2", Fault::Status(500, "InternalError")),
        (3, Method::PUT, "partNumber=1", Fault::AnswerLost),
        (4, Method::POST, "uploadId", Fault::Status(503, "SlowDown")),
        (5, Method::POST, "uploadId", Fault::AnswerLost),
    ] {
        let name = log("parts", fence);
        proxy.next(method, target, fault.clone());
        if fence == 5 {
            // Some services forget an upload that is complete; moto does not.
            proxy.next(Method::POST, "uploadId", Fault::Status(404, "NoSuchUpload"));
        }
        assert_eq!(store.put_file_new(&name, &source).await.unwrap(), PutOutcome::Created, "{fence}");
        assert!(proxy.is_done(), "{fence}");
        let target = folder.path().join("target");
        store.get_to_file(&name, &target).await.unwrap();
        assert!(std::fs::read(&target).unwrap() == content, "{fence}");
    }
    assert_eq!(moto.open_uploads().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_is_aborted_and_never_visible() {
    let (moto, proxy, store) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::write(&source, content(12_000_000)).unwrap();
    let name = log("failed", 1);
    proxy.next(Method::PUT, "partNumber=2", Fault::Status(403, "AccessDenied"));
    let error = store.put_file_new(&name, &source).await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Denied, "{error}");
    assert!(store.size(&name).await.unwrap_err().is_not_found(), "no partial object");
    // The abort runs by itself.
    let started = std::time::Instant::now();
    while moto.open_uploads().await > 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "the upload remains");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(proxy.count(&Method::DELETE, "uploadId"), 1);
    assert_eq!(store.put_file_new(&name, &source).await.unwrap(), PutOutcome::Created, "it can be repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_conditional_writes_is_reported_and_usable() {
    let (_moto, proxy, store) = start().await;
    let name = log("unconditional", 1);
    proxy.next(Method::PUT, "log.1", Fault::Status(501, "NotImplemented"));
    assert_eq!(store.put_new(&name, Bytes::from_static(b"x")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new(&name, Bytes::from_static(b"y")).await.unwrap(), PutOutcome::Exists);
    assert_eq!(store.get(&name).await.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reused() {
    let (_moto, proxy, store) = start().await;
    for fence in 0..20 {
        store.put_new(&log("reuse", fence), Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(proxy.count(&Method::PUT, "reuse"), 20);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lasting_errors_name_the_remedy_at_once() {
    let (moto, proxy, store) = start().await;
    let name = log("errors", 1);
    for (status, code, kind, remedy) in [
        (403, "AccessDenied", ObjectErrorKind::Denied, "s3:PutObject"),
        (403, "SignatureDoesNotMatch", ObjectErrorKind::Denied, "AWS_ACCESS_KEY_ID"),
        (301, "PermanentRedirect", ObjectErrorKind::Settings, "archive_region"),
    ] {
        proxy.next(Method::PUT, "log.1", Fault::Status(status, code));
        let error = store.put_new(&name, Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(remedy) && error.to_string().contains(&name.to_string()), "{error}");
    }
    assert_eq!(proxy.count(&Method::PUT, "log.1"), 3, "no attempt was repeated");
    let missing = ObjectStore::open("s3://missing", options(&moto.endpoint)).unwrap();
    let error = missing.check_writable().await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Settings, "{error}");
    assert!(error.to_string().contains("create the bucket missing"), "{error}");
    let mut options = options("http://127.0.0.1:1");
    options.limits.attempts_max = 2;
    let unreachable = ObjectStore::open("s3://logs", options).unwrap();
    let error = unreachable.check_writable().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("attempt 2 of 2"), "{error}");
}
