//! Replicas: confirmations that wait for them, and promotions that lose the end of a journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tasktail::home::redis::{Engine, EngineError, EngineOptions, SharedBatch, SharedEvent, StoreReply, Tail};
use tasktail::model::{EntryId, TaskId};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::server::{Server, batch, create, on_each, read_all, read_until, state, stored, text, texts, until};

/// An address that can be pointed to another server, as a failover does.
struct Address {
    port: u16,
    target: Arc<AtomicU16>,
    cut: watch::Sender<u64>,
}

impl Address {
    async fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(server.port));
        let (cut, cuts) = watch::channel(0);
        let to = target.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (to, mut cuts) = (to.clone(), cuts.clone());
                tokio::spawn(async move {
                    cuts.mark_unchanged();
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to.load(Ordering::SeqCst))).await else {
                        return;
                    };
                    tokio::select! {
                        copied = copy_bidirectional(&mut client, &mut server) => drop(copied),
                        cut = cuts.changed() => drop(cut),
                    }
                });
            }
        });
        Self { port, target, cut }
    }

    fn switch_to(&self, server: &Server) {
        self.target.store(server.port, Ordering::SeqCst);
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    async fn engine(&self, options: EngineOptions) -> Engine {
        Engine::connect(&format!("redis://127.0.0.1:{}", self.port).parse().unwrap(), options).await.unwrap()
    }
}

/// Starts a primary and a replica of it, which has everything.
async fn pair(kind: crate::server::Kind) -> (Server, Server) {
    let (primary, replica) = (Server::start(kind).await, Server::start(kind).await);
    follow(&replica, &primary).await;
    (primary, replica)
}

