//! The authorization matrix: every route with every kind of caller. A route that the server has and the
//! table here has not fails the test.

use hyper::Method;
use tasktail::auth::Scope;
use tasktail::model::Timestamp;
use tasktail::server::ROUTES;

use crate::authorization::support::{Store, expiring, token};
use crate::common::Answer;

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
    public("/assets/{folder}/{name}"),
    public("/assets/embed.js"),
    public("/embed/{task}"),
    public("/login"),
    public("/api/v1/access"),
    public("/api/v1/openapi.json"),
    public("/api/v1/schemas/{name}"),
    // They look at what they are sent, whoever sends it: no page says it is ours, no JSON.
    Row { method: "POST", path: "/login", stranger: 403, fits: [403; 3], other: [403; 3] },
    Row { method: "POST", path: "/logout", stranger: 204, fits: [204; 3], other: [204; 3] },
    Row { method: "POST", path: "/share", stranger: 415, fits: [415; 3], other: [415; 3] },
    any("/"),
    any("/tasks/{task}"),
    any("/tasks/{task}/diff"),
    any("/runs"),
    any("/runs/{run}"),
    any("/search"),
    any("/metrics"),
    any("/api/v1/pipeline"),
    any("/api/v1/tasks"),
    any("/api/v1/runs"),
    any("/api/v1/search"),
    reads("/api/v1/tasks/{task}", 200),
    reads("/api/v1/tasks/{task}/lines", 200),
    reads("/api/v1/tasks/{task}/log", 200),
    reads("/api/v1/tasks/{task}/stream", 200),
    reads("/api/v1/tasks/{task}/events", 200),
    reads("/api/v1/tasks/{task}/outline", 200),
    reads("/api/v1/tasks/{task}/explain", 200),
    // Nothing to compare it with.
    reads("/api/v1/tasks/{task}/diff", 409),
    reads("/api/v1/runs/{run}", 200),
    reads("/api/v1/runs/{run}/events", 200),
    reads("/api/v1/runs/{run}/events/stream", 200),
    reads("/api/v1/runs/{run}/pipeline", 200),
    reads("/ws/v1/tasks/{task}", 101),
    writes("/api/v1/tasks/{task}/lines"),
    writes("/api/v1/tasks/{task}/end"),
    writes("/api/v1/runs/{run}/events"),
    Row { method: "PUT", ..writes("/api/v1/tasks/{task}/lines") },
    Row { method: "PUT", ..writes("/api/v1/runs/{run}/events") },
    Row { method: "POST", path: "/api/v1/tasks/{task}/share", stranger: 401, fits: [403, 403, 200], other: [404; 3] },
    // It copies everything, so a token with patterns is not enough.
    Row { method: "POST", path: "/api/v1/backup", stranger: 401, fits: [403; 3], other: [403; 3] },
    removes("/api/v1/tasks/{task}"),
    removes("/api/v1/runs/{run}"),
    // What is said on them is asked about word by word: see `doors`.
    Row { method: "GET", path: "/ws/v1/follow", stranger: 401, fits: [101; 3], other: [101; 3] },
    Row { method: "GET", path: "/ws/v1/worker", stranger: 401, fits: [403, 101, 101], other: [403, 101, 101] },
];

const SCOPES: [Scope; 3] = [Scope::Read, Scope::Write, Scope::Admin];

