//! Runs over HTTP: events in, each once; their pages, their stream, their state.

use crate::common::{Answer, TestServer, options, serve, serve_with, started, within};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use redis::AsyncCommands;
use serde_json::{Value, json};

const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

/// A repetition's event as the benchmark writes it.
fn status(repetition: u64, status: &str, message: &str) -> Value {
    json!({"run_id":"r","host":"h1","workload":"fio","repetition":repetition,"total_repetitions":2,
        "status":status,"message":message,"timestamp":1_767_435_305.5,"error_type":null})
}

fn log(level: &str, message: &str) -> Value {
    json!({"host":"h1","workload":"fio","repetition":1,"total_repetitions":2,"status":"running",
        "type":"log","level":level,"message":message})
}

fn rows(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

async fn post(server: &TestServer, path: &str, body: impl Into<String>) -> Answer {
    server.ask(Method::POST, path, &NDJSON, body.into()).await
}

/// `[appended, duplicates, rejected]` of an answer.
fn counts(answer: &Answer) -> [u64; 3] {
    let json = answer.json();
    assert_eq!(answer.status, 200, "{json}");
    ["appended", "duplicates", "rejected_count"].map(|name| json[name].as_u64().unwrap())
}

async fn events(server: &TestServer, query: &str) -> Vec<Value> {
    let answer = server.get(&format!("/api/v1/runs/r/events?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["events"].as_array().unwrap().clone()
}

/// Events of a stream: id and data, or the name of another kind of event.
struct Sse {
    body: Incoming,
    text: String,
}

impl Sse {
    async fn open(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Self {
        let response = server.open(Method::GET, path, headers, "".into()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next `(id or event, data)`. Heartbeats are no sign that it will come.
    async fn next(&mut self) -> (String, Value) {
        within("an event of the stream", self.event()).await
    }

    async fn event(&mut self) -> (String, Value) {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                let Some(data) = field("data: ") else { continue };
                let name = field("event: ").or(field("id: ")).unwrap();
                return (name, serde_json::from_str(&data).unwrap());
            }
            let frame = self.body.frame().await.expect("the stream goes on").unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_appended_once_and_read_unchanged() {
    let server = serve().await;
    let body = rows(&[status(1, "running", "begin"), status(1, "done", "duration=12.3s"), log("ERROR", "boom")]);
    let path = "/api/v1/runs/r/events?source=runner";
    assert_eq!(counts(&post(&server, path, body.clone()).await), [3, 0, 0]);
    assert_eq!(counts(&post(&server, path, body.clone()).await), [0, 3, 0], "a repeat is harmless");
    assert_eq!(counts(&post(&server, &format!("{path}&first_seq=4"), body).await), [3, 0, 0], "others are others");
    let all = events(&server, "").await;
    assert_eq!(all.len(), 6);
    assert_eq!(
        (&all[0]["event_id"], &all[0]["source"], &all[5]["source_seq"]),
        (&json!("runner:1"), &json!("runner"), &json!(6))
    );
    assert_eq!(all[0]["timestamp"], 1_767_435_305.5, "the origin's time stays");
    assert!(
        all[0]["received_utc"].as_str().unwrap().ends_with('Z') && all[0].get("error_type").is_none(),
        "{}",
        all[0]
    );
    assert_eq!(events(&server, "type=log").await.len(), 2);
    assert_eq!(events(&server, "type=stat*,gate.failed").await.len(), 4);
    assert_eq!(events(&server, "failures=1&tail=1").await[0]["message"], "boom");
    assert_eq!(events(&server, "tail=2").await, all[4..]);
    let page = server.get("/api/v1/runs/r/events?limit=4").await.json();
    let rest = events(&server, &format!("after={}", page["next"].as_str().unwrap())).await;
    assert_eq!(rest, all[4..]);
    let run = server.get("/api/v1/runs/r").await.json();
    assert_eq!((&run["events"], &run["failures"]), (&json!(6), &json!(2)));
    assert_eq!((&run["journal"][0]["status"], &run["journal"][0]["duration_s"]), (&json!("done"), &json!(12.3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_events_are_reported_by_row_and_lose_no_other() {
    let server = serve().await;
    let good = status(1, "running", "a");
    let body =
        format!("{good}\n\n{{\"a\":\n[1]\n{{\"host\":\"h\"}}\n{{\"event_type\":\"x\",\"event_id\":\"\"}}\n{good}");
    let answer = post(&server, "/api/v1/runs/r/events", body).await;
    assert_eq!(counts(&answer), [2, 0, 4], "no ids and no source: two equal events are two");
    let told: Vec<(u64, String)> = answer.json()["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert!(!row["message"].as_str().unwrap().is_empty());
            (row["index"].as_u64().unwrap(), row["reason"].as_str().unwrap().to_owned())
        })
        .collect();
    let wanted = [(2, "not_json"), (3, "not_an_object"), (4, "missing_field"), (5, "wrong_type")];
    assert_eq!(told, wanted.map(|(index, reason)| (index, reason.to_owned())));
    let json_type = [("content-type", "application/json")];
    let array = json!([status(1, "done", ""), 7]).to_string();
    assert_eq!(counts(&server.ask(Method::POST, "/api/v1/runs/r/events", &json_type, array).await), [1, 0, 1]);
    let one = server.ask(Method::POST, "/api/v1/runs/r/events", &json_type, good.to_string()).await;
    assert_eq!(counts(&one), [1, 0, 0]);
    let text = server.ask(Method::POST, "/api/v1/runs/r/events", &[("content-type", "text/plain")], "x").await;
    assert_eq!((text.status.as_u16(), text.code().as_str()), (415, "bad_content_type"));
    for (path, code) in [
        ("/api/v1/runs/none", "not_found"),
        ("/api/v1/runs/none/events", "not_found"),
        ("/api/v1/runs/a%20b", "bad_id"),
        ("/api/v1/runs/r/events?limit=0", "bad_query"),
        ("/api/v1/runs?status=well", "bad_query"),
    ] {
        assert_eq!(server.get(path).await.code(), code, "{path}");
    }
    assert_eq!(server.ask(Method::PUT, "/api/v1/runs/r", &[], "").await.status, 405);
    let long = format!("{}{}\n{good}\n", " ".repeat(9 << 20), good);
    assert_eq!(
        counts(&post(&server, "/api/v1/runs/r/events", long).await),
        [1, 0, 1],
        "a row without end is passed over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_continues_across_a_server_restart() {
    let server = serve().await;
    let mut sse = Sse::open(&server, "/api/v1/runs/r/events/stream?wait=1", &[]).await;
    post(&server, "/api/v1/runs/r/events", rows(&[status(1, "running", "a"), log("INFO", "b")])).await;
    assert_eq!(sse.next().await.1["message"], "a");
    let (cursor, second) = sse.next().await;
    assert_eq!(second["message"], "b");
    // Live: what is appended now comes by itself.
    post(&server, "/api/v1/runs/r/events", rows(&[log("INFO", "c")])).await;
    assert_eq!(sse.next().await.1["message"], "c");
    drop(sse);
    let TestServer { server, folder, home } = server;
    server.shutdown().await.unwrap();
    let server = started(options(&folder), folder, home).await;
    post(&server, "/api/v1/runs/r/events", rows(&[log("INFO", "d")])).await;
    let headers = [("last-event-id", cursor.as_str())];
    let mut sse = Sse::open(&server, "/api/v1/runs/r/events/stream?tail=1", &headers).await;
    assert_eq!(
        (sse.next().await.1["message"].clone(), sse.next().await.1["message"].clone()),
        (json!("c"), json!("d"))
    );
    let mut tail = Sse::open(&server, "/api/v1/runs/r/events/stream?tail=1", &[]).await;
    assert_eq!(tail.next().await.1["message"], "d");
    // A run that was removed and made anew is another.
    assert_eq!(server.ask(Method::DELETE, "/api/v1/runs/r", &[], "").await.status, 204);
    assert_eq!(tail.next().await.0, "reset");
    post(&server, "/api/v1/runs/r/events", rows(&[log("INFO", "e")])).await;
    assert_eq!(tail.next().await.1["message"], "e");
    let mut late = Sse::open(&server, "/api/v1/runs/r/events/stream", &headers).await;
    assert_eq!(late.next().await.0, "reset");
    assert_eq!(late.next().await.1["message"], "e");
    assert_eq!(server.get(&format!("/api/v1/runs/r/events?after={cursor}")).await.code(), "reset");
    assert_eq!(server.get("/api/v1/runs/none/events/stream").await.status, 404);
    assert_eq!(server.get("/api/v1/runs/r/events/stream?after=x").await.code(), "bad_query");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_a_redis_client_adds_is_an_event() {
    let server = serve_with(|options| options.resp = Some("127.0.0.1:0".to_owned())).await;
    let mut redis = redis::Client::open(server.server.redis_url().unwrap())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let mut sse = Sse::open(&server, "/api/v1/runs/r/events/stream?wait=1", &[]).await;
    let text = status(1, "running", "by redis").to_string();
    let added: String = redis.xadd("run:events:r", "*", &[("event", text.as_str())]).await.unwrap();
    assert_eq!(sse.next().await.1["message"], "by redis");
    let fields = [("host", "h1"), ("workload", "fio"), ("repetition", "1"), ("status", "done"), ("event_id", "e9")];
    for _ in 0..2 {
        let _: String = redis.xadd("run:events:r", "*", &fields).await.unwrap();
    }
    let _: String = redis.xadd("run:events:r", "*", &[("event", "{\"host\":")]).await.unwrap();
    assert_eq!(
        counts(&post(&server, "/api/v1/runs/r/events", r#"{"event_type":"run.created","event_id":"e9"}"#).await),
        [0, 1, 0]
    );
    let all = events(&server, "").await;
    assert_eq!(all.len(), 2, "the repeat and the one that cannot be read are not shown: {all:?}");
    assert_eq!((&all[0]["event_id"], &all[0]["source"]), (&json!(format!("redis:{added}")), &json!("redis")));
    let run = server.get("/api/v1/runs/r").await.json();
    assert_eq!((&run["events"], &run["journal"][0]["status"]), (&json!(2), &json!("done")));
    let hops = server.get("/api/v1/pipeline").await.json();
    let hop = |name: &str| hops["hops"].as_array().unwrap().iter().find(|hop| hop["hop"] == name).unwrap().clone();
    assert_eq!((&hop("run_state")["rejected"]["not_json"], &hop("run_state")["deduplicated"]), (&json!(1), &json!(1)));
    assert_eq!(hop("redis")["stored"], 4);
    // And what came by POST is there for a Redis client.
    post(&server, "/api/v1/runs/r/events", r#"{"event_type":"run.created","event_id":"p1"}"#).await;
    let read: redis::streams::StreamRangeReply = redis.xrevrange_count("run:events:r", "+", "-", 1).await.unwrap();
    let event: Value = serde_json::from_str(&read.ids[0].get::<String>("event").unwrap()).unwrap();
    assert_eq!((&event["event_id"], &event["source"]), (&json!("p1"), &json!("http")));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_by_their_last_events() {
    let server = serve().await;
    for (run, kind) in [("a", "running"), ("b", "done"), ("a", "done")] {
        post(&server, &format!("/api/v1/runs/{run}/events"), rows(&[status(1, kind, ""), status(2, kind, "")])).await;
    }
    post(&server, "/api/v1/runs/c/events", rows(&[status(1, "failed", "")])).await;
    let listed = async |query: &str| {
        let runs = server.get(&format!("/api/v1/runs?{query}")).await.json()["runs"].clone();
        runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, ["c", "a", "b"]);
    assert_eq!(listed("status=done").await, ["a", "b"]);
    assert_eq!(listed("limit=1").await, ["c"]);
    let first = server.get("/api/v1/runs?limit=1").await.json()["runs"][0].clone();
    assert_eq!((&first["status"], &first["failures"]), (&json!("running"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_events_by_several_senders_at_once_are_there_once() {
    let server = serve().await;
    let body: String = (0..300).map(|n| format!("{{\"event_type\":\"x\",\"event_id\":\"e{n}\"}}\n")).collect();
    // Some go away before their answer: what they began must be known to those behind them.
    for wait_us in [500, 1_000, 2_000, 4_000] {
        let gone = server.open(Method::POST, "/api/v1/runs/r/events", &NDJSON, body.clone().into());
        tokio::time::timeout(std::time::Duration::from_micros(wait_us), gone).await.ok();
    }
    let posts = (0..6).map(|_| post(&server, "/api/v1/runs/r/events", body.clone()));
    let done = futures::future::join_all(posts).await;
    assert!(done.iter().all(|answer| counts(answer)[0] + counts(answer)[1] == 300));
    assert_eq!(events(&server, "").await.len(), 300);
    assert_eq!(server.get("/api/v1/pipeline").await.json()["hops"][10]["deduplicated"], 0, "none is there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_event_can_be_read_at_any_length() {
    let server = serve().await;
    let long = |id: &str, bytes: usize| {
        let event = json!({"event_type":"x","event_id":id,"pad":""}).to_string();
        format!("{}{}\"}}\n", &event[..event.len() - 2], "p".repeat(bytes - event.len()))
    };
    post(&server, "/api/v1/runs/r/events", long("first", 200)).await;
    for bytes in [1024 * 1024, 1024 * 1024 - 40, 1024 * 1024 - 200] {
        let id = bytes.to_string();
        let answer = post(&server, "/api/v1/runs/r/events", long(&id, bytes)).await;
        let [appended, _, refused] = counts(&answer);
        assert_eq!(appended + refused, 1, "{bytes}");
        let there = events(&server, "").await.iter().any(|event| event["event_id"] == *id);
        assert_eq!(there, appended == 1, "{bytes}");
    }
    assert_eq!(events(&server, "").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_passes_an_entry_of_a_redis_client_that_is_too_long() {
    let server = serve_with(|options| options.resp = Some("127.0.0.1:0".to_owned())).await;
    let client = redis::Client::open(server.server.redis_url().unwrap()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let event = json!({"event_type":"x","pad":""}).to_string();
    let long = format!("{}{}\"}}", &event[..event.len() - 2], "p".repeat(1024 * 1024 - event.len()));
    for text in [&event, &long, &event] {
        let _id: String = redis.xadd("run:events:r", "*", &[("event", text)]).await.unwrap();
    }
    let endpoint = format!("http://{}", server.server.addr()).parse().unwrap();
    let client = tasktail::client::HttpClient::new(endpoint);
    let mut follower = tasktail::client::RunFollower::new(client, "r".parse().unwrap(), Default::default());
    for _ in 0..2 {
        loop {
            match within("an event", follower.next()).await.unwrap() {
                tasktail::client::RunItem::Event { .. } => break,
                tasktail::client::RunItem::Connected => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let run = server.get("/api/v1/runs/r").await.json();
    assert_eq!(run["events"], 2, "what is not shown is not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_stays_correct_while_a_redis_client_deletes_entries() {
    let server = serve_with(|options| options.resp = Some("127.0.0.1:0".to_owned())).await;
    let client = redis::Client::open(server.server.redis_url().unwrap()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let path = "/api/v1/runs/r/events/stream?wait=1";
    let mut sse = Sse::open(&server, path, &[]).await;
    let key = "run:events:r";
    let add = async |redis: &mut redis::aio::MultiplexedConnection, message: &str| -> String {
        let text = log("INFO", message).to_string();
        redis.xadd(key, "*", &[("event", text)]).await.unwrap()
    };
    let first = add(&mut redis, "a").await;
    assert_eq!(sse.next().await.1["message"], "a");
    let _: u64 = redis.xdel(key, &[first]).await.unwrap();
    add(&mut redis, "b").await;
    assert_eq!(sse.next().await.1["message"], "b");
    // Nothing is left, and the run is there.
    let _: u64 = redis.xtrim(key, redis::streams::StreamMaxlen::Equals(0)).await.unwrap();
    assert_eq!(events(&server, "").await.len(), 0);
    add(&mut redis, "c").await;
    assert_eq!(sse.next().await.1["message"], "c");
    let mut late = Sse::open(&server, path, &[]).await;
    assert_eq!(late.next().await.1["message"], "c");
    // The key goes, by DEL and by its time; what comes then is of another log.
    for round in ["d", "e"] {
        if round == "d" {
            let _: u64 = redis.del(key).await.unwrap();
        } else {
            let _: bool = redis.pexpire(key, 1).await.unwrap();
            server.until("the key goes", || async { server.get("/api/v1/runs/r").await.status == 404 }).await;
        }
        assert_eq!(sse.next().await.0, "reset");
        assert_eq!(late.next().await.0, "reset");
        add(&mut redis, round).await;
        assert_eq!(sse.next().await.1["message"], round);
        assert_eq!(late.next().await.1["message"], round);
        let run = server.get("/api/v1/runs/r").await.json();
        assert_eq!(run["events"], 1, "{round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_expiry_was_extended_is_the_same_log() {
    let server = serve_with(|options| options.resp = Some("127.0.0.1:0".to_owned())).await;
    let client = redis::Client::open(server.server.redis_url().unwrap()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let mut sse = Sse::open(&server, "/api/v1/runs/r/events/stream?wait=1", &[]).await;
    let key = "run:events:r";
    let text = |message: &str| log("INFO", message).to_string();
    let _: String = redis.xadd(key, "*", &[("event", text("a"))]).await.unwrap();
    let _: bool = redis.pexpire(key, 3_000).await.unwrap();
    let _: String = redis.xadd(key, "*", &[("event", text("b"))]).await.unwrap();
    assert_eq!(sse.next().await.1["message"], "a");
    assert_eq!(sse.next().await.1["message"], "b");
    // The follower waits, and knows of the time.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let _: bool = redis.persist(key).await.unwrap();
    // The time that it knows has to pass.
    tokio::time::sleep(std::time::Duration::from_millis(3_000)).await;
    let _: String = redis.xadd(key, "*", &[("event", text("c"))]).await.unwrap();
    assert_eq!(sse.next().await.1["message"], "c", "nothing comes again");
}
