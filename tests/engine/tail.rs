//! Following a task: wake-ups, facts, broken connections.

use std::time::Duration;

use tasktail::home::redis::{Engine, EngineOptions, SharedBatch, SharedEvent, SharedStatus};
use tasktail::model::EntryId;
use tokio::time::{Instant, timeout};

use crate::server::{Server, batch, create, id, line, on_each, read_all, read_until, state, stored, texts, until};

on_each! {
    async fn change_wakes_a_tail_before_it_reads_again_by_itself(kind) {
        let server = Server::start(kind).await;
        let (a, b) = (server.engine("a").await, server.engine("b").await);
        let task = create(&a, "t").await;
        let mut tail = b.tail(&task, 7, EntryId::MIN, 0);
        assert!(matches!(until(tail.next()).await.unwrap(), SharedEvent::State(_)));
        let started = Instant::now();
        for seq in 1..=20 {
            stored(&a, &task, batch("s", seq, seq)).await;
            assert_eq!(read_until(&mut tail, seq).await.len(), 1);
        }
        let counts = b.counts();
        assert!(counts.connections == 2 && counts.changes > 0 && counts.requests > 20 && counts.retries == 0, "{counts:?}");
        // Twenty reads by time alone would take 100 seconds.
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        b.patch(&task, 7, &[("x".into(), "1".into())]).await.unwrap();
        let SharedEvent::State(facts) = until(tail.next()).await.unwrap() else { panic!() };
        assert_eq!(facts.record["x"], "1");
        stored(&a, &task, batch("s", 21, 2_520)).await;
        a.end(&task, 7, &[], None).await.unwrap();
        let mut last = 0;
        let facts = until(async {
            loop {
                match tail.next().await.unwrap() {
                    SharedEvent::Entries(entries) => last = entries.last().unwrap().n,
                    SharedEvent::State(facts) => return facts,
                    other => panic!("{other:?}"),
                }
            }
        });
        let facts = facts.await;
        assert_eq!((facts.status, facts.last_line, last), (SharedStatus::Ended, 2_520, 2_520), "all lines before the end");
        a.remove(&task, 7).await.unwrap();
        assert_eq!(until(tail.next()).await.unwrap(), SharedEvent::Gone);
    }

    async fn dropped_call_loses_nothing(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let mut tail = engine.tail(&task, 7, EntryId::MIN, 0);
        let write = async {
            for seq in 1..=300 {
                stored(&engine, &task, batch("s", seq, seq)).await;
            }
        };
        let read = async {
            let mut all = Vec::new();
            while all.len() < 300 {
                if let Ok(Ok(SharedEvent::Entries(entries))) = timeout(Duration::from_micros(300), tail.next()).await {
                    all.extend(entries);
                }
            }
            all
        };
        let ((), all) = until(Box::pin(async { tokio::join!(write, read) })).await;
        assert_eq!(texts(&all), (1..=300).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
    }

    async fn tail_and_appends_go_on_after_a_restart(kind) {
        let mut server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let mut tail = engine.tail(&task, 7, EntryId::MIN, 0);
        stored(&engine, &task, batch("s", 1, 100)).await;
        read_until(&mut tail, 100).await;
        let epoch = state(&engine, &task).await.epoch;
        for round in 1..=3u64 {
            server.kill().await;
            let first = round * 200 - 99;
            let appends = futures::future::join_all((0..4).map(|part| {
                let from = first + part * 50;
                stored(&engine, &task, batch("s", from, from + 49))
            }));
            let (acks, ()) = until(async { tokio::join!(appends, server.restart()) }).await;
            assert_eq!(acks.last().unwrap().acked_seq, Some(first + 199));
            let entries = read_until(&mut tail, first + 199).await;
            assert_eq!(texts(&entries), (first..first + 200).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
        }
        let after = state(&engine, &task).await;
        assert_eq!(after.epochs.iter().map(|(_, last)| *last).collect::<Vec<_>>(), [100, 300, 500]);
        assert!(after.epochs[0].0 == epoch && after.epoch != epoch, "a restart changes the replication id");
        assert_eq!(read_all(&engine, &task, 700).await.len(), 700);
    }

    async fn connections_killed_while_lines_flow_lose_and_double_nothing(kind) {
        let server = Server::start(kind).await;
        let (a, b) = (server.engine("a").await, server.engine("b").await);
        let task = create(&a, "t").await;
        let mut tail = b.tail(&task, 7, EntryId::MIN, 0);
        let write = async {
            for round in 0..100u64 {
                let first = round * 20 + 1;
                let (one, two) = tokio::join!(
                    stored(&a, &task, batch("s", first, first + 9)),
                    stored(&a, &task, batch("s", first + 10, first + 19)),
                );
                assert!(one.acked_seq >= Some(first + 9) && two.acked_seq == Some(first + 19));
            }
        };
        let kill = async {
            for _ in 0..30 {
                server.run::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        };
        let ((), (), entries) = until(Box::pin(async { tokio::join!(write, kill, read_until(&mut tail, 2_000)) })).await;
        assert_eq!(texts(&entries), (1..=2_000).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
    }

    async fn server_without_tracking_is_polled(kind) {
        let server = Server::start(kind).await;
        let task = create(&server.engine("a").await, "t").await;
        server.run::<()>(&["ACL", "SETUSER", "untracked", "on", "nopass", "~*", "+@all", "-client|tracking"]).await;
        let url = format!("redis://untracked:x@127.0.0.1:{}", server.port).parse().unwrap();
        let engine = Engine::connect(&url, EngineOptions::new("b")).await.unwrap();
        assert!(!engine.durability().is_tracking && engine.durability().warnings[0].contains("100 ms"));
        let mut tail = engine.tail(&task, 7, EntryId::MIN, 0);
        let started = Instant::now();
        for seq in 1..=5 {
            stored(&engine, &task, batch("s", seq, seq)).await;
            read_until(&mut tail, seq).await;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }

    async fn long_lines_are_read_in_smaller_pages(kind) {
        let server = Server::start_with(kind, &["--appendonly", "no"]).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let long = |seq: u64| SharedBatch {
            session: Some(("s".into(), seq)),
            lines: vec![line(&"x".repeat(100_000))],
            ..SharedBatch::default()
        };
        for seq in 1..=300 {
            stored(&engine, &task, long(seq)).await;
        }
        let mut tail = engine.tail(&task, 7, EntryId::MIN, 0);
        let first = read_until(&mut tail, 300).await;
        assert_eq!(first.len(), 300);
        for seq in 301..=900 {
            stored(&engine, &task, long(seq)).await;
        }
        let mut sizes = Vec::new();
        until(async {
            while sizes.iter().sum::<usize>() < 600 {
                if let Ok(SharedEvent::Entries(entries)) = tail.next().await {
                    sizes.push(entries.len());
                }
            }
        })
        .await;
        assert!(sizes[0] <= 500 && sizes[1] < sizes[0], "{sizes:?}");
    }

    async fn flushed_server_ends_a_tail(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let mut tail = engine.tail(&task, 7, EntryId::MIN, 0);
        until(tail.next()).await.unwrap();
        server.run::<()>(&["FLUSHALL"]).await;
        assert_eq!(until(tail.next()).await.unwrap(), SharedEvent::Gone);
        assert!(engine.open(&id("t")).await.unwrap().is_none());
    }
}