/// The answer's status, and the code of its problem. `who` are the headers by which the caller is known.
async fn ask(store: &Store, row: &Row, who: &[(&str, &str)], id: &str) -> (u16, Option<String>) {
    let path = row
        .path
        .replace("{task}", id)
        .replace("{run}", id)
        .replace("{folder}", "shared")
        .replace("{name}", if row.path.starts_with("/assets") { "style.css" } else { "line.json" });
    let path = if row.path.ends_with("/search") { format!("{path}?q=line") } else { path };
    let (kind, body) = match row.path {
        "/api/v1/tasks/{task}/end" => ("application/json", r#"{"exit_code":0}"#),
        "/api/v1/tasks/{task}/share" => ("application/json", r#"{"expires_in":"1h"}"#),
        "/api/v1/runs/{run}/events" => ("application/x-ndjson", r#"{"event_type":"run.created","event_id":"e2"}"#),
        _ => ("text/plain", "a line"),
    };
    let mut headers = vec![("content-type", kind)];
    headers.extend_from_slice(who);
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
async fn every_route_answers_every_caller_as_the_matrix_states() {
    let place = |method: &str, path: &str| format!("{method} {path}");
    let served: Vec<String> = ROUTES.iter().map(|route| place(route.methods[0], route.path)).collect();
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
        let of_all = if row.path == "/api/v1/backup" { 200 } else { row.fits[2] };
        cases.push(("admin of all".to_owned(), Some(&store.admin), of_all));
        for (who, token, expected) in cases {
            number += 1;
            let id = format!("build-{number}");
            store.line(&id, "a line").await;
            store.event(&id).await;
            let bearer = token.map(|token| format!("Bearer {token}"));
            let header = bearer.as_deref().map(|bearer| ("authorization", bearer));
            let (status, code) = ask(&store, row, header.as_slice(), &id).await;
            let word = match expected {
                401 => Some("unauthorized"),
                403 if row.path == "/login" => Some("bad_origin"),
                415 => Some("bad_content_type"),
                403 => Some("forbidden"),
                404 => Some("not_found"),
                409 => Some("no_good_run"),
                _ => None,
            };
            if (status, code.as_deref()) != (expected, word) {
                wrong.push(format!("{} {} with {who}: {status} {code:?}, not {expected}", row.method, row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// They look at what they are sent, whoever sends it.
fn takes_anyone(row: &Row) -> bool {
    ["/login", "/logout", "/share"].contains(&row.path) && row.method == "POST"
}

/// The cookie of a browser that signs in with this token.
async fn sign_in(store: &Store, token: &str, origin: &str) -> String {
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin)];
    let answer = store.server.ask(Method::POST, "/login", &form, format!("token={token}&next=%2F")).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_browser_has_the_rights_of_its_token_on_own_pages_only() {
    let store = Store::with(|options| options.allowed_origins = "https://ci.example".parse().unwrap(), |_| {}).await;
    let own = format!("http://{}", store.server.server.addr());
    let mut cookies = Vec::new();
    for scope in SCOPES {
        for (name, patterns) in [("of builds", "build-*"), ("of others", "deploy-*")] {
            let token = store.token(&format!("{scope} {name}"), scope, &[patterns], &[patterns]).await;
            cookies.push(sign_in(&store, &token, &own).await);
        }
    }
    let mut number = 0;
    let mut wrong = Vec::new();
    for row in MATRIX.iter().filter(|row| !takes_anyone(row)) {
        let reads = row.method == "GET" && !row.path.starts_with("/ws/");
        let viewer = row.method == "GET" && row.path != "/ws/v1/worker";
        let is_public = row.stranger == 200;
        for (index, cookie) in cookies.iter().enumerate() {
            let scope = index / 2;
            let by_token = if index % 2 == 0 { row.fits[scope] } else { row.other[scope] };
            for (from, header, expected) in [
                ("our page", Some(("origin", own.as_str())), by_token),
                ("our page by its site", Some(("sec-fetch-site", "same-origin")), by_token),
                // A link, or a program: what cannot be another site's page may read.
                ("nowhere", None, if reads || is_public { by_token } else { 401 }),
                (
                    "a page of another site",
                    Some(("origin", "https://evil.example")),
                    if reads { row.stranger } else { 403 },
                ),
                (
                    "a link of another site",
                    Some(("sec-fetch-site", "cross-site")),
                    if reads { row.stranger } else { 403 },
                ),
                // It may read with what it shows itself, never with our cookie.
                ("an allowed site", Some(("origin", "https://ci.example")), if viewer { row.stranger } else { 403 }),
            ] {
                number += 1;
                let id = format!("build-{number}");
                store.line(&id, "a line").await;
                store.event(&id).await;
                let mut who = vec![("cookie", cookie.as_str())];
                who.extend(header);
                let (status, code) = ask(&store, row, &who, &id).await;
                if status != expected {
                    let (place, scope) = (format!("{} {}", row.method, row.path), SCOPES[scope]);
                    wrong
                        .push(format!("{place} with {scope} ({index}) from {from}: {status} {code:?}, not {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_link_reads_its_task_and_nothing_else() {
    let store = Store::new().await;
    let own = format!("http://{}", store.server.server.addr());
    let mut number = 0;
    let mut wrong = Vec::new();
    for row in MATRIX.iter().filter(|row| !takes_anyone(row)) {
        let of_task = row.path.contains("{task}");
        let expected = match row.method {
            _ if row.stranger == 200 => 200,
            "GET" if of_task => row.fits[0],
            _ if of_task => 403,
            _ => 401,
        };
        for (shown, as_cookie, other_task, expected) in [
            ("the share", false, false, expected),
            ("its cookie", true, false, expected),
            // A stranger, there.
            ("the share of another task", false, true, row.stranger),
            ("the cookie of another task", true, true, row.stranger),
        ] {
            number += 1;
            let (id, other) = (format!("build-{number}"), format!("other-{number}"));
            for task in [&id, &other] {
                store.line(task, "a line").await;
                store.event(task).await;
            }
            let shared = if other_task { &other } else { &id };
            let path = format!("/api/v1/tasks/{shared}/share");
            let url =
                store.ask(&store.admin, Method::POST, &path, Some("application/json"), "{\"expires_in\":\"1h\"}").await;
            let url = url.json()["url"].as_str().unwrap().to_owned();
            let share = url.split_once("#share=").unwrap().1;
            let cookie = if as_cookie {
                let body = format!(r#"{{"task":"{shared}","share":"{share}"}}"#);
                let given =
                    store.server.ask(Method::POST, "/share", &[("content-type", "application/json")], body).await;
                assert_eq!(given.status, 204, "{}", given.text());
                given.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
            } else {
                String::new()
            };
            let who = if as_cookie { ("cookie", cookie.as_str()) } else { ("tasktail-share", share) };
            let (status, code) = ask(&store, row, &[who, ("origin", &own)], &id).await;
            if status != expected {
                wrong.push(format!("{} {} with {shown}: {status} {code:?}, not {expected}", row.method, row.path));
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
