//! The authorization matrix: every route with every kind of caller. A route that the server has and the
//! table here has not fails the test.

use hyper::Method;
use tasktail::auth::Scope;
use tasktail::model::Timestamp;
use tasktail::server::ROUTES;

use crate::common::Answer;
use crate::support::{Store, expiring, token};

/// What a route answers.
struct Row {
    method: &'static str,
    path: &'static str,
    /// With no token, or one that is not taken.
    stranger: u16,
    /// With a token whose patterns fit, by its scope: read, write, admin.
    fits: [u16; 3],
    /// The same with patterns that do not fit.
    other: [u16; 3],
}

/// For everyone.
const fn public(path: &'static str) -> Row {
    Row { method: "GET", path, stranger: 200, fits: [200; 3], other: [200; 3] }
}

/// For every token.
const fn any(path: &'static str) -> Row {
    Row { method: "GET", path, stranger: 401, fits: [200; 3], other: [200; 3] }
}

/// For tokens whose patterns fit.
const fn reads(path: &'static str, status: u16) -> Row {
    Row { method: "GET", path, stranger: 401, fits: [status; 3], other: [404; 3] }
}

/// For tokens whose patterns fit and that may write.
const fn writes(path: &'static str) -> Row {
    Row { method: "POST", path, stranger: 401, fits: [403, 200, 200], other: [404; 3] }
}

/// For tokens whose patterns fit and that may administer.
const fn removes(path: &'static str) -> Row {
    Row { method: "DELETE", path, stranger: 401, fits: [403, 403, 204], other: [404; 3] }
}

/// The matrix.
const MATRIX: &[Row] = &[
    public("/healthz"),
    public("/readyz"),
    public("/assets/{name}"),
    public("/login"),
    public("/api/v1/access"),
    // They look at what they are sent, whoever sends it: no page says it is ours, no JSON.
    Row { method: "POST", path: "/login", stranger: 403, fits: [403; 3], other: [403; 3] },
    Row { method: "POST", path: "/logout", stranger: 204, fits: [204; 3], other: [204; 3] },
    Row { method: "POST", path: "/share", stranger: 415, fits: [415; 3], other: [415; 3] },
    any("/"),
    any("/tasks/{task}"),
    any("/runs"),
    any("/runs/{run}"),
    any("/metrics"),
    any("/api/v1/pipeline"),
    any("/api/v1/tasks"),
    any("/api/v1/runs"),
    reads("/api/v1/tasks/{task}", 200),
    reads("/api/v1/tasks/{task}/lines", 200),
    reads("/api/v1/tasks/{task}/log", 200),
    reads("/api/v1/tasks/{task}/stream", 200),
    reads("/api/v1/runs/{run}", 200),
    reads("/api/v1/runs/{run}/events", 200),
    reads("/api/v1/runs/{run}/events/stream", 200),
    reads("/ws/v1/tasks/{task}", 101),
    writes("/api/v1/tasks/{task}/lines"),
    writes("/api/v1/tasks/{task}/end"),
    writes("/api/v1/runs/{run}/events"),
    Row { method: "POST", path: "/api/v1/tasks/{task}/share", stranger: 401, fits: [403, 403, 200], other: [404; 3] },
    removes("/api/v1/tasks/{task}"),
    removes("/api/v1/runs/{run}"),
    // What is said on them is asked about word by word: see `doors`.
    Row { method: "GET", path: "/ws/v1/follow", stranger: 401, fits: [101; 3], other: [101; 3] },
    Row { method: "GET", path: "/ws/v1/worker", stranger: 401, fits: [403, 101, 101], other: [403, 101, 101] },
];

const SCOPES: [Scope; 3] = [Scope::Read, Scope::Write, Scope::Admin];

