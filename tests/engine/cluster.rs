//! A cluster: tasks on several primaries, a failover, slots that move.

use std::time::Duration;

use futures::future::join_all;
use tasktail::home::redis::{Engine, EngineOptions, SharedEvent};
use tasktail::model::{EntryId, TaskId};

use crate::server::{
    Kind, Server, batch, create, free_port, id, on_each, read_all, read_until, state, stored, texts, until,
};

async fn member(kind: Kind) -> (Server, u16) {
    // The second port can be taken in between too.
    for _ in 0..10 {
        let bus = free_port();
        let settings = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus.to_string(),
            "--cluster-node-timeout",
            "1000",
            "--cluster-replica-validity-factor",
            "0",
        ];
        if let Some(server) = Server::try_start_with(kind, &settings).await {
            return (server, bus);
        }
    }
    panic!("no server starts");
}

/// Starts three primaries, and a replica of the first.
async fn cluster(kind: Kind) -> Vec<Server> {
    let members = [member(kind).await, member(kind).await, member(kind).await, member(kind).await];
    for (at, range) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].iter().enumerate() {
        members[at].0.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", range.0, range.1]).await;
    }
    for (server, bus) in &members[1..] {
        members[0].0.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string(), &bus.to_string()]).await;
    }
    let servers: Vec<_> = members.into_iter().map(|(server, _)| server).collect();
    let first = servers[0].run::<String>(&["CLUSTER", "MYID"]).await;
    until(async {
        while !servers[3].run::<String>(&["CLUSTER", "NODES"]).await.contains(&first) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    servers[3].run::<()>(&["CLUSTER", "REPLICATE", &first]).await;
    until(async {
        for server in &servers {
            while !server.run::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while !servers[0].run::<String>(&["INFO", "replication"]).await.contains("state=online") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    servers
}

async fn connect(server: &Server, name: &str) -> Engine {
    let url = format!("redis+cluster://127.0.0.1:{}", server.port).parse().unwrap();
    let options =
        EngineOptions { acks: Some(0), operation_timeout: Duration::from_secs(30), ..EngineOptions::new(name) };
    Engine::connect(&url, options).await.unwrap()
}

/// Returns the slot of a task's keys.
async fn slot(server: &Server, task: &TaskId) -> u64 {
    server.run(&["CLUSTER", "KEYSLOT", &task.stream_key()]).await
}

on_each! {
    async fn tasks_are_spread_and_survive_a_failover(kind) {
        let mut servers = cluster(kind).await;
        let (a, b) = (connect(&servers[1], "a").await, connect(&servers[2], "b").await);
        let mut watch = a.watch_index().await.unwrap();
        let mut tasks = Vec::new();
        for n in 0..12 {
            tasks.push(create(&b, &format!("t{n}")).await);
        }
        until(watch.next()).await.unwrap();
        join_all(tasks.iter().map(|task| stored(&a, task, batch("s", 1, 50)))).await;
        for server in &servers[..3] {
            assert!(server.run::<u64>(&["DBSIZE"]).await > 0, "every primary has some");
        }
        let mut tails: Vec<_> = tasks.iter().map(|task| b.tail(task, 7, EntryId::MIN, 0)).collect();
        join_all(tails.iter_mut().map(|tail| read_until(tail, 50))).await;
        assert_eq!(b.index().await.unwrap().len(), 12);
        // The replica has everything.
        let mut pipeline = redis::pipe();
        let fence = (0..).map(|n| format!("k{n}"));
        let key = {
            let mut found = None;
            for key in fence.take(200) {
                if servers[0].run::<u64>(&["CLUSTER", "KEYSLOT", &key]).await <= 5_460 {
                    found = Some(key);
                    break;
                }
            }
            found.unwrap()
        };
        pipeline.cmd("SET").arg(key).arg(1).ignore().cmd("WAIT").arg(1).arg(10_000);
        let (count,): (u64,) = pipeline.query_async(&mut servers[0].client().await.unwrap()).await.unwrap();
        assert_eq!(count, 1);
        servers[0].kill().await;
        join_all(tasks.iter().map(|task| stored(&a, task, batch("s", 51, 100)))).await;
        for (tail, task) in tails.iter_mut().zip(&tasks) {
            assert_eq!(texts(&read_until(tail, 100).await), (51..=100).map(|seq| format!("s {seq}")).collect::<Vec<_>>(), "{task}");
        }
        assert_eq!(b.index().await.unwrap().len(), 12);
        let moved = join_all(tasks.iter().map(|task| state(&a, task))).await;
        assert!(moved.iter().any(|task| !task.epochs.is_empty()) && moved.iter().any(|task| task.epochs.is_empty()));
    }

    async fn slot_moves_while_a_task_is_written_and_followed(kind) {
        let servers = cluster(kind).await;
        let (a, b) = (connect(&servers[1], "a").await, connect(&servers[2], "b").await);
        let task = create(&a, "moving").await;
        let slot = slot(&servers[0], &task).await;
        let ids = join_all(servers.iter().map(|server| server.run::<String>(&["CLUSTER", "MYID"]))).await;
        let from = match slot { 0..=5_460 => 0, 5_461..=10_922 => 1, _ => 2 };
        let to = (from + 1) % 3;
        let mut tail = b.tail(&task, 7, EntryId::MIN, 0);
        let slot = slot.to_string();
        stored(&a, &task, batch("s", 1, 10)).await;
        read_until(&mut tail, 10).await;
        servers[to].run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[from]]).await;
        servers[from].run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[to]]).await;
        stored(&a, &task, batch("s", 11, 20)).await;
        let keys: Vec<String> = servers[from].run(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
        assert!(keys.len() >= 2, "{keys:?}");
        let port = servers[to].port.to_string();
        let migrate = |key: String| {
            let (source, port) = (&servers[from], port.clone());
            async move {
                assert_eq!(source.run::<String>(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]).await, "OK");
            }
        };
        migrate(keys[0].clone()).await;
        // Half of the keys are there: the script is told to try again.
        let rest = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for key in &keys[1..] {
                migrate(key.clone()).await;
            }
        };
        let (ack, ()) = tokio::join!(stored(&a, &task, batch("s", 21, 30)), rest);
        assert_eq!(ack.acked_seq, Some(30));
        // Asked, and still not moved by name.
        stored(&a, &task, batch("s", 31, 40)).await;
        read_until(&mut tail, 40).await;
        assert_eq!(state(&b, &task).await.last_line, 40);
        for server in [to, from, 3 - to - from] {
            servers[server].run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]]).await;
        }
        stored(&a, &task, batch("s", 41, 50)).await;
        read_until(&mut tail, 50).await;
        let all = read_all(&a, &task, 50).await;
        assert_eq!(texts(&all), (1..=50).map(|seq| format!("s {seq}")).collect::<Vec<_>>());
        a.remove(&task, 7).await.unwrap();
        assert_eq!(until(async { loop { if let Ok(event @ SharedEvent::Gone) = tail.next().await { return event; } } }).await, SharedEvent::Gone);
        assert!(b.open(&id("moving")).await.unwrap().is_none());
    }
}
