//! Tokens and sessions: changed with the data folder of one server, in force on all.

use tasktail::auth::{IdPatterns, NewToken, Scope, Tokens};

use crate::common::home::TestHome;
use crate::common::until;
use crate::serve;

fn token(name: &str) -> NewToken {
    let name = name.parse().unwrap();
    NewToken { name, scope: Scope::Admin, tasks: IdPatterns::all(), runs: IdPatterns::all(), expires: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_valid_on_all_servers_until_it_is_revoked_on_one() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    let tokens = Tokens::at(&one.folder.path().join("data"));
    let (secret, row) = tokens.create(token("ci")).unwrap();
    let authorization = format!("Bearer {}", secret.reveal());
    let ask = async || two.ask(hyper::Method::GET, "/api/v1/tasks", &[("authorization", &authorization)], "").await;
    until("tokens are required", async || two.get("/api/v1/tasks").await.status == 401).await;
    assert_eq!(ask().await.status, 200);
    let three = serve(&home).await;
    assert_eq!(three.get("/api/v1/tasks").await.status, 401, "a new server knows them before it accepts requests");
    assert!(tokens.revoke(&row.name).unwrap());
    until("the revocation", async || ask().await.status == 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn share_link_of_one_server_opens_at_another() {
    let home = TestHome::start().await;
    let (one, two) = (serve(&home).await, serve(&home).await);
    let key = |server: &crate::common::TestServer| std::fs::read(server.folder.path().join("data/share.key")).unwrap();
    assert_eq!(key(&one), key(&two));
}
