//! A server whose store has tokens.

use std::path::Path;
use std::time::Duration;

use hyper::Method;
use tasktail::auth::{IdPatterns, NewToken, Scope, Tokens};
use tasktail::model::Timestamp;
use tasktail::server::ServeOptions;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::common::{Answer, Socket, TestServer, serve_with, within};

/// What a live connection has to end in: the file is looked at every 150 ms, the rest is for slow machines.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// A server with tokens, and who made them.
pub(crate) struct Store {
    pub(crate) server: TestServer,
    pub(crate) tokens: Tokens,
    /// May do everything.
    pub(crate) admin: String,
}

/// A token's text.
pub(crate) fn token(tokens: &Tokens, name: &str, scope: Scope, tasks: &[&str], runs: &[&str]) -> String {
    expiring(tokens, name, scope, tasks, runs, None)
}

/// A token's text, with a time when it expires.
pub(crate) fn expiring(
    tokens: &Tokens,
    name: &str,
    scope: Scope,
    tasks: &[&str],
    runs: &[&str],
    expires: Option<Timestamp>,
) -> String {
    let patterns = |texts: &[&str]| IdPatterns::new(texts.iter().map(|text| text.parse().unwrap()).collect());
    let new = NewToken { name: name.parse().unwrap(), scope, tasks: patterns(tasks), runs: patterns(runs), expires };
    tokens.create(new).unwrap().0.reveal().to_owned()
}

impl Store {
    /// A server with an admin's token.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// A server with options of the test's own, and tokens that are there before it starts.
    pub(crate) async fn with(change: impl FnOnce(&mut ServeOptions), make: impl FnOnce(&Tokens)) -> Self {
        let mut made = None;
        let server = serve_with(|options| {
            // A test that waits for a token to be known asks with it before it is.
            options.limits.auth_failures_max = 1_000_000;
            change(options);
            let tokens = Tokens::at(&options.data);
            let admin = token(&tokens, "everything", Scope::Admin, &["*"], &["*"]);
            make(&tokens);
            made = Some((tokens, admin));
        })
        .await;
        let (tokens, admin) = made.unwrap();
        Self { server, tokens, admin }
    }

    /// A token that the server knows.
    pub(crate) async fn token(&self, name: &str, scope: Scope, tasks: &[&str], runs: &[&str]) -> String {
        let text = token(&self.tokens, name, scope, tasks, runs);
        self.until_known(&text).await;
        text
    }

    /// Waits until the server takes a token.
    pub(crate) async fn until_known(&self, token: &str) {
        self.server.until("the server knows the token", || async { self.get(token, "/").await.status == 200 }).await;
    }

    /// Takes a token back.
    pub(crate) fn revoke(&self, name: &str) {
        assert!(self.tokens.revoke(&name.parse().unwrap()).unwrap());
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, Method::GET, path, None, "").await
    }

    /// One request with a token.
    pub(crate) async fn ask(
        &self,
        token: &str,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        self.server.ask(method, path, &headers, body).await
    }

    /// Appends a line with the admin's token, so that the task is there.
    pub(crate) async fn line(&self, task: &str, text: &str) {
        let path = format!("/api/v1/tasks/{task}/lines");
        let answer = self.ask(&self.admin, Method::POST, &path, Some("text/plain"), text.to_owned()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Appends an event with the admin's token, so that the run is there.
    pub(crate) async fn event(&self, run: &str) {
        let path = format!("/api/v1/runs/{run}/events");
        let event = r#"{"event_type":"run.created","event_id":"e1"}"#;
        let answer = self.ask(&self.admin, Method::POST, &path, Some("application/x-ndjson"), event).await;
        assert_eq!(answer.json()["rejected_count"], 0, "{}", answer.text());
    }

    /// A WebSocket with a token.
    pub(crate) async fn socket(&self, token: &str, path: &str) -> Socket {
        let mut request = format!("ws://{}{path}", self.server.server.addr()).into_client_request().unwrap();
        request.headers_mut().insert("token", token.parse().unwrap());
        let (inner, _) = within(path, tokio_tungstenite::connect_async(request)).await.unwrap();
        Socket { inner }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.server.folder.path()
    }
}
