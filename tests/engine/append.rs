//! Appending: dense numbers, each line once, holes, refusals.

use std::collections::BTreeSet;

use futures::future::join_all;
use tasktail::home::redis::{EndReply, EngineError, SharedBatch, SharedNumbering, StoreReply};
use tasktail::model::{Channel, GapMarker, GapReason};

use crate::server::{Server, batch, create, id, line, on_each, plain, read_all, state, stored, text, texts};

on_each! {
    async fn two_sessions_from_two_engines_give_dense_numbers_and_each_line_once(kind) {
        let server = Server::start(kind).await;
        let engines = [server.engine("a").await, server.engine("b").await];
        let task = create(&engines[0], "t").await;
        let calls = (0..20u64).flat_map(|round| {
            let engines = &engines;
            let task = &task;
            (0..2usize).map(move |at| {
                let session = ["one", "two"][at];
                async move { stored(&engines[at], task, batch(session, round * 60 + 1, round * 60 + 60)).await }
            })
        });
        let acks = join_all(calls).await;
        assert_eq!(acks.iter().map(|ack| ack.count).sum::<u64>(), 2_400);
        let entries = read_all(&engines[1], &task, 2_400).await;
        assert_eq!(entries.iter().map(|entry| entry.n).collect::<Vec<_>>(), (1..=2_400).collect::<Vec<_>>());
        assert_eq!(texts(&entries).into_iter().collect::<BTreeSet<_>>().len(), 2_400);
        for session in ["one", "two"] {
            let seqs: Vec<_> = entries.iter().filter_map(|entry| entry.origin.as_ref()).filter(|origin| origin.session == session).map(|origin| origin.seq).collect();
            assert_eq!(seqs, (1..=1_200).collect::<Vec<_>>(), "in the order of the session");
        }
        let state = state(&engines[0], &task).await;
        assert_eq!((state.last_line, state.sessions), (2_400, vec![("one".into(), 1_200), ("two".into(), 1_200)]));
        assert_eq!(state.bytes, entries.iter().map(|entry| text(entry).len() as u64 + 1).sum::<u64>());
    }

    async fn resent_lines_are_stored_once(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 10)).await;
        let again = stored(&engine, &task, batch("s", 1, 10)).await;
        assert_eq!((again.first_line, again.last_line, again.count, again.acked_seq), (0, 0, 0, Some(10)));
        let part = stored(&server.engine("b").await, &task, batch("s", 6, 14)).await;
        assert_eq!((part.first_line, part.last_line, part.count, part.acked_seq), (11, 14, 4, Some(14)));
        assert_eq!(read_all(&engine, &task, 14).await.len(), 14);
    }

    async fn hole_becomes_one_marker_with_the_text_of_the_model(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 2)).await;
        let ack = stored(&engine, &task, batch("s", 6, 7)).await;
        assert_eq!((ack.first_line, ack.last_line, ack.count, ack.acked_seq), (3, 5, 3, Some(7)));
        let over = SharedBatch { over_limit: Some("1000 lines/s".into()), ..batch("s", 11, 10) };
        assert_eq!(stored(&engine, &task, over.clone()).await.acked_seq, Some(10));
        assert_eq!(stored(&engine, &task, over).await.count, 0, "reported once");
        let end = SharedBatch { ends_session: true, ..batch("s", 13, 12) };
        assert_eq!(stored(&engine, &task, end.clone()).await.count, 1);
        assert_eq!(stored(&engine, &task, end).await.count, 0);
        let entries = read_all(&engine, &task, 7).await;
        let lost = |count| GapMarker { reason: GapReason::LostInTransit, count }.to_string();
        assert_eq!(texts(&entries), ["s 1", "s 2", &lost(3), "s 6", "s 7", &GapMarker::over(3, "1000 lines/s"), &lost(2)]);
        assert!(entries[2].origin.is_none() && entries[2].fields.iter().any(|(name, value)| name == b"stream" && value == Channel::Internal.as_str().as_bytes()));
        let state = state(&engine, &task).await;
        assert_eq!((state.skipped, state.sessions), (3, vec![("s".into(), 12)]));
    }

    async fn pieces_and_annotations_share_the_number_of_their_line(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let of = |text: &str, numbering, partial| tasktail::home::redis::SharedLine { numbering, partial, ..line(text) };
        let lines = vec![
            of("a", SharedNumbering::Next, true),
            of("b", SharedNumbering::Continuation, false),
            of("note", SharedNumbering::Unnumbered, false),
            of("c", SharedNumbering::Next, false),
        ];
        let whole = SharedBatch { session: Some(("s".into(), 1)), lines, ..SharedBatch::default() };
        assert_eq!(stored(&engine, &task, whole.clone()).await.acked_seq, Some(2));
        assert_eq!(stored(&engine, &task, whole).await.count, 0, "pieces and notes of duplicates are dropped");
        let entries = read_all(&engine, &task, 4).await;
        let origins: Vec<_> = entries.iter().map(|entry| entry.origin.as_ref().map(|origin| (origin.seq, origin.piece))).collect();
        assert_eq!(origins, [Some((1, 0)), Some((1, 1)), None, Some((2, 0))]);
        assert_eq!(entries.iter().map(|entry| entry.partial).collect::<Vec<_>>(), [true, false, false, false]);
        assert_eq!(state(&engine, &task).await.bytes, 1 + 2 + 5 + 2);
    }

    async fn large_batch_is_split_in_order(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let ack = stored(&engine, &task, batch("s", 1, 5_000)).await;
        assert_eq!((ack.first_line, ack.last_line, ack.count, ack.acked_seq), (1, 5_000, 5_000, Some(5_000)));
        let unnumbered: Vec<_> = (0..1_200).map(|n| format!("plain {n}")).collect();
        let ack = stored(&engine, &task, plain(&unnumbered.iter().map(String::as_str).collect::<Vec<_>>())).await;
        assert_eq!((ack.count, ack.acked_seq), (1_200, None));
        let entries = read_all(&engine, &task, 6_200).await;
        assert_eq!(texts(&entries[5_000..]), unnumbered);
        assert!(state(&engine, &task).await.sessions.iter().all(|(name, _)| name == "s"), "a server's own are not shown");
    }

    async fn end_stays_and_later_appends_are_refused(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let fields = |code: &str| vec![("exit".to_owned(), code.to_owned())];
        let (first, second) = (fields("0"), fields("1"));
        let (append, end) = tokio::join!(
            engine.append(&task, 7, batch("s", 1, 3)),
            engine.end(&task, 7, &first, Some(("s".into(), 6))),
        );
        assert!(matches!(append.unwrap(), StoreReply::Stored(_)));
        assert_eq!(end.unwrap(), EndReply::Ended { last_line: 4 }, "two lines never arrived");
        assert_eq!(engine.append(&task, 7, batch("s", 4, 5)).await.unwrap(), StoreReply::Ended { acked_seq: Some(5) });
        let EndReply::AlreadyEnded(state) = server.engine("b").await.end(&task, 7, &second, None).await.unwrap() else { panic!() };
        assert_eq!((state.last_line, state.record["exit"].as_str()), (4, "0"));
        assert_eq!(engine.append(&task, 8, batch("s", 4, 5)).await.unwrap(), StoreReply::Removed, "another birth");
        assert_eq!(engine.append(&id("other"), 7, batch("s", 1, 1)).await.unwrap(), StoreReply::Removed);
    }

    async fn scripts_are_loaded_again_after_a_flush(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        for round in 0..5u64 {
            let first = round * 4 * 200 + 1;
            let calls = (0..4).map(|at| stored(&engine, &task, batch("s", first + at * 200, first + at * 200 + 199)));
            let (_, acks) = tokio::join!(server.run::<()>(&["SCRIPT", "FLUSH"]), join_all(calls));
            assert_eq!(acks.last().unwrap().acked_seq, Some(first + 799));
        }
        let entries = read_all(&engine, &task, 4_000).await;
        assert_eq!(texts(&entries), (1..=4_000).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
    }

    async fn full_memory_refuses_a_batch_whole(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 3)).await;
        server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
        let error = engine.append(&task, 7, batch("s", 4, 5)).await.unwrap_err();
        assert!(matches!(error, EngineError::Refused(_)) && error.is_temporary(), "{error}");
        let refused = engine.append(&task, 7, batch("s", 6, 7)).await.unwrap();
        assert_eq!(refused, StoreReply::Behind { acked_seq: Some(3) }, "it must not overtake the refused one");
        server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
        assert_eq!(state(&engine, &task).await.last_line, 3);
        assert_eq!(stored(&engine, &task, batch("s", 4, 7)).await.last_line, 7);
        assert_eq!(stored(&engine, &task, batch("s", 8, 8)).await.last_line, 8);
    }

    async fn nothing_overtakes_a_refused_batch(kind) {
        let server = Server::start_with(kind, &["--appendonly", "yes", "--appendfsync", "everysec"]).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let done = std::sync::atomic::AtomicBool::new(false);
        let toggle = async {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                for memory in ["1", "0"] {
                    server.run::<()>(&["CONFIG", "SET", "maxmemory", memory]).await;
                }
            }
        };
        let write = async {
            let mut next = 1;
            let mut refused = 0;
            while next <= 3_000 {
                // Far more calls than one round sends, as a worker that does not wait for its confirmations.
                let calls = (next..=3_000).step_by(5).map(|first| engine.append(&task, 7, batch("s", first, first + 4)));
                let replies = join_all(calls).await;
                let failed = replies.iter().position(|reply| !matches!(reply, Ok(StoreReply::Stored(_))));
                let stored = failed.unwrap_or(replies.len()) as u64;
                if let Some(at) = failed {
                    refused += 1;
                    let is_refused = |reply: &Result<_, _>| matches!(reply, Err(EngineError::Refused(_)) | Ok(StoreReply::Behind { .. }));
                    assert!(replies[at..].iter().all(is_refused), "{:?}", replies.iter().find(|reply| !is_refused(reply)));
                    let end = engine.end(&task, 7, &[], Some(("s".into(), 3_001))).await.unwrap();
                    assert!(matches!(end, EndReply::Behind { .. }), "{end:?}");
                }
                next += stored * 5;
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            refused
        };
        let (refused, ()) = crate::server::until(Box::pin(async { tokio::join!(write, toggle) })).await;
        assert!(refused > 0);
        let entries = read_all(&engine, &task, 3_000).await;
        assert_eq!(texts(&entries), (1..=3_000).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
    }

    async fn full_stream_refuses_until_it_is_archived(kind) {
        let server = Server::start(kind).await;
        let options = tasktail::home::redis::EngineOptions { stream_lines_max: 10, ..tasktail::home::redis::EngineOptions::new("a") };
        let engine = tasktail::home::redis::Engine::connect(&server.url(), options).await.unwrap();
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 10)).await;
        assert_eq!(engine.append(&task, 7, batch("s", 11, 12)).await.unwrap(), StoreReply::Full { acked_seq: Some(10) });
        assert_eq!(engine.append(&task, 7, batch("s", 13, 13)).await.unwrap(), StoreReply::Behind { acked_seq: Some(10) });
        assert_eq!(stored(&engine, &task, batch("s", 4, 10)).await.count, 0, "it has these");
        assert_eq!(server.run::<u64>(&["XLEN", "task:logs:t"]).await, 10);
        server.run::<()>(&["XTRIM", "task:logs:t", "MAXLEN", "5"]).await;
        assert_eq!(stored(&engine, &task, batch("s", 11, 12)).await.last_line, 12);
    }

    async fn least_recently_used_session_makes_room(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        for session in 0..60 {
            stored(&engine, &task, batch(&format!("s{session}"), 1, 1)).await;
            stored(&engine, &task, batch("always", session + 1, session + 1)).await;
        }
        let state = state(&engine, &task).await;
        assert_eq!(state.sessions.len(), 48);
        assert!(state.sessions.contains(&("always".into(), 60)) && state.sessions.contains(&("s59".into(), 1)));
        let entries = read_all(&engine, &task, 120).await;
        assert_eq!(entries[0].origin.as_ref().unwrap().session, "s0", "the name remains known");
    }
}
