//! Bodies of appends as programs send them: compressed, in other charsets, without a type, and for as long as a job lasts.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::common::{serve, until};
use hyper::Method;
use serde_json::json;

const PATH: &str = "/api/v1/tasks/t/lines";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_decoded_on_every_route_that_appends() {
    let server = serve().await;
    let gzip_of = |text: &str| gzip(text.as_bytes());
    let text = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    assert_eq!(server.ask(Method::POST, PATH, &text, gzip_of("a\nb\n")).await.json()["appended"], 2);
    let zstd = [("content-type", "application/x-ndjson"), ("content-encoding", "zstd")];
    let body = zstd::bulk::compress(b"{\"line\":\"c\"}\n", 3).unwrap();
    assert_eq!(server.ask(Method::POST, PATH, &zstd, body).await.json()["appended"], 1);
    assert_eq!(server.texts("t").await, ["a", "b", "c"]);
    let events = [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")];
    let body = gzip_of("{\"event_type\":\"run.created\",\"event_id\":\"e1\"}\n");
    assert_eq!(server.ask(Method::POST, "/api/v1/runs/r/events", &events, body).await.json()["appended"], 1);
    let end = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let ended = server.ask(Method::POST, "/api/v1/tasks/t/end", &end, gzip_of("{\"exit_code\":0}")).await;
    assert_eq!(ended.json()["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_bodies_are_rejected_and_store_nothing() {
    let server = serve().await;
    for (coding, body, status, part) in [
        ("br", b"a\n".to_vec(), 415, "gzip, zstd, deflate"),
        ("gzip", b"plain text\n".to_vec(), 400, "not gzip"),
        ("gzip", gzip(&vec![b'x'; 64 << 20]), 413, "append_ratio_max"),
    ] {
        let headers = [("content-type", "text/plain"), ("content-encoding", coding)];
        let answer = server.ask(Method::POST, "/api/v1/tasks/u/lines", &headers, body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().contains(part), "{}", answer.text());
    }
    let klingon = [("content-type", "text/plain; charset=klingon")];
    let answer = server.ask(Method::POST, PATH, &klingon, "a\n").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (415, "bad_content_type"));
    assert_eq!(server.get("/api/v1/tasks/t").await.status, 404);
}

/// A job that prints megabytes without a newline, such as a progress bar that returns to the start of its line.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_text_of_any_length_are_kept_in_pieces_while_they_are_sent() {
    let server = serve().await;
    let url = format!("http://{}{PATH}", server.server.addr());
    let mut curl = Command::new("curl")
        .args(["-sS", "-T", "-", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut job = curl.stdin.take().unwrap();
    let frame: String = (0..2_000).map(|n| format!("\r\x1b[32m{n} of äöü 🎉\x1b[0m")).collect();
    let long = frame.repeat(50);
    job.write_all(b"first\n").unwrap();
    job.write_all(long.as_bytes()).unwrap();
    until("the row is seen before its end", || async {
        let page = server.get(PATH).await;
        page.status == 200 && page.json()["last_line"].as_u64() > Some(10)
    })
    .await;
    job.write_all(b"\nlast\n").unwrap();
    drop(job);
    let answer = tokio::task::spawn_blocking(move || curl.wait_with_output().unwrap()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert!(answer["appended"].as_u64() > Some((long.len() / (64 * 1024)) as u64), "{answer}");
    let log = server.get("/api/v1/tasks/t/log").await.text();
    assert!(log == format!("first\n{long}\nlast\n"), "{} bytes", log.len());
    for piece in server.texts("t").await {
        assert!(piece.len() <= 64 * 1024);
        assert!(!piece.ends_with('\x1b') && !piece.ends_with("\x1b[3"), "no piece ends inside an escape sequence");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_row_with_a_number_is_stored_as_a_whole_or_rejected_by_name() {
    let server = serve().await;
    let path = "/api/v1/tasks/t/lines?session=s&first_seq=1";
    let text = [("content-type", "text/plain")];
    let half = "z".repeat(700 << 10);
    let body = format!("one\n{half}\n{half}{half}\nfour\n");
    for appended in [12, 0] {
        let answer = server.ask(Method::POST, path, &text, body.clone()).await;
        assert_eq!(answer.status, 413);
        let problem = answer.json();
        assert_eq!((&problem["row"], &problem["appended"]), (&json!(2), &json!(appended)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("without a session"), "{problem}");
    }
    assert_eq!(server.get("/api/v1/tasks/t/log").await.text(), format!("one\n{half}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charset_is_honoured() {
    let server = serve().await;
    let latin = [("content-type", "text/plain; charset=ISO-8859-1")];
    server.ask(Method::POST, PATH, &latin, &b"caf\xe9\n"[..]).await;
    let utf16: Vec<u8> = "\u{feff}t\u{fc}r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    server.ask(Method::POST, PATH, &[], utf16).await;
    assert_eq!(server.texts("t").await, ["café", "tür"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_curl_without_a_type_is_text() {
    let server = serve().await;
    for (headers, line) in [
        (&[("content-type", "application/x-www-form-urlencoded")][..], "curl --data-binary"),
        (&[], "no type"),
        (&[("content-type", "application/octet-stream")], "bytes"),
        (&[("content-type", "text/x-log; charset=utf-8")], "a log"),
    ] {
        let answer = server.ask(Method::PUT, PATH, headers, format!("{line}\n")).await;
        assert_eq!(answer.json()["appended"], 1, "{line}: {}", answer.text());
    }
    assert_eq!(server.texts("t").await, ["curl --data-binary", "no type", "bytes", "a log"]);
    let form = [("content-type", "multipart/form-data; boundary=x")];
    assert_eq!(server.ask(Method::POST, PATH, &form, "--x\n").await.status, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_kept_as_well_as_they_can_be() {
    let server = serve().await;
    let rows = b"\xef\xbb\xbf{\"line\":\"first\"}\n{\"line\":\"caf\\udce9\"}\n{\"line\":\"latin \xe9\"}\n{\"line\":\"two\\nparts\"}\n\
        {\"line\":7,\"stream\":\"loud\"}\n";
    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = server.ask(Method::POST, PATH, &ndjson, &rows[..]).await;
    assert_eq!(answer.json()["appended"], 6, "{}", answer.text());
    let page = server.get(PATH).await.json();
    let lines: Vec<_> =
        page["lines"].as_array().unwrap().iter().map(|l| (l["line"].clone(), l["lossy"] == true)).collect();
    let wanted = [
        ("first", false),
        ("caf\u{fffd}", true),
        ("latin \u{fffd}", true),
        ("two", false),
        ("parts", false),
        ("7", true),
    ];
    assert_eq!(lines, wanted.map(|(text, lossy)| (json!(text), lossy)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_job_are_seen_while_curl_still_sends_them() {
    let server = serve().await;
    let url = format!("http://{}{PATH}", server.server.addr());
    let mut curl = Command::new("curl")
        .args(["-sS", "-T", "-", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut job = curl.stdin.take().unwrap();
    for n in 1..=3 {
        writeln!(job, "{n}").unwrap();
        until("the line is seen", || async {
            let page = server.get(PATH).await;
            page.status == 200 && page.json()["last_line"] == n
        })
        .await;
    }
    job.write_all(b"no newline at the end").unwrap();
    drop(job);
    let answer = tokio::task::spawn_blocking(move || curl.wait_with_output().unwrap()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&answer["appended"], &answer["last_line"]), (&json!(4), &json!(4)));
    assert_eq!(server.texts("t").await, ["1", "2", "3", "no newline at the end"]);
}
