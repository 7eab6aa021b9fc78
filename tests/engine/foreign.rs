//! Other clients of Redis on the same keys.

use tasktail::home::redis::SharedEvent;
use tasktail::model::EntryId;

use crate::server::{Server, batch, create, id, on_each, read_all, read_until, state, stored, texts, until};

on_each! {
    async fn lines_of_other_clients_get_the_next_numbers(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        let mut tail = engine.tail(&task, 7, EntryId::MIN, 0);
        stored(&engine, &task, batch("s", 1, 2)).await;
        for text in ["x", "y"] {
            server.run::<String>(&["XADD", "task:logs:t", "*", "line", text, "stream", "stdout"]).await;
        }
        // The numbers are durable before anyone sees them.
        let early = read_until(&mut tail, 4).await;
        assert_eq!(state(&engine, &task).await.last_line, 4);
        server.run::<String>(&["XADD", "task:logs:t", "*", "line", "z", "tt", "1 0.1"]).await;
        stored(&engine, &task, batch("s", 3, 3)).await;
        let late = read_until(&mut tail, 6).await;
        let all = read_all(&server.engine("b").await, &task, 6).await;
        assert_eq!(texts(&all), ["s 1", "s 2", "x", "y", "z", "s 3"]);
        assert_eq!(all.iter().map(|entry| entry.n).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!([early, late].concat(), all, "every reader sees the same");
        assert_eq!(all.iter().map(|entry| entry.own).collect::<Vec<_>>(), [true, true, false, false, false, true]);
    }

    async fn deleted_and_trimmed_lines_keep_the_numbers_of_the_others(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        stored(&engine, &task, batch("s", 1, 2)).await;
        let mut ids = Vec::new();
        for text in ["a", "b", "c"] {
            ids.push(server.run::<String>(&["XADD", "task:logs:t", "*", "line", text]).await);
        }
        let before = read_all(&engine, &task, 5).await;
        server.run::<u64>(&["XDEL", "task:logs:t", &ids[0]]).await;
        stored(&engine, &task, batch("s", 3, 3)).await;
        // Deleted before it had a number: its number stays unused.
        let gone = server.run::<String>(&["XADD", "task:logs:t", "*", "line", "gone"]).await;
        server.run::<u64>(&["XDEL", "task:logs:t", &gone]).await;
        server.run::<String>(&["XADD", "task:logs:t", "*", "line", "d"]).await;
        stored(&engine, &task, batch("s", 4, 4)).await;
        let all = read_all(&engine, &task, 9).await;
        assert_eq!(texts(&all), ["s 1", "s 2", "b", "c", "s 3", "d", "s 4"]);
        assert_eq!(all.iter().map(|entry| entry.n).collect::<Vec<_>>(), [1, 2, 4, 5, 6, 8, 9]);
        assert_eq!(all[2..4], before[3..5]);
        server.run::<u64>(&["XTRIM", "task:logs:t", "MAXLEN", "1"]).await;
        assert_eq!(stored(&engine, &task, batch("s", 5, 5)).await.last_line, 10);
        assert_eq!(read_all(&engine, &task, 10).await.iter().map(|entry| entry.n).collect::<Vec<_>>(), [9, 10]);
    }

    async fn numbers_and_ids_go_on_after_the_stream_was_deleted(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        let task = create(&engine, "t").await;
        server.run::<String>(&["XADD", "task:logs:t", "99999999999999-5", "line", "future"]).await;
        let ack = stored(&engine, &task, batch("s", 1, 2)).await;
        assert_eq!((ack.last_line, ack.last_id.to_string().as_str()), (3, "99999999999999-7"));
        server.run::<u64>(&["DEL", "task:logs:t"]).await;
        let ack = stored(&engine, &task, batch("s", 3, 3)).await;
        assert_eq!((ack.last_line, ack.last_id.to_string().as_str()), (4, "99999999999999-8"));
        server.run::<u64>(&["DEL", "task:logs:t"]).await;
        for _ in 0..9 {
            server.run::<String>(&["XADD", "task:logs:t", "99999999999999-*", "line", "low"]).await;
        }
        for _ in 0..3 {
            server.run::<String>(&["XADD", "task:logs:t", "99999999999999-*", "line", "new"]).await;
        }
        let ack = stored(&engine, &task, batch("s", 4, 4)).await;
        assert_eq!(ack.acked_seq, Some(4));
        let all = read_all(&engine, &task, ack.last_line).await;
        assert!(all.windows(2).all(|pair| pair[0].n < pair[1].n && pair[0].id < pair[1].id), "{all:?}");
    }

    async fn stream_of_another_client_becomes_a_task(kind) {
        let server = Server::start(kind).await;
        let engine = server.engine("a").await;
        assert!(engine.open(&id("f")).await.unwrap().is_none());
        let mut pipeline = redis::pipe();
        for n in 1..=4_500 {
            pipeline.cmd("XADD").arg("task:logs:f").arg(format!("5000-{n}")).arg("line").arg(n).ignore();
        }
        pipeline.query_async::<()>(&mut server.client().await.unwrap()).await.unwrap();
        let opened = state(&engine, &id("f")).await;
        assert_eq!((opened.last_line, opened.created_ms), (4_500, 5_000));
        assert_eq!(engine.index().await.unwrap(), [(id("f"), 5_000)]);
        assert_eq!(state(&server.engine("b").await, &id("f")).await.birth, opened.birth, "one birth");
        let mut tail = engine.tail(&id("f"), opened.birth, EntryId::MIN, 0);
        let all = read_until(&mut tail, 4_500).await;
        assert_eq!(texts(&all), (1..=4_500).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(matches!(until(tail.next()).await.unwrap(), SharedEvent::State(_)));
    }
}
