//! The outline, the difference and the explanation of a log.

use serde_json::{Value, json};

use crate::common::{TestServer, serve};

async fn outline(server: &TestServer, task: &str) -> Value {
    let answer = server.get(&format!("/api/v1/tasks/{task}/outline")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// A log of 40,000 lines whose times and numbers are this run's own.
fn log(run: u32, extra: &str) -> String {
    let line = |n: u32| {
        let extra = if n == 20_000 && !extra.is_empty() { format!("{extra}\n") } else { String::new() };
        format!("2026-05-{:02}T10:{:02}:00Z step {n} took {}ms\n{extra}", run % 28 + 1, n % 60, n * run % 977)
    };
    (1..=40_000).map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outline_grows_with_the_log() {
    let server = serve().await;
    server.append("t", "::group::Build\ncc -c a.c\nsrc/a.c:3:5: error: expected ';'\n").await;
    let now = outline(&server, "t").await;
    assert_eq!((&now["errors"], &now["scanned_to"], &now["truncated"]), (&json!(1), &json!(3), &json!(false)));
    let section = &now["sections"][0];
    assert_eq!(
        (&section["title"], &section["from"], &section["to"], &section["open"], &section["errors"]),
        (&json!("Build"), &json!(1), &json!(null), &json!(true), &json!(1))
    );
    assert_eq!(
        now["annotations"][0],
        json!({"n":3,"level":"error","source":"compiler","message":"expected ';'","file":"src/a.c","file_line":3,"column":5})
    );
    server.append("t", "::endgroup::\n::warning::late\n--- Deploy\nfine\n").await;
    let now = outline(&server, "t").await;
    assert_eq!((&now["errors"], &now["warnings"], &now["scanned_to"]), (&json!(1), &json!(1), &json!(7)));
    assert_eq!((&now["sections"][0]["to"], &now["sections"][0]["open"]), (&json!(4), &json!(false)));
    assert_eq!((&now["sections"][1]["open"], &now["sections"][1]["to"]), (&json!(true), &json!(null)));
    server.end("t").await;
    let now = outline(&server, "t").await;
    assert_eq!((&now["sections"][1]["open"], &now["sections"][1]["to"]), (&json!(false), &json!(7)));
    assert!(now["sections"][1]["ended"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_new_error_is_the_first_row_of_a_diff() {
    let server = serve().await;
    let answer = server.append("nightly-1", &log(1, "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.end("nightly-1").await;
    server.append("other", "something else\n").await;
    server.end("other").await;
    server.append("nightly-2", &log(2, "db: connection refused (error 111)")).await;
    let diff = server.get("/api/v1/tasks/nightly-2/diff").await.json();
    assert_eq!((&diff["task"], &diff["with"]), (&json!("nightly-2"), &json!("nightly-1")));
    assert_eq!((&diff["new_count"], &diff["missing_count"]), (&json!(1), &json!(0)), "{diff}");
    assert_eq!(diff["new"], json!([{"n":20_001,"line":"db: connection refused (error 111)","count":1,"error":true}]));
    let back = server.get("/api/v1/tasks/nightly-1/diff?with=nightly-2").await.json();
    assert_eq!((&back["new_count"], &back["missing"][0]["n"]), (&json!(0), &json!(20_001)));
    assert_eq!(server.get("/api/v1/tasks/other/diff").await.code(), "no_good_run");
    assert_eq!(server.get("/api/v1/tasks/other/diff?with=nope").await.code(), "not_found");
    let explained = server.get("/api/v1/tasks/nightly-2/explain?budget=1000").await;
    assert!(explained.body.len() <= 1_000, "{}", explained.body.len());
    let explained = explained.json();
    assert_eq!(explained["good"], "nightly-1");
    let lines = explained["lines"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["n"] == 20_001), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_keeps_its_budget_and_has_the_error() {
    let server = serve().await;
    let text = log(3, "error: \"quoted\" \u{1b}[31m\\path\u{1b}[0m ö <b>");
    assert_eq!(server.append("t", &text).await.status, 200);
    server.end("t").await;
    for budget in [500, 501, 777, 2_000, 8_000, 100_000] {
        for format in ["json", "text"] {
            let answer = server.get(&format!("/api/v1/tasks/t/explain?budget={budget}&format={format}")).await;
            assert!(answer.body.len() <= budget, "{} of {budget}", answer.body.len());
            let text = answer.text();
            assert!(text.contains("20001") && text.contains("quoted") && text.contains("40001"), "{text}");
            assert!(!text.contains('\u{1b}'));
        }
    }
    for bad in ["budget=499", "budget=x", "budget=1000001", "format=html"] {
        assert_eq!(server.get(&format!("/api/v1/tasks/t/explain?{bad}")).await.code(), "bad_query", "{bad}");
    }
}
