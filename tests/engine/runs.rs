//! Runs and secrets.

use std::collections::BTreeSet;

use futures::future::join_all;
use tasktail::home::redis::{IndexChange, SharedEventRow};
use tasktail::model::{EntryId, RunId};

use crate::server::{Server, on_each, read_until, until};

fn run(text: &str) -> RunId {
    text.parse().unwrap()
}

fn events(range: std::ops::RangeInclusive<u64>) -> Vec<SharedEventRow> {
    let event = |n: u64| SharedEventRow {
        print: format!("print {n}").into_bytes(),
        fields: vec![(b"event".to_vec(), format!("{{\"n\":{n}}}").into_bytes()), (b"at".to_vec(), b"now".to_vec())],
    };
    range.map(event).collect()
}

on_each! {
    async fn events_of_two_servers_are_stored_once(kind) {
        let server = Server::start(kind).await;
        let (a, b) = (server.engine("a").await, server.engine("b").await);
        let id = run("r");
        assert!(a.run_open(&id).await.unwrap().is_none());
        let mut watch = b.watch_index().await.unwrap();
        let (left, right) = (events(1..=700), events(401..=1_100));
        let acks = join_all([a.run_append(&id, &left), b.run_append(&id, &right)]).await;
        let appended: u64 = acks.iter().map(|ack| ack.as_ref().unwrap().appended).sum();
        assert_eq!(appended, 1_100);
        assert_eq!(until(watch.next()).await.unwrap(), IndexChange::Run(id.clone()));
        let again = a.run_append(&id, &events(1..=1_100)).await.unwrap();
        assert_eq!((again.appended, again.last_line), (0, 1_100));
        let mut tail = b.run_tail(&id, again.birth, EntryId::MIN, 0);
        let all = read_until(&mut tail, 1_100).await;
        assert_eq!(all.iter().map(|entry| entry.n).collect::<Vec<_>>(), (1..=1_100).collect::<Vec<_>>());
        let values: BTreeSet<_> = all.iter().map(|entry| entry.fields[0].1.clone()).collect();
        assert_eq!(values.len(), 1_100);
        assert_eq!(all[0].fields.len(), 2);
        // Another client adds an event that a worker sends too.
        server.run::<String>(&["XADD", "run:events:r", "*", "event", "foreign"]).await;
        let foreign = read_until(&mut tail, 1_101).await.pop().unwrap();
        assert!(!foreign.own);
        b.run_prints(&id, again.birth, &[(b"print 1101".to_vec(), foreign.n)]).await.unwrap();
        assert_eq!(a.run_append(&id, &events(1_100..=1_102)).await.unwrap().appended, 1);
        assert_eq!(read_until(&mut tail, 1_102).await.len(), 1);
        assert_eq!(b.run_index().await.unwrap().len(), 1);
        assert!(a.run_remove(&id, again.birth).await.unwrap() && a.run_index().await.unwrap().is_empty());
        assert_eq!(server.run::<Vec<String>>(&["KEYS", "*run:events*"]).await, Vec::<String>::new());
        assert_eq!(a.run_append(&id, &events(1..=1)).await.unwrap().last_line, 1, "another run");
    }

    async fn stream_of_another_client_becomes_a_run(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        server.run::<String>(&["XADD", "run:events:f", "5000-1", "event", "{}"]).await;
        let found = engine.run_open(&run("f")).await.unwrap().unwrap();
        assert_eq!((found.last_line, found.created_ms), (1, 5_000));
        assert_eq!(engine.run_append(&run("f"), &events(1..=2)).await.unwrap().last_line, 3);
        assert_eq!(engine.run_index().await.unwrap(), [(run("f"), 5_000)]);
    }

    async fn run_goes_on_with_another_primary(kind) {
        let mut server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let birth = engine.run_append(&run("r"), &events(1..=5)).await.unwrap().birth;
        server.kill().await;
        server.restart().await;
        let ack = engine.run_append(&run("r"), &events(4..=8)).await.unwrap();
        assert_eq!((ack.birth, ack.appended, ack.last_line), (birth, 3, 8));
        assert_eq!(engine.run_open(&run("r")).await.unwrap().unwrap().epochs.len(), 1);
    }

    async fn secret_is_changed_by_one_of_two_writers(kind) {
        let server = Server::start(kind).await;
        let (a, b) = (server.engine("a").await, server.engine("b").await);
        let mut watch = b.watch_secret("tokens");
        assert_eq!(until(watch.next()).await.unwrap(), None);
        let first = a.set_secret("tokens", 0, Some(b"one"), None).await.unwrap().unwrap();
        let seen = until(watch.next()).await.unwrap().unwrap();
        assert_eq!((seen.value.as_slice(), seen.version), (b"one".as_slice(), first));
        assert_eq!(format!("{seen:?}").find("111"), None, "its contents are not printed");
        assert_eq!(b.set_secret("tokens", 0, Some(b"two"), None).await.unwrap(), None);
        let second = b.set_secret("tokens", first, Some(b"two"), None).await.unwrap().unwrap();
        assert!(second > first && a.set_secret("tokens", first, Some(b"three"), None).await.unwrap().is_none());
        assert_eq!(until(watch.next()).await.unwrap().unwrap().value, b"two");
        assert_eq!(a.set_secret("tokens", second, None, None).await.unwrap(), Some(0));
        assert_eq!(until(watch.next()).await.unwrap(), None);
        let third = a.set_secret("tokens", 0, Some(b"x"), Some(200)).await.unwrap().unwrap();
        assert!(third > second, "a version is not used again");
        until(watch.next()).await.unwrap().unwrap();
        assert_eq!(until(watch.next()).await.unwrap(), None, "it expired");
        assert_eq!(a.secret("tokens").await.unwrap(), None);
    }
}
