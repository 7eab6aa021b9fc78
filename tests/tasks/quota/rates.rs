//! Lines and bytes a second: what a worker sends too fast is dropped and told, others are told to wait,
//! and a connection that is too fast is read more slowly.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tasktail::model::rate::BURST_SECONDS;

use crate::common::{TestServer, numbered, plain, serve_with, within};

/// What the lines route says of a task: texts, and the counts of the gaps that lines stand for.
async fn log(server: &TestServer, task: &str) -> (Vec<String>, Vec<Value>) {
    let answer = server.get(&format!("/api/v1/tasks/{task}/lines?limit=10000")).await.json();
    (crate::common::texts(&answer), answer["gaps"].as_array().unwrap().clone())
}

async fn hits(server: &TestServer, limit: &str) -> u64 {
    let text = server.get("/metrics").await.text();
    let name = format!("tasktail_limit_reached_total{{limit=\"{limit}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.parse().unwrap()
}

/// Own lines in their order, the others told by lines that count them.
fn check(texts: &[String], gaps: &[Value], sent: u64, limit: &str) -> u64 {
    let mut told = 0;
    let mut next = 1;
    for text in texts {
        if let Some(count) = text.strip_prefix('[') {
            let count = count.strip_suffix(&format!(" lines over the limit of {limit}]"));
            let count: u64 = count.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
            told += count;
            next += count;
        } else {
            assert_eq!(text, &format!("line {next}"), "in its place: {texts:?}");
            next += 1;
        }
    }
    assert_eq!(next - 1, sent, "every line is there, or told once: {texts:?}");
    let counted: u64 = gaps.iter().map(|gap| gap["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, told);
    assert!(gaps.iter().all(|gap| gap["reason"] == "quota" && gap["marked"] == true), "{gaps:?}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_over_the_rate_are_counted_acknowledged_and_reported_once() {
    let server = serve_with(|options| options.limits.task_lines_per_second_max = Some(10)).await;
    let burst = 10 * BURST_SECONDS;
    let texts: Vec<String> = (1..=200).map(|n| format!("line {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let start = json!({"type":"task_start","work_request_id":"t","session":"s","command":["x"]});
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(start.clone()).await;
    worker.hear_type("resume").await;
    worker.say(numbered("t", 1, &texts[..120])).await;
    worker.say(numbered("t", 121, &texts[120..])).await;
    // Before the ack: as after a break of the connection.
    let mut again = server.socket("/ws/v1/worker").await;
    again.say(start).await;
    let acked = again.hear_type("resume").await["acked_seq"].as_u64().unwrap();
    again.say(numbered("t", acked + 1, &texts[usize::try_from(acked).unwrap()..])).await;
    worker.acked(200).await;
    again.acked(200).await;
    again.say(json!({"type":"log_line_end","work_request_id":"t","exit_code":0,"seq":201})).await;
    again.acked(201).await;
    let (found, gaps) = log(&server, "t").await;
    let told = check(&found, &gaps, 200, "10 lines/s");
    assert!(told >= 200 - burst - 60 && told <= 200 - burst, "{told}");
    assert!(hits(&server, "task_lines_per_second_max").await >= told);
    let task = server.get("/api/v1/tasks/t").await.json();
    assert_eq!(task["skipped_lines"], told);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_follows_the_line_that_reports_dropped_lines() {
    let server = serve_with(|options| options.limits.task_lines_per_second_max = Some(1)).await;
    let mut worker = server.socket("/ws/v1/worker").await;
    for n in 1..=20 {
        worker.say(plain("t", &format!("line {n}"))).await;
    }
    worker.say(json!({"type":"log_line_end","work_request_id":"t","exit_code":0})).await;
    let mut viewer = server.socket("/ws/v1/tasks/t?wait=1").await;
    let texts: Vec<String> = viewer.rest().await.into_iter().map(|(_, text)| text).collect();
    let (found, gaps) = log(&server, "t").await;
    assert_eq!(texts, found, "a viewer is told the same");
    let told = check(&found, &gaps, 20, "1 lines/s");
    assert!(told >= 20 - BURST_SECONDS - 2, "{told}");
    assert!(found.last().unwrap().starts_with('['), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_over_its_rate_gets_progress_and_retry_after() {
    let server = serve_with(|options| options.limits.task_bytes_per_second_max = Some(100)).await;
    let body: String = (1..=100).map(|n| format!("line {n}\n")).collect();
    let answer = server.append("t", &body).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.code(), "rate_limited");
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let problem = answer.json();
    let taken = problem["appended"].as_u64().unwrap();
    assert_eq!(problem["row"], taken, "the first row that was not taken");
    assert!((50..100).contains(&taken), "{problem}");
    let (found, gaps) = log(&server, "t").await;
    assert_eq!(found.len() as u64, taken);
    assert!(gaps.is_empty(), "nothing is lost: the client has the rest");
    // A line of nearly all bytes that may come at once is taken only after seconds without a line, and then the
    // next is not.
    let long = "x".repeat(usize::try_from(100 * BURST_SECONDS - 10).unwrap()) + "\n";
    let again = within("a line is refused", async {
        loop {
            let again = server.append("t", &long).await;
            if again.status != 200 {
                break again;
            }
        }
    })
    .await;
    assert_eq!((again.status.as_u16(), again.json()["appended"].as_u64()), (429, Some(0)), "expected no line taken");
    assert!(hits(&server, "task_bytes_per_second_max").await > 0);
    // Others are not concerned.
    assert_eq!(server.append("u", "line 1\n").await.status, 200);
}

#[test]
fn a_redis_client_over_its_rate_gets_an_error() {
    let server = tasktail::testing::Server::start_with(|options| options.limits.task_lines_per_second_max = Some(1));
    let server = server.unwrap();
    let mut redis = redis::Client::open(server.redis_url()).unwrap().get_connection().unwrap();
    // At once: between one answer and the next request there could be time for another line.
    let mut add = redis::pipe();
    for _ in 0..200 {
        add.xadd("task:logs:t", "*", &[("line", "x")]);
    }
    let answers: Vec<redis::Value> = add.ignore_errors().query(&mut redis).unwrap();
    let refused = answers.into_iter().find_map(|answer| answer.extract_error().err());
    let said = refused.expect("more lines than may come at once are not all taken").to_string();
    assert!(said.contains("task t exceeds its limit of 1 lines/s; retry in"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_too_fast_is_read_more_slowly_and_loses_nothing() {
    let server = serve_with(|options| options.limits.connection_lines_per_second_max = Some(20)).await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    let begun = Instant::now();
    let sent = 20 * (BURST_SECONDS + 2);
    for n in 1..=sent {
        worker.say(numbered("t", n, &[&format!("line {n}")])).await;
    }
    worker.acked(sent).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let (found, gaps) = log(&server, "t").await;
    assert_eq!(check(&found, &gaps, sent, ""), 0);
    assert!(hits(&server, "connection_lines_per_second_max").await > 0);
    let begun = Instant::now();
    let body: String = (1..=20 * BURST_SECONDS + 40).map(|n| format!("line {n}\n")).collect();
    assert_eq!(within("the append", server.append("h", &body)).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "a body too: {:?}", begun.elapsed());
}
