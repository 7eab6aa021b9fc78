//! Create, patch, attach, archive, seal, remove, index, leases, start-up checks.

use std::collections::BTreeSet;
use std::time::Duration;

use tasktail::home::redis::{
    ArchivedLines, CreateReply, Engine, EngineError, EngineOptions, IndexChange, KeepReply, PatchReply, SharedStatus,
};

use crate::server::{Server, batch, create, id, on_each, read_all, state, stored, texts, until};

fn fact(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

on_each! {
    async fn task_is_created_once_and_patched(kind) {
        let server = Server::start(kind).await;
        let (a, b) = (server.engine("a").await, server.engine("b").await);
        let CreateReply::Created(created) = a.create(&id("t"), 1_000, 7, &fact("command", "\"make\"")).await.unwrap() else { panic!() };
        assert_eq!((created.birth, created.created_ms, created.record["command"].as_str()), (7, 1_000, "\"make\""));
        let CreateReply::Exists(found) = b.create(&id("t"), 2_000, 8, &[]).await.unwrap() else { panic!() };
        assert_eq!((found.birth, found.created_ms), (7, 1_000));
        assert_eq!(b.index().await.unwrap(), [(id("t"), 1_000)]);
        assert_eq!(b.patch(&id("t"), 7, &fact("host", "\"h\"")).await.unwrap(), PatchReply::Patched);
        assert_eq!(b.patch(&id("t"), 8, &fact("host", "\"x\"")).await.unwrap(), PatchReply::Removed);
        a.attach(&id("t"), 7, 60_000).await.unwrap();
        let now = a.now_ms().await.unwrap();
        let found = state(&b, &id("t")).await;
        assert_eq!(found.record["host"], "\"h\"");
        assert!(found.workers[0].0 == "a" && found.workers[0].1.abs_diff(now + 60_000) < 10_000, "{:?}", found.workers);
        a.detach(&id("t"), 7).await.unwrap();
        assert!(state(&b, &id("t")).await.workers.is_empty());
    }

    async fn stale_fences_and_wrong_ranges_are_refused(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 30)).await;
        let entries = read_all(&engine, &task, 30).await;
        let lines = |from: u64, to: u64, object: &'static str| ArchivedLines { from, to, object, last_id: entries[usize::try_from(to).unwrap() - 1].id };
        let stale = |reply: KeepReply| matches!(reply, KeepReply::Stale(_));
        assert!(stale(engine.archived(&task, 7, &lines(2, 10, "x"), 5).await.unwrap()), "a hole before it");
        assert_eq!(engine.archived(&task, 7, &lines(1, 10, "one"), 5).await.unwrap(), KeepReply::Done);
        assert_eq!(engine.archived(&task, 7, &lines(1, 10, "one"), 5).await.unwrap(), KeepReply::Done, "sent again");
        assert!(stale(engine.archived(&task, 7, &lines(1, 10, "other"), 5).await.unwrap()));
        assert!(stale(engine.archived(&task, 7, &lines(11, 20, "two"), 4).await.unwrap()), "an older fence");
        assert_eq!(engine.archived(&task, 7, &lines(11, 20, "two"), 6).await.unwrap(), KeepReply::Done);
        assert_eq!(texts(&read_all(&engine, &task, 30).await), (21..=30).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
        assert!(stale(engine.sealed(&task, 7, 30, &[], 6).await.unwrap()), "not ended");
        engine.end(&task, 7, &[], None).await.unwrap();
        assert!(stale(engine.sealed(&task, 7, 29, &[], 6).await.unwrap()), "not all lines");
        assert!(stale(engine.sealed(&task, 7, 30, &[], 5).await.unwrap()), "an older fence");
        assert_eq!(engine.sealed(&task, 7, 30, &fact("artifact", "{}"), 6).await.unwrap(), KeepReply::Done);
        assert_eq!(engine.sealed(&task, 7, 30, &fact("artifact", "{}"), 6).await.unwrap(), KeepReply::Done, "sent again");
        assert!(stale(engine.sealed(&task, 7, 30, &[], 9).await.unwrap()));
        let found = state(&engine, &task).await;
        assert_eq!((found.status, found.last_line, found.archived, found.record["artifact"].as_str()), (SharedStatus::Sealed, 30, 30, "{}"));
        assert!(found.sessions.is_empty() && found.segments.is_empty());
        assert_eq!(server.run::<u64>(&["EXISTS", "task:logs:t", "{task:logs:t}:fx"]).await, 0);
        assert_eq!(engine.sealed(&task, 8, 30, &[], 6).await.unwrap(), KeepReply::Removed);
    }

    async fn line_of_another_client_before_the_seal_makes_it_stale(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 3)).await;
        engine.end(&task, 7, &[], None).await.unwrap();
        server.run::<String>(&["XADD", "task:logs:t", "*", "line", "late"]).await;
        let KeepReply::Stale(found) = engine.sealed(&task, 7, 3, &[], 1).await.unwrap() else { panic!() };
        assert_eq!(found.last_line, 4);
        assert_eq!(engine.sealed(&task, 7, 4, &[], 1).await.unwrap(), KeepReply::Done);
    }

    async fn removed_task_is_gone_and_a_new_one_stays_listed(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 3)).await;
        assert!(!engine.remove(&task, 8).await.unwrap(), "another birth");
        assert!(engine.remove(&task, 7).await.unwrap() && !engine.remove(&task, 7).await.unwrap());
        assert_eq!(server.run::<u64>(&["EXISTS", "task:logs:t", "{task:logs:t}:tt"]).await, 0);
        assert!(engine.index().await.unwrap().is_empty());
        engine.create(&task, 2_000, 9, &[]).await.unwrap();
        assert!(!engine.remove(&task, 7).await.unwrap());
        assert_eq!(engine.index().await.unwrap(), [(task.clone(), 2_000)]);
        // A server died between listing a task and creating it.
        let bucket = format!("tt:{{{:02x}}}:tasks", tasktail::home::redis::bucket_of(&id("half")));
        server.run::<u64>(&["ZADD", &bucket, "5", "half"]).await;
        engine.remove(&id("half"), 1).await.unwrap();
        assert_eq!(engine.index().await.unwrap(), [(task, 2_000)]);
    }

    async fn watch_reports_changed_tasks(kind) {
        let server = Server::start(kind).await;
        let (a, b) = (server.engine("a").await, server.engine("b").await);
        create(&a, "before").await;
        let mut watch = b.watch_index().await.unwrap();
        let names: BTreeSet<_> = (0..40).map(|n| format!("t{n}")).collect();
        for name in &names {
            create(&a, name).await;
        }
        let mut seen = BTreeSet::new();
        while seen.len() < 40 {
            let IndexChange::Task(task) = until(watch.next()).await.unwrap() else { panic!() };
            seen.insert(task.to_string());
        }
        assert_eq!(seen, names);
        a.end(&id("t3"), 7, &[], None).await.unwrap();
        assert_eq!(until(watch.next()).await.unwrap(), IndexChange::Task(id("t3")));
        a.remove(&id("t4"), 7).await.unwrap();
        assert_eq!(until(watch.next()).await.unwrap(), IndexChange::Task(id("t4")));
    }

    async fn lease_has_one_holder_and_a_growing_fence(kind) {
        let server = Server::start(kind).await;
        let (a, b) = (server.engine("a").await, server.engine("b").await);
        let first = a.lease(3, 60_000).await.unwrap().unwrap();
        assert_eq!(b.lease(3, 60_000).await.unwrap(), None);
        assert_eq!(a.lease(3, 60_000).await.unwrap(), Some(first), "renewed");
        assert!(b.lease(4, 60_000).await.unwrap().is_some());
        b.release(3).await.unwrap();
        assert_eq!(b.lease(3, 60_000).await.unwrap(), None, "only the holder releases");
        a.release(3).await.unwrap();
        let second = b.lease(3, 100).await.unwrap().unwrap();
        assert!(second > first);
        let third = until(async {
            loop {
                if let Some(fence) = a.lease(3, 60_000).await.unwrap() {
                    return fence;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(third.await > second, "it expired");
        a.register(60_000).await.unwrap();
        assert_eq!(b.register(60_000).await.unwrap(), ["a", "b"]);
        assert_eq!(b.live_servers().await.unwrap().len(), 2);
    }

    async fn unsafe_settings_are_refused_with_one_sentence(kind) {
        let server = Server::start_with(kind, &["--maxmemory-policy", "allkeys-lru"]).await;
        let error = Engine::connect(&server.url(), EngineOptions::new("a")).await.unwrap_err();
        assert!(matches!(&error, EngineError::Config(text) if text.contains("noeviction")), "{error}");
        let trusted = EngineOptions { trust: true, ..EngineOptions::new("a") };
        assert_eq!(Engine::connect(&server.url(), trusted).await.unwrap().durability().warnings.len(), 2);
        let server = Server::start_with(kind, &["--appendonly", "yes", "--appendfsync", "everysec"]).await;
        let engine = server.engine("a").await;
        assert!(engine.durability().warnings[0].contains("appendfsync is everysec"), "{:?}", engine.durability());
        let server = Server::start(kind).await;
        let durability = server.engine("a").await.durability().clone();
        assert!(durability.warnings.is_empty() && durability.is_fsynced && durability.is_tracking, "{durability:?}");
        server.run::<()>(&["ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-config"]).await;
        let url = format!("redis://limited:pw@127.0.0.1:{}", server.port).parse().unwrap();
        let error = Engine::connect(&url, EngineOptions::new("a")).await.unwrap_err();
        assert!(error.to_string().contains("CONFIG GET"), "{error}");
        let trusted = EngineOptions { trust: true, ..EngineOptions::new("a") };
        Engine::connect(&url, trusted).await.unwrap();
        let url = format!("redis://limited:wrong@127.0.0.1:{}", server.port).parse().unwrap();
        let error = Engine::connect(&url, EngineOptions::new("a")).await.unwrap_err();
        assert!(matches!(&error, EngineError::Config(text) if text.contains("login")), "{error}");
    }
}
