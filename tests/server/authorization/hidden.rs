//! What is not the caller's to see is not there: in no list, no count, and in no answer's words.

use hyper::Method;
use tasktail::auth::Scope;

use crate::authorization::support::Store;

#[tokio::test(flavor = "multi_thread")]
async fn hidden_tasks_answer_like_missing_ones() {
    let store = Store::new().await;
    store.line("deploy-1", "secret").await;
    store.event("deploy-1").await;
    let token = store.token("ci", Scope::Admin, &["build-*"], &["build-*"]).await;
    let paths = [
        (Method::GET, "/api/v1/tasks/ID"),
        (Method::GET, "/api/v1/tasks/ID/lines"),
        (Method::GET, "/api/v1/tasks/ID/log"),
        (Method::GET, "/api/v1/tasks/ID/stream"),
        (Method::GET, "/api/v1/tasks/ID/events"),
        (Method::POST, "/api/v1/tasks/ID/share"),
        (Method::DELETE, "/api/v1/tasks/ID"),
        (Method::GET, "/api/v1/runs/ID"),
        (Method::GET, "/api/v1/runs/ID/events"),
        (Method::GET, "/api/v1/runs/ID/events/stream"),
        (Method::GET, "/api/v1/runs/ID/pipeline"),
        (Method::DELETE, "/api/v1/runs/ID"),
    ];
    for (method, path) in paths {
        let ask = async |id: &str| {
            let answer = store.ask(&token, method.clone(), &path.replace("ID", id), None, "").await;
            let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            (answer.status, names, answer.text().replace(id, "ID"))
        };
        let (hidden, absent) = (ask("deploy-1").await, ask("build-9").await);
        assert_eq!(hidden, absent, "{method} {path}");
        assert_eq!(hidden.0, 404, "{method} {path}");
    }
    assert_eq!(store.get(&store.admin, "/api/v1/tasks/deploy-1").await.status, 200, "nothing was removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_only_permitted_tasks_and_their_pages_join() {
    let store = Store::new().await;
    for n in 0..30 {
        store.line(&format!("build-{n}"), "x").await;
        store.line(&format!("deploy-{n}"), "x").await;
    }
    for run in ["build-1", "deploy-1", "deploy-2"] {
        store.event(run).await;
    }
    let token = store.token("wall", Scope::Read, &["build-*"], &["build-*"]).await;
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.get(&token, &format!("/api/v1/tasks?limit=7{after}")).await.json();
        let tasks = page["tasks"].as_array().unwrap();
        assert!(tasks.len() <= 7);
        seen.extend(tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let wanted: Vec<String> = (0..30).rev().map(|n| format!("build-{n}")).collect();
    assert_eq!(seen, wanted, "newest first, each once");
    let runs = store.get(&token, "/api/v1/runs?limit=1").await.json();
    let ids: Vec<&str> = runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["build-1"]);
    let all = store.get(&store.admin, "/api/v1/tasks?limit=100").await.json();
    assert_eq!(all["tasks"].as_array().unwrap().len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_sees_counts_and_only_admins_see_error_texts() {
    let store = Store::with(|options| options.runs = Some("/nonexistent/secret-folder".into()), |_| {}).await;
    let bad =
        store.ask(&store.admin, Method::POST, "/api/v1/tasks/deploy-1/lines", Some("application/x-ndjson"), "{").await;
    assert_eq!(bad.status, 400);
    let token = store.token("wall", Scope::Read, &["build-*"], &["build-*"]).await;
    let counts = store.get(&token, "/api/v1/pipeline").await;
    let all = store.get(&store.admin, "/api/v1/pipeline").await;
    let hop = |answer: &crate::common::Answer| {
        let hops = answer.json()["hops"].as_array().unwrap().clone();
        hops.into_iter().find(|hop| hop["hop"] == "http_lines").unwrap()
    };
    assert!(!hop(&all)["last_error"].is_null() && all.text().contains("secret-folder"));
    assert_eq!(hop(&all)["rejected"], hop(&counts)["rejected"]);
    assert!(hop(&counts)["last_error"].is_null(), "{}", counts.text());
    assert!(!counts.text().contains("secret-folder"));
}
