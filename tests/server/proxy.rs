//! Requests through reverse proxies: whose word is taken for where they come from, and under which
//! names the server answers.

use crate::common::{TestServer, serve_with, within};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

/// What a page of `https://127.0.0.1:PORT` is answered that opens a socket or changes something,
/// where its request comes from `peer` with these headers: `200`, or the problem's code.
async fn answer(server: &TestServer, peer: &str, headers: &[(&str, &str)]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{peer}:0").parse().unwrap()).unwrap();
    let stream = socket.connect(server.server.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(Method::POST).uri("/api/v1/tasks/t/lines");
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", server.server.addr().to_string());
    }
    request = request.header("content-type", "text/plain");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Full::new(Bytes::from_static(b"x"))).unwrap();
    let answer = within("an answer", sender.send_request(request)).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    body["code"].as_str().map_or_else(|| status.as_u16().to_string(), str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_proxy_is_believed() {
    for (setting, peer, believed) in [
        (None, "127.0.0.1", false),
        (Some("127.0.0.9"), "127.0.0.1", false),
        (Some("127.0.0.9"), "127.0.0.9", true),
        (Some("10.0.0.0/8, 127.0.0.8/30"), "127.0.0.9", true),
        (Some("10.0.0.0/8, 127.0.0.8/30"), "127.0.0.12", false),
    ] {
        let server = serve_with(|options| {
            options.trusted_proxy = setting.map(|text| text.parse().unwrap()).unwrap_or_default();
        })
        .await;
        let own = format!("https://{}", server.server.addr());
        let wanted = if believed { "200" } else { "bad_origin" };
        let page = ("origin", own.as_str());
        let x = [page, ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
        assert_eq!(answer(&server, peer, &x).await, wanted, "{setting:?} {peer}");
        let standard = [page, ("forwarded", "for=192.0.2.1;proto=https")];
        assert_eq!(answer(&server, peer, &standard).await, wanted, "{setting:?} {peer}");
        assert_eq!(answer(&server, peer, &[page]).await, "bad_origin", "nobody says https");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_proxies_the_outer_proxy_names_the_client() {
    let server = serve_with(|options| options.trusted_proxy = "127.0.0.9, 10.0.0.0/8".parse().unwrap()).await;
    let own = format!("https://{}", server.server.addr());
    let page = ("origin", own.as_str());
    // The edge has 10.0.0.1, speaks https to the client and http to the inner proxy.
    let nested = [page, ("x-forwarded-for", "192.0.2.1, 10.0.0.1"), ("x-forwarded-proto", "https, http")];
    assert_eq!(answer(&server, "127.0.0.9", &nested).await, "200");
    // The client came by http and wrote the first value itself.
    let spoofed =
        [page, ("x-forwarded-for", "10.0.0.7, 192.0.2.1, 10.0.0.1"), ("x-forwarded-proto", "https, http, http")];
    assert_eq!(answer(&server, "127.0.0.9", &spoofed).await, "bad_origin");
    // The proxy sets one header, the client wrote the other.
    let both = [page, ("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.66;proto=https")];
    assert_eq!(answer(&server, "127.0.0.9", &both).await, "bad_origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_a_proxy_passes_on_must_be_the_public_one() {
    let server = serve_with(|options| {
        options.trusted_proxy = "127.0.0.9".parse().unwrap();
        options.public_url = Some("https://logs.example".parse().unwrap());
        options.insecure = true;
    })
    .await;
    let page = ("origin", "https://logs.example");
    assert_eq!(answer(&server, "127.0.0.1", &[page, ("host", "logs.example")]).await, "200");
    assert_eq!(answer(&server, "127.0.0.1", &[("host", "evil.example")]).await, "bad_host");
    let forwarded = ("x-forwarded-host", "logs.example");
    assert_eq!(answer(&server, "127.0.0.9", &[page, ("host", "backend:7117"), forwarded]).await, "200");
    assert_eq!(answer(&server, "127.0.0.1", &[("host", "backend:7117"), forwarded]).await, "bad_host");
    let evil = [("x-forwarded-host", "evil.example")];
    assert_eq!(answer(&server, "127.0.0.9", &evil).await, "bad_host");
}

#[test]
fn messages_use_the_public_address() {
    let home = crate::support::Home::new();
    let server = crate::support::Serve::start(home.command(&[
        "serve",
        "--insecure",
        "--public-url",
        "https://logs.example/tail/",
    ]));
    let done = home.run(&["run", "--task", "t", "--", "true"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("watch: https://logs.example/tail/tasks/t\n"), "{}", done.stderr);
    let table = home.ok(&["list"]);
    assert!(table.contains("completed"), "{table}");
    drop(server);
    for (flag, value) in [("--trusted-proxy", "nginx"), ("--public-url", "logs.example")] {
        let done = home.run(&["serve", flag, value]);
        assert!(
            done.code == Some(2) && done.stderr.contains(&format!("{flag}: `{value}` is not a")),
            "{}",
            done.stderr
        );
    }
}
