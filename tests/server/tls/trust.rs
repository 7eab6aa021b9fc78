//! What a client believes of a server, and what it says when it does not.

use futures::StreamExt as _;
use serde_json::Value;
use tasktail::client::{Endpoint, HttpClient};

use crate::common::serve;
use crate::tls::certs::{Authority, Folder, Pair, self_signed};
use crate::tls::{client, endpoint, secure};

/// A text from a server.
pub(crate) async fn text(client: &HttpClient, path: &str) -> String {
    let (_, body) = client.download(path, &[]).await.unwrap();
    let chunks: Vec<_> = body.map(Result::unwrap).collect().await;
    String::from_utf8(chunks.concat()).unwrap()
}

/// What a client says that trusts `ca` of a server with this pair; `Ok` if it believes it.
async fn believed(pair: &Pair, ca: &str) -> Result<(), String> {
    let folder = Folder::new(pair, ca);
    let server = secure(&folder, |_| {}).await;
    let health = client(&server, &folder).get::<Value>("/healthz", &[]).await;
    health.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_for_its_authority_or_for_its_very_certificate() {
    let authority = Authority::new();
    assert_eq!(believed(&authority.sign(&["127.0.0.1"]), &authority.pem).await, Ok(()));
    for as_authority in [false, true] {
        let own = self_signed(&["127.0.0.1"], as_authority);
        assert_eq!(believed(&own, &own.cert).await, Ok(()), "{as_authority}");
        // Exactly it is proof enough, whatever it is called.
        let other_name = self_signed(&["logs.example"], as_authority);
        assert_eq!(believed(&other_name, &other_name.cert).await, Ok(()), "{as_authority}");
    }
    let leaf = authority.sign(&["logs.example"]);
    assert_eq!(believed(&leaf, &leaf.cert).await, Ok(()), "without its authority");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_prove_itself_is_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.sign(&["127.0.0.1"]);
    for (pair, ca, why) in [
        (&pair, &other.pem, "not signed by an authority that this machine trusts; pass its certificate"),
        (&pair, &self_signed(&["127.0.0.1"], true).cert, "--ca-file"),
        (&self_signed(&["127.0.0.1"], true), &other.pem, "self-signed and not trusted; pass it"),
        (&authority.sign_expired(&["127.0.0.1"]), &authority.pem, "expired on 2021-02-03"),
        (&authority.sign(&["logs.example"]), &authority.pem, "is for logs.example, not for 127.0.0.1"),
        (&authority.sign(&[]), &authority.pem, "is for no name,"),
    ] {
        let error = believed(pair, ca).await.unwrap_err();
        assert!(error.starts_with("cannot reach https://127.0.0.1:") && error.contains(why), "{why}: {error}");
    }
    // Its own certificate is no excuse for its being out of its time.
    let old = authority.sign_expired(&["127.0.0.1"]);
    let error = believed(&old, &old.cert).await.unwrap_err();
    assert!(error.contains("expired"), "{error}");
    // The certificate of one server proves no other, though it bears the same name.
    let twin = authority.sign(&["127.0.0.1"]);
    assert!(believed(&pair, &twin.cert).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_or_file_is_reported() {
    let folder = Folder::usual();
    let server = secure(&folder, |_| {}).await;
    let error = async |endpoint: Endpoint| {
        let health = HttpClient::new(endpoint).get::<Value>("/healthz", &[]).await;
        health.unwrap_err().to_string()
    };
    let unknown = server.server.url().parse::<Endpoint>().unwrap();
    assert!(error(unknown.clone()).await.contains("--ca-file"), "nothing but the machine's own authorities");
    let text = error(unknown.clone().with_ca_file(Some(folder.path("none.pem")))).await;
    assert!(text.contains("ca_file: cannot read") && text.contains("none.pem"), "{text}");
    let text = error(unknown.with_ca_file(Some(folder.path("key.pem")))).await;
    assert!(text.contains("key.pem contains no certificate"), "{text}");
    let plain = serve().await;
    let text = error(plain.server.url().replace("http", "https").parse().unwrap()).await;
    assert!(text.contains("does not use TLS"), "{text}");
    drop(endpoint(&server, &folder));
}