pub(crate) async fn follow(replica: &Server, primary: &Server) {
    replica.run::<()>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]).await;
    until(async {
        let online = format!("port={},state=online", replica.port);
        while !primary.run::<String>(&["INFO", "replication"]).await.contains(&online) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Waits until the replica has what the primary has, then makes it a primary of its own.
async fn promote(replica: &Server, primary: &Server) {
    let mut pipeline = redis::pipe();
    pipeline.cmd("SET").arg("written").arg(1).ignore().cmd("WAIT").arg(1).arg(10_000);
    let (count,): (u64,) = pipeline.query_async(&mut primary.client().await.unwrap()).await.unwrap();
    assert_eq!(count, 1);
    replica.run::<()>(&["REPLICAOF", "NO", "ONE"]).await;
}

fn without_wait(name: &str) -> EngineOptions {
    EngineOptions { acks: Some(0), ..EngineOptions::new(name) }
}

async fn truncated(tail: &mut Tail) -> u64 {
    until(async {
        loop {
            match tail.next().await {
                Ok(SharedEvent::Truncated { last_line }) => return last_line,
                Ok(SharedEvent::Entries(entries)) => panic!("{entries:?}"),
                _ => {}
            }
        }
    })
    .await
}

/// Sends the lines from `next` to `last` as a worker that keeps what was confirmed. Returns the next number.
pub(crate) async fn send(engine: &Engine, task: &TaskId, mut next: u64, last: u64) -> u64 {
    while next <= last {
        let end = (next + 6).min(last);
        match engine.append(task, 7, batch("s", next, end)).await.unwrap() {
            StoreReply::Stored(ack) => next = ack.acked_seq.unwrap() + 1,
            StoreReply::Behind { acked_seq } => next = acked_seq.unwrap() + 1,
            other => panic!("{other:?}"),
        }
    }
    next
}

/// Follows to a line, dropping what is reported as lost. Returns the number of reports.
pub(crate) async fn follow_until(tail: &mut Tail, lines: &mut Vec<String>, last: u64) -> u64 {
    until(async {
        let mut losses = 0;
        while (lines.len() as u64) < last {
            match tail.next().await {
                Ok(SharedEvent::Truncated { last_line }) => {
                    losses += 1;
                    lines.truncate(usize::try_from(last_line).unwrap());
                }
                Ok(SharedEvent::Entries(entries)) => {
                    for entry in entries {
                        assert_eq!(entry.n, lines.len() as u64 + 1, "numbers are dense");
                        lines.push(text(&entry));
                    }
                }
                _ => {}
            }
        }
        losses
    })
    .await
}

on_each! {
    async fn lost_end_of_a_journal_is_reported_and_sent_again(kind) {
        let (primary, replica) = pair(kind).await;
        let address = Address::of(&primary).await;
        let (engine, other) = (address.engine(without_wait("a")).await, address.engine(without_wait("b")).await);
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 100)).await;
        promote(&replica, &primary).await;
        stored(&engine, &task, batch("s", 101, 150)).await;
        let mut tail = other.tail(&task, 7, EntryId::MIN, 0);
        read_until(&mut tail, 150).await;
        let mut behind = other.tail(&task, 7, EntryId::MIN, 0);
        let old_epoch = state(&engine, &task).await.epoch;
        let hundredth = read_all(&other, &task, 150).await[99].clone();
        let mut exact = other.tail(&task, 7, hundredth.id, 100).from_epoch(old_epoch);
        address.switch_to(&replica);
        assert_eq!(truncated(&mut tail).await, 100);
        // Later batches must not be stored, with the lost ones marked as lost.
        let behind_reply = StoreReply::Behind { acked_seq: Some(100) };
        assert_eq!(engine.append(&task, 7, batch("s", 151, 160)).await.unwrap(), behind_reply);
        assert_eq!(engine.append(&task, 7, batch("s", 161, 170)).await.unwrap(), behind_reply);
        let ack = stored(&engine, &task, batch("s", 101, 170)).await;
        assert_eq!((ack.first_line, ack.last_line), (101, 170));
        let wanted: Vec<_> = (101..=170).map(|seq| format!("s {seq}")).collect();
        assert_eq!(texts(&read_until(&mut tail, 170).await), wanted);
        assert_eq!(texts(&read_until(&mut exact, 170).await), wanted, "its entry was not lost");
        assert_eq!(read_until(&mut behind, 170).await.len(), 170);
        let after = state(&engine, &task).await;
        assert_eq!(after.epochs, [(old_epoch, 100)]);
        // A reader that was away reports its epoch.
        let mut late = other.tail(&task, 7, EntryId::new(u64::MAX, 0), 150).from_epoch(old_epoch);
        assert_eq!(truncated(&mut late).await, 100);
        assert_eq!(texts(&read_until(&mut late, 170).await), wanted);
        let mut unknown = other.tail(&task, 7, EntryId::new(u64::MAX, 0), 150).from_epoch(1);
        assert_eq!(truncated(&mut unknown).await, 0);
    }

    async fn lines_that_a_worker_no_longer_has_become_one_marker(kind) {
        let (primary, replica) = pair(kind).await;
        let address = Address::of(&primary).await;
        let engine = address.engine(without_wait("a")).await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 10)).await;
        promote(&replica, &primary).await;
        stored(&engine, &task, batch("s", 11, 15)).await;
        address.switch_to(&replica);
        assert_eq!(engine.append(&task, 7, batch("s", 16, 16)).await.unwrap(), StoreReply::Behind { acked_seq: Some(10) });
        stored(&engine, &task, SharedBatch { resumes: true, ..batch("s", 14, 16) }).await;
        let all = read_all(&engine, &task, 14).await;
        assert_eq!(texts(&all[10..]), ["[3 messages lost in transit]", "s 14", "s 15", "s 16"]);
    }

    async fn several_promotions_are_passed_in_one_step(kind) {
        let (first, second) = pair(kind).await;
        let address = Address::of(&first).await;
        let engine = address.engine(without_wait("a")).await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 10)).await;
        promote(&second, &first).await;
        stored(&engine, &task, batch("s", 11, 30)).await;
        let epoch = state(&engine, &task).await.epoch;
        address.switch_to(&second);
        stored(&engine, &task, SharedBatch { resumes: true, ..batch("s", 11, 20) }).await;
        follow(&first, &second).await;
        promote(&first, &second).await;
        address.switch_to(&first);
        stored(&engine, &task, batch("s", 21, 40)).await;
        let mut away = engine.tail(&task, 7, EntryId::new(u64::MAX, 0), 30).from_epoch(epoch);
        assert_eq!(truncated(&mut away).await, 10);
        assert_eq!(read_until(&mut away, 40).await.len(), 30);
    }

    async fn sender_and_follower_agree_after_many_lossy_promotions(kind) {
        let (mut primary, mut replica) = pair(kind).await;
        let address = Address::of(&primary).await;
        let (engine, other) = (address.engine(without_wait("a")).await, address.engine(without_wait("b")).await);
        let task = create(&engine, "t").await;
        let mut tail = other.tail(&task, 7, EntryId::MIN, 0);
        let (mut next, mut lines, mut losses) = (1, Vec::new(), 0);
        for round in 0..6u64 {
            next = send(&engine, &task, next, next + 40).await;
            promote(&replica, &primary).await;
            if round % 3 != 2 {
                next = send(&engine, &task, next, next + 10 + round).await;
            }
            // The follower may or may not have seen what is lost.
            if round % 2 == 0 {
                losses += follow_until(&mut tail, &mut lines, next - 1).await;
            }
            address.switch_to(&replica);
            next = send(&engine, &task, next, next + 20).await;
            losses += follow_until(&mut tail, &mut lines, next - 1).await;
            std::mem::swap(&mut primary, &mut replica);
            follow(&replica, &primary).await;
        }
        assert!(losses > 0);
        assert_eq!(lines, (1..next).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
        assert_eq!(texts(&read_all(&engine, &task, next - 1).await), lines);
        assert_eq!(state(&engine, &task).await.epochs.len(), 6);
    }

    async fn connection_that_outlived_two_promotions_does_not_bring_back_its_epoch(kind) {
        let (first, second) = pair(kind).await;
        let connect = async |server: &Server, name| Engine::connect(&server.url(), without_wait(name)).await.unwrap();
        let a = connect(&first, "a").await;
        let task = create(&a, "t").await;
        stored(&a, &task, batch("s", 1, 10)).await;
        let begin = state(&a, &task).await.epoch;
        promote(&second, &first).await;
        let b = connect(&second, "b").await;
        stored(&b, &task, batch("s", 11, 20)).await;
        let middle = state(&b, &task).await.epoch;
        follow(&first, &second).await;
        promote(&first, &second).await;
        let counts = a.counts();
        stored(&a, &task, batch("s", 21, 21)).await;
        assert_eq!(a.counts().connections, counts.connections + 1, "the first one was still open");
        let end = state(&a, &task).await;
        assert_eq!(end.epochs, [(begin, 10), (middle, 20)]);
        assert!(![begin, middle].contains(&end.epoch), "{end:?}");
    }

    async fn confirmation_waits_for_a_replica(kind) {
        let (primary, replica) = pair(kind).await;
        let options = EngineOptions { operation_timeout: Duration::from_secs(20), ..EngineOptions::new("a") };
        let engine = Engine::connect(&primary.url(), options).await.unwrap();
        assert_eq!(engine.durability().replicas, 1);
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 5)).await;
        replica.run::<()>(&["REPLICAOF", "NO", "ONE"]).await;
        let (ack, ()) = tokio::join!(stored(&engine, &task, batch("s", 6, 1_000)), async {
            until(async {
                while state(&engine, &task).await.last_line < 1_000 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            follow(&replica, &primary).await;
        });
        assert_eq!((ack.first_line, ack.last_line, ack.count), (6, 1_000, 995), "stored once, confirmed later");
        replica.run::<()>(&["REPLICAOF", "NO", "ONE"]).await;
        let impatient = EngineOptions { operation_timeout: Duration::from_millis(500), acks: Some(1), ..EngineOptions::new("b") };
        let impatient = Engine::connect(&primary.url(), impatient).await.unwrap();
        let error = impatient.append(&task, 7, batch("s", 1_001, 1_001)).await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }) && error.to_string().contains("0 of 1 replicas"), "{error}");
    }
}