/// The answer's head, and its body if that ends.
async fn ask(store: &Store, row: &Row, token: Option<&str>, id: &str) -> (u16, Option<String>) {
    let path = row.path.replace("{task}", id).replace("{run}", id).replace("{name}", "style.css");
    let (kind, body) = match row.path {
        "/api/v1/tasks/{task}/end" => ("application/json", r#"{"exit_code":0}"#),
        "/api/v1/tasks/{task}/share" => ("application/json", r#"{"expires_in":"1h"}"#),
        "/api/v1/runs/{run}/events" => ("application/x-ndjson", r#"{"event_type":"run.created","event_id":"e2"}"#),
        _ => ("text/plain", "a line"),
    };
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("content-type", kind)];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    if row.path.starts_with("/ws/") {
        headers.extend([
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
    }
    let method: Method = row.method.parse().unwrap();
    let body = if method == Method::GET { "" } else { body };
    let response = store.server.open(method, &path, &headers, body.into()).await;
    let status = response.status().as_u16();
    if !response.status().is_client_error() {
        return (status, None);
    }
    let (head, body) = response.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    let answer = Answer { status: head.status, headers: head.headers, body };
    if status == 401 {
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{path}");
    }
    (status, Some(answer.code()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_caller_as_the_matrix_says() {
    let place = |method: &str, path: &str| format!("{method} {path}");
    let served: Vec<String> = ROUTES.iter().map(|route| place(route.method, route.path)).collect();
    let listed: Vec<String> = MATRIX.iter().map(|row| place(row.method, row.path)).collect();
    for route in &served {
        assert_eq!(listed.iter().filter(|row| *row == route).count(), 1, "{route} needs one row in the matrix");
    }
    for row in &listed {
        assert!(served.contains(row), "{row} is in the matrix and not served");
    }
    let mut strangers = vec![("no token", None), ("a wrong token", Some("tt_wrong".to_owned()))];
    let (mut fitting, mut others) = (Vec::new(), Vec::new());
    let store = Store::with(
        |_| {},
        |tokens| {
            let past = Some(Timestamp::from_millis(1));
            strangers.push(("an expired token", Some(expiring(tokens, "old", Scope::Admin, &["*"], &["*"], past))));
            strangers.push(("a revoked token", Some(token(tokens, "gone", Scope::Admin, &["*"], &["*"]))));
            tokens.revoke(&"gone".parse().unwrap()).unwrap();
            for scope in SCOPES {
                fitting.push(token(tokens, &format!("{scope}"), scope, &["build-*"], &["build-*"]));
                others.push(token(tokens, &format!("{scope} of others"), scope, &["deploy-*", "x"], &["deploy-*"]));
            }
        },
    )
    .await;
    let mut wrong = Vec::new();
    let mut number = 0;
    for row in MATRIX {
        let mut cases: Vec<(String, Option<&str>, u16)> = Vec::new();
        cases.extend(strangers.iter().map(|(who, token)| ((*who).to_owned(), token.as_deref(), row.stranger)));
        for (index, scope) in SCOPES.iter().enumerate() {
            cases.push((format!("{scope}, fitting"), Some(&fitting[index]), row.fits[index]));
            cases.push((format!("{scope}, not fitting"), Some(&others[index]), row.other[index]));
        }
        cases.push(("admin of all".to_owned(), Some(&store.admin), row.fits[2]));
        for (who, token, expected) in cases {
            number += 1;
            let id = format!("build-{number}");
            store.line(&id, "a line").await;
            store.event(&id).await;
            let (status, code) = ask(&store, row, token, &id).await;
            let word = match expected {
                401 => Some("unauthorized"),
                403 if row.path == "/login" => Some("bad_origin"),
                415 => Some("bad_content_type"),
                403 => Some("forbidden"),
                404 => Some("not_found"),
                _ => None,
            };
            if (status, code.as_deref()) != (expected, word) {
                wrong.push(format!("{} {} with {who}: {status} {code:?}, not {expected}", row.method, row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_a_row_is_not_there_and_a_page_leads_to_the_sign_in() {
    let store = Store::new().await;
    for path in ["/nowhere", "/api/v1", "/api/v1/tasks/t/u", "/api/v2/tasks"] {
        assert_eq!(store.server.get(path).await.code(), "not_found", "{path}");
        assert_eq!(store.get(&store.admin, path).await.code(), "not_found", "{path}");
    }
    // Another method of a path that is there: told only to those who may be told anything.
    assert_eq!(store.server.ask(Method::PUT, "/api/v1/tasks/t", &[], "").await.code(), "unauthorized");
    let admin = store.ask(&store.admin, Method::PUT, "/api/v1/tasks/t", None, "").await;
    assert_eq!(admin.code(), "method_not_allowed");
    let browser = [("accept", "text/html,application/xhtml+xml")];
    for (page, next) in [("/", "%2F"), ("/tasks/build-7", "%2Ftasks%2Fbuild%2D7"), ("/runs", "%2Fruns")] {
        let answer = store.server.ask(Method::GET, page, &browser, "").await;
        let location = answer.headers["location"].to_str().unwrap();
        assert_eq!((answer.status.as_u16(), location), (303, &format!("/login?next={next}")[..]));
        assert_eq!(store.server.get(page).await.code(), "unauthorized", "a program is told");
    }
    // Data is never led anywhere.
    let data = store.server.ask(Method::GET, "/api/v1/tasks", &browser, "").await;
    assert_eq!(data.code(), "unauthorized");
    // The process itself may do everything.
    let owner = store.server.server.owner_token().reveal().to_owned();
    assert_eq!(store.get(&owner, "/api/v1/tasks").await.status, 200);
}
